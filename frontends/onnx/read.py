"""Bytes to ONNX messages: files are untrusted, so every size is checked before an allocation."""

from __future__ import annotations

from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

import numpy as np

from npuq.ir import DType, ParseError, RuleError, require

from ..context import require_size
from ..files import read_bytes
from .functions import nodes_within, subgraphs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, TensorProto

OLDEST = 7
"""The first supported opset, the first with NumPy's broadcasting."""


def read_model(path: Path) -> ModelProto:
    """Parse a file; raises `ParseError` if it is not an ONNX model."""
    import onnx

    data = read_bytes(path)
    model = onnx.ModelProto()
    try:
        model.ParseFromString(data)
    except Exception:  # protobuf's own classes, another one in each of its implementations
        raise ParseError(f"{path}: these {len(data)} bytes are not an ONNX model") from None
    if not model.graph.node and not model.graph.output:
        raise ParseError(f"{path}: these {len(data)} bytes hold no ONNX graph")
    return model


def opsets(model: ModelProto) -> dict[str, int]:
    """The opset of each domain, the newer one if a domain is imported twice."""
    import onnx

    found: dict[str, int] = {}
    for entry in model.opset_import:
        domain = "" if entry.domain == "ai.onnx" else entry.domain
        found[domain] = max(entry.version, found.get(domain, 0))
    version, newest = found.setdefault("", 1), onnx.defs.onnx_opset_version()
    remedy = "upgrade onnx" if version > newest else "convert the model with onnx.version_converter"
    require(OLDEST <= version <= newest, f"opset {version}, {OLDEST} to {newest} can be read; {remedy}")
    return found


def require_names(graph: GraphProto) -> None:
    """Require every name in a graph to be UTF-8: protobuf returns bytes for others."""
    texts: list[object] = [value.name for values in (graph.input, graph.output, graph.initializer) for value in values]
    texts += [size.dim_param for value in graph.input for size in value.type.tensor_type.shape.dim]
    for node in nodes_within(graph):
        texts += [node.name, node.op_type, node.domain, *node.input, *node.output]
        texts += [attribute.name for attribute in node.attribute]
        texts += [tensor.name for branch in subgraphs(node) for tensor in (*branch.initializer, *branch.output)]
    for text in texts:
        require(isinstance(text, str), f"the name {text!r} is not UTF-8")


def element_type(number: int, owner: str) -> DType:
    """The element type of a number in ONNX."""
    from onnx import TensorProto, helper

    known = number in TensorProto.DataType.values()
    spelled = TensorProto.DataType.Name(number) if known else str(number)
    try:
        return DType.of(helper.tensor_dtype_to_np_dtype(number))
    except (KeyError, RuleError):
        raise RuleError(f"{owner} has elements of type {spelled}, which is not supported") from None


def read_array(tensor: TensorProto, folder: Path | None) -> np.ndarray:
    """A tensor's array; external data must be in `folder`."""
    from onnx import TensorProto, helper, numpy_helper

    dtype = element_type(tensor.data_type, f"tensor {tensor.name!r}")
    shape = tuple(tensor.dims)
    require_size(shape)
    count = int(np.prod(shape, dtype=np.int64))
    size = (count * dtype.bits + 7) // 8
    if tensor.data_location == TensorProto.EXTERNAL:
        raw = _external(tensor, folder, size)
        tensor = TensorProto(data_type=tensor.data_type, dims=shape, raw_data=raw)
    elif tensor.HasField("raw_data"):
        have = len(tensor.raw_data)
        require(have == size, f"tensor {tensor.name!r} of {shape} has {have} bytes, {size} wanted")
    else:
        have = len(getattr(tensor, helper.tensor_dtype_to_field(tensor.data_type)))
        wanted = (count + 1) // 2 if dtype is DType.I4 else count
        require(have == wanted, f"tensor {tensor.name!r} of {shape} has {have} numbers, {wanted} wanted")
    return np.asarray(numpy_helper.to_array(tensor))


def _external(tensor: TensorProto, folder: Path | None, size: int) -> bytes:
    place = f"external data of {tensor.name!r}"
    if folder is None:
        raise RuleError(f"{place}: load the model from its path, so that the file beside it is found")
    entries = {entry.key: entry.value for entry in tensor.external_data}
    location = PurePosixPath(entries.get("location", ""))
    path = (folder / location).resolve()
    require(path.is_relative_to(folder.resolve()), f"{place}: {str(location)!r} leaves the model's folder")
    require(path.is_file(), f"{place}: there is no file {str(location)!r} beside the model")
    offset, length = int(entries.get("offset", 0)), int(entries.get("length", size))
    require(length == size, f"{place}: {length} bytes, {size} wanted")
    have = path.stat().st_size
    require(0 <= offset <= have - size, f"{place}: bytes {offset} to {offset + size} of {have} in {str(location)!r}")
    with path.open("rb") as file:
        file.seek(offset)
        return file.read(size)
