"""TensorFlow and Keras models to float graphs: TensorFlow freezes them and tf2onnx writes ONNX, in a child process."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npuq.ir import Graph, NpuqError

from .. import onnx as onnx_frontend
from ..problem import Outcome
from ..reference import Arrays, Original
from ..specialize import Shapes
from . import freeze, translate
from .child import Child
from .cut import cut
from .freeze import Frozen
from .names import shorten, unchanged

if TYPE_CHECKING:
    from onnx import ModelProto


def to_graph(
    source: Any,
    shapes: Shapes | None = None,
    *,
    start_nodes: Sequence[str] | None = None,
    end_nodes: Sequence[str] | None = None,
    signature: str | None = None,
) -> Outcome:
    """Translate a frozen GraphDef (.pb), a SavedModel folder, a .keras or .h5 file, or a Keras model to a float graph.

    `start_nodes` and `end_nodes` are names of TensorFlow's nodes that cut the network; a GraphDef needs `end_nodes`.
    `signature` selects one of a SavedModel's. Raises `NpuqError` for sources that TensorFlow cannot read.
    """
    with _child() as child:
        model, _ = _to_onnx(child, _frozen(child, source, signature, start_nodes, end_nodes, shapes))
    return onnx_frontend.to_graph(model, shapes)


def original(
    source: Any,
    shapes: Shapes | None = None,
    *,
    start_nodes: Sequence[str] | None = None,
    end_nodes: Sequence[str] | None = None,
    signature: str | None = None,
) -> Original:
    """The frozen graph in TensorFlow, in a process that ends with the reference."""
    child = _child()
    frozen = _frozen(child, source, signature, start_nodes, end_nodes, shapes)

    def run(arrays: Arrays) -> Arrays:
        results = child.call(translate.run, frozen, dict(arrays), [tensor for _, tensor in frozen.outputs])
        return {public: results[tensor] for public, tensor in frozen.outputs}

    def inside(graph: Graph, arrays: Arrays) -> Arrays:
        tensors = {
            name: tensor for name, tensor in unchanged(*_to_onnx(child, frozen)).items() if name in graph.producers
        }
        results = child.call(translate.run, frozen, dict(arrays), list(tensors.values()))
        return {
            name: array
            for name, tensor in tensors.items()
            if (array := _shaped(results.get(tensor), graph.types[name].shape)) is not None
        }

    return Original("TensorFlow", run, inside)


def _shaped(array: np.ndarray | None, shape: tuple[int, ...]) -> np.ndarray | None:
    """Convert a tensor to the layout of its value; None for another shape, or if both layouts fit."""
    if array is None or array.ndim < 3:
        return array if array is not None and array.shape == shape else None
    fitting = [found for found in (array, np.moveaxis(array, -1, 1)) if found.shape == shape]
    return fitting[0] if len(fitting) == 1 else None


def _child() -> Child:
    """Start a process for TensorFlow, which must be installed."""
    for name in ("tensorflow", "tf2onnx"):
        if importlib.util.find_spec(name) is None:
            raise NpuqError(f"TensorFlow models need {name}, which is not installed: pip install 'npuq[tensorflow]'")
    return Child()


def _frozen(
    child: Child,
    source: Any,
    signature: str | None,
    starts: Sequence[str] | None,
    ends: Sequence[str] | None,
    shapes: Shapes | None,
) -> Frozen:
    if isinstance(source, (str, Path)):
        path = Path(source)
        if not path.exists():
            raise NpuqError(f"{path}: there is no such file")
        if path.name == "saved_model.pb":
            path = path.parent
        frozen = child.call(freeze.read, path.absolute(), signature)
    else:
        frozen = _of_object(child, source)
    return child.call(cut, frozen, starts, ends, shapes)


def _of_object(child: Child, model: Any) -> Frozen:
    """Freeze a Keras model: in this process if Keras runs on TensorFlow, else through a file."""
    found = (sys.modules.get(name) for name in ("keras", "tf_keras"))
    keras = next((one for one in found if one is not None and isinstance(model, one.Model)), None)
    if keras is None:
        name = type(model).__name__
        raise NpuqError(f"objects of type {name} are not read; load the folder of tf.saved_model.save({name}, folder)")
    if keras.backend.backend() == "tensorflow":
        return freeze.of_keras(model)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        return replace(child.call(freeze.read, path, None), name=str(model.name))


def _to_onnx(child: Child, frozen: Frozen) -> tuple[ModelProto, dict[str, str]]:
    import onnx

    model = onnx.ModelProto.FromString(child.call(translate.to_onnx, frozen))
    model.graph.name = frozen.name
    for size in (size for value in model.graph.input for size in value.type.tensor_type.shape.dim):
        if size.dim_param:
            size.Clear()
    for node in model.graph.node:
        if not node.domain and not onnx.defs.has(node.op_type):
            node.domain = "tensorflow"
    return model, shorten(model, keep_scopes=frozen.own_names, layers=frozen.layers)
