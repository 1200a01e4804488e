"""A TFLite model in LiteRT's reference kernels."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from npuq.ir import Graph, NpuqError, one_line
from npuq.ir.ops.quant import to_reals

from ..reference import TOLERANCE, Arrays, Original
from ..specialize import Shapes
from .read import Model, Tensor, read_model

ROUNDED = 0.2
"""The error of 8-bit steps that LiteRT and floats round differently, as a share of a value's range."""


def original(source: str | Path, shapes: Shapes | None = None) -> Original:
    """Return the model in LiteRT, with all tensors; integers with a scale are dequantized."""
    try:
        litert = importlib.import_module("ai_edge_litert.interpreter")
    except ImportError:
        raise NpuqError("LiteRT, which runs TFLite models, is not installed: pip install 'npuq[tflite]'") from None
    path = Path(source)
    model = read_model(path)
    interpreter = _interpreter(litert, path)
    try:
        for number in model.inputs:
            name = model.tensor(number).name
            if shapes and name in shapes:
                interpreter.resize_tensor_input(number, list(shapes[name]))
        interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise NpuqError(f"LiteRT cannot load the model: {one_line(error)[:300]}") from None

    def computed(wanted: dict[str, int], inputs: Arrays) -> Arrays:
        for number in model.inputs:
            tensor = model.tensor(number)
            interpreter.set_tensor(number, _stored(tensor, inputs[tensor.name], interpreter, number))
        try:
            interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise NpuqError(f"LiteRT cannot run the model: {one_line(error)[:300]}") from None
        return {
            name: _dequantized(model.tensor(number), interpreter.get_tensor(number)) for name, number in wanted.items()
        }

    def run(inputs: Arrays) -> Arrays:
        return computed({model.tensor(number).name: number for number in model.outputs}, inputs)

    def inside(graph: Graph, inputs: Arrays) -> Arrays:
        return computed(_shared(model, graph), inputs)

    rounds = any(model.tensor(number).is_quantized for spec in model.operators for number in spec.outputs)
    return Original("LiteRT", run, inside, ROUNDED if rounds else TOLERANCE)


def _interpreter(litert: Any, path: Path) -> Any:
    """Load LiteRT with its reference kernels or, if these lack an operator, with all kernels."""
    failure: Exception = NpuqError("")
    for kernels in (litert.OpResolverType.BUILTIN_REF, litert.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
        try:
            return litert.Interpreter(
                model_path=str(path),
                experimental_op_resolver_type=kernels,
                experimental_preserve_all_tensors=True,
            )
        except (RuntimeError, ValueError) as error:
            failure = error
    raise NpuqError(f"LiteRT cannot load the model: {one_line(failure)[:300]}") from None


def _shared(model: Model, graph: Graph) -> dict[str, int]:
    """Map values of the graph, channels last and dequantized, to tensors of the same name."""
    found = {}
    for spec in model.operators:
        for number in spec.outputs:
            tensor = model.tensor(number)
            scale = ".dq" if tensor.is_quantized else ""
            names = (f"{tensor.name}.nhwc{scale}", f"{tensor.name}{scale}")
            shared = next((name for name in names if name in graph.producers), None)
            if shared is not None:
                found[shared] = number
    return found


def _stored(tensor: Tensor, array: np.ndarray, interpreter: Any, number: int) -> np.ndarray:
    dtype = interpreter.get_tensor_details()[number]["dtype"]
    if not tensor.is_quantized or tensor.quant is None:
        return array.astype(dtype)
    low, high = tensor.dtype.range
    integers = np.clip(np.rint(array / tensor.quant.scale) + tensor.quant.zero_point, low, high)
    stored: np.ndarray = (integers + 128 if dtype == np.uint8 else integers).astype(dtype)
    return stored


def _dequantized(tensor: Tensor, array: np.ndarray) -> np.ndarray:
    if not tensor.is_quantized or tensor.quant is None:
        return array
    reals: np.ndarray = to_reals(array.astype(np.int16) - 128 if array.dtype == np.uint8 else array, tensor.quant)
    return reals
