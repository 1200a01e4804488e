"""TFLite files for tests, written by LiteRT's own classes, and what its reference kernels compute of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest

pytest.importorskip("ai_edge_litert", reason="LiteRT is the reference: pip install ai-edge-litert==2.3.0")

from ai_edge_litert import schema_py_generated as schema  # only where it is installed
from ai_edge_litert.interpreter import Interpreter, OpResolverType  # only where it is installed

ELEMENTS = {
    "float32": schema.TensorType.FLOAT32,
    "float16": schema.TensorType.FLOAT16,
    "int8": schema.TensorType.INT8,
    "uint8": schema.TensorType.UINT8,
    "int16": schema.TensorType.INT16,
    "int32": schema.TensorType.INT32,
    "int64": schema.TensorType.INT64,
    "bool": schema.TensorType.BOOL,
}

OPTIONS = {
    "AVERAGE_POOL_2D": "Pool2DOptions",
    "BATCH_MATMUL": "BatchMatMulOptions",
    "L2_NORMALIZATION": "L2NormOptions",
    "L2_POOL_2D": "Pool2DOptions",
    "MAX_POOL_2D": "Pool2DOptions",
    **dict.fromkeys(("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD"), "ReducerOptions"),
}
"""The options of operators whose own names say other ones."""

VERSIONS = {"BROADCAST_TO": 2}
"""The first version of operators, where it is not 1."""


class Net:
    """A file under construction; tensors are known by their numbers."""

    def __init__(self) -> None:
        self.buffers: list[Any] = [schema.BufferT()]
        self.tensors: list[Any] = []
        self.operators: list[Any] = []
        self.codes: dict[str, int] = {}

    def tensor(
        self,
        name: str,
        shape: tuple[int, ...] = (),
        dtype: str = "float32",
        *,
        array: np.ndarray | None = None,
        scales: tuple[float, ...] = (),
        zero: int = 0,
        axis: int = 0,
    ) -> int:
        """Add a tensor: of a shape, or with stored numbers; with scales, or without."""
        tensor = schema.TensorT()
        tensor.name = name.encode()
        tensor.shape = list(shape if array is None else array.shape)
        tensor.type = ELEMENTS[dtype if array is None else array.dtype.name]
        tensor.buffer = 0
        if array is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(array.tobytes(), np.uint8)
            tensor.buffer = len(self.buffers)
            self.buffers.append(buffer)
        if scales:
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = list(scales)
            tensor.quantization.zeroPoint = [zero] * len(scales)
            tensor.quantization.quantizedDimension = axis
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def known(self, *numbers: int | float, dtype: str = "int32", shape: tuple[int, ...] | None = None) -> int:
        """Add a constant, by default a list of int32."""
        array = np.asarray(numbers, dtype)
        return self.tensor(f"known{len(self.tensors)}", array=array if shape is None else array.reshape(shape))

    def add(self, operator: str, inputs: tuple[int, ...], outputs: tuple[int, ...], **options: Any) -> None:
        """Add an operator; one that does not exist is a custom one."""
        op = schema.OperatorT()
        op.opcodeIndex = self.codes.setdefault(operator, len(self.codes))
        op.inputs, op.outputs = list(inputs), list(outputs)
        spelled = "".join(part.capitalize() for part in operator.split("_")).replace("2d", "2D")
        cls = OPTIONS.get(operator, f"{spelled}Options")
        if hasattr(schema, f"{cls}T"):
            op.builtinOptionsType = getattr(schema.BuiltinOptions, cls)
            op.builtinOptions = getattr(schema, f"{cls}T")()
            for name, value in options.items():
                assert hasattr(op.builtinOptions, name), name
                setattr(op.builtinOptions, name, value)
        self.operators.append(op)

    def save(self, path: Path, inputs: tuple[int, ...], outputs: tuple[int, ...]) -> Path:
        """Write the file."""
        graph = schema.SubGraphT()
        graph.tensors, graph.operators = self.tensors, self.operators
        graph.inputs, graph.outputs = list(inputs), list(outputs)
        model = schema.ModelT()
        model.version, model.subgraphs, model.buffers = 3, [graph], self.buffers
        model.operatorCodes = [_code(operator) for operator in self.codes]
        builder = flatbuffers.Builder(1 << 12)
        builder.Finish(model.Pack(builder), b"TFL3")
        path.write_bytes(bytes(builder.Output()))
        return path


def _code(operator: str) -> Any:
    code = schema.OperatorCodeT()
    code.version = VERSIONS.get(operator, 1)
    number = getattr(schema.BuiltinOperator, operator, schema.BuiltinOperator.CUSTOM)
    if number == schema.BuiltinOperator.CUSTOM:
        code.customCode = operator.encode()
    code.builtinCode, code.deprecatedBuiltinCode = number, min(number, 127)
    return code


def reference(path: Path, kernels: str = "BUILTIN_REF") -> Any:
    """LiteRT's interpreter, by default with its reference kernels; every tensor can be read after a run."""
    interpreter = Interpreter(
        model_path=str(path),
        experimental_op_resolver_type=OpResolverType[kernels],
        experimental_preserve_all_tensors=True,
    )
    interpreter.allocate_tensors()
    return interpreter


def computed(interpreter: Any, inputs: Mapping[int, np.ndarray], wanted: tuple[int, ...]) -> list[np.ndarray]:
    """What LiteRT computes of these inputs, tensor by tensor."""
    for number, array in inputs.items():
        interpreter.set_tensor(number, array)
    interpreter.invoke()
    return [np.asarray(interpreter.get_tensor(number)) for number in wanted]
