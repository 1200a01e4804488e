"""Caffe's files: the architecture as text, the weights as a binary message; older forms are upgraded."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npuq.ir import ParseError, RuleError, one_line, require

from ..context import require_size
from ..files import read_bytes
from .registry import Spec
from .schema import message

DATA_LAYERS = ("Input", "Data", "ImageData", "MemoryData", "HDF5Data", "WindowData", "DummyData")
"""Layers that only declare the network's inputs."""

TEST = 1
"""The number of the phase that is inference."""

OLD_TYPES = {
    "ABSVAL": "AbsVal",
    "ARGMAX": "ArgMax",
    "BNLL": "BNLL",
    "ELTWISE": "Eltwise",
    "EXP": "Exp",
    "HDF5_DATA": "HDF5Data",
    "IM2COL": "Im2col",
    "LRN": "LRN",
    "MVN": "MVN",
    "RELU": "ReLU",
    "SOFTMAX_LOSS": "SoftmaxWithLoss",
    "TANH": "TanH",
}
"""Old layer types that differ from today's in more than case."""


@dataclass(frozen=True, slots=True)
class Net:
    """A network of the test phase: its inputs, with the shapes that the file gives, and its layers in order."""

    name: str
    inputs: dict[str, tuple[int, ...] | None]
    layers: tuple[Spec, ...]


def read_net(architecture: Path, weights: Path) -> Net:
    """Read a prototxt and its caffemodel; weights belong to the layers of the same name."""
    proto = _architecture(architecture)
    arrays = _weights(weights)
    inputs = dict(_declared(proto))
    specs = []
    for layer in (*map(_upgraded, proto.layers), *proto.layer):
        if not _of_test_phase(layer):
            continue
        if layer.type in DATA_LAYERS:
            shapes = _data_shapes(layer)
            inputs.update({top: shapes[min(index, len(shapes) - 1)] for index, top in enumerate(layer.top)})
        else:
            stored = arrays.get(layer.name, ())
            specs.append(Spec(layer.name, layer.type, tuple(layer.bottom), tuple(layer.top), layer, stored))
    require(len(specs) > 0, "no layers")
    return Net(" ".join(proto.name.split()) or architecture.stem, inputs, tuple(specs))


def _architecture(path: Path) -> Any:
    """Parse the text; unknown fields are skipped."""
    from google.protobuf import text_format

    try:
        text = read_bytes(path).decode()
    except UnicodeDecodeError:
        raise ParseError(f"{path}: not a prototxt: it is no UTF-8 text") from None
    try:
        net = text_format.Parse(text, message("NetParameter")(), allow_unknown_field=True)
    except text_format.ParseError as error:
        raise ParseError(f"{path}: not a prototxt: {one_line(error)}") from None
    for layer in net.layers:
        require(not layer.HasField("layer"), "layers of the oldest form; upgrade them with upgrade_net_proto_text")
    return net


def _weights(path: Path) -> dict[str, tuple[np.ndarray, ...]]:
    from google.protobuf.message import DecodeError

    data = read_bytes(path)
    net = message("NetWeights")()
    try:
        net.ParseFromString(data)
    except DecodeError:
        raise ParseError(f"{path}: these {len(data)} bytes are not a caffemodel") from None
    if not net.layer and not net.layers:
        raise ParseError(f"{path}: these {len(data)} bytes hold no layers")
    found = {}
    for layer in (*net.layers, *net.layer):
        try:
            found[layer.name] = tuple(map(_array, layer.blobs))
        except RuleError as error:
            raise ParseError(f"{path}:{layer.name}: {error}") from None
    return found


HALF = 2
"""The number of half precision among raw data types."""


def _array(blob: Any) -> np.ndarray:
    """A stored array as float32; older files give four sizes instead of a shape."""
    old = blob.num, blob.channels, blob.height, blob.width
    shape = tuple(map(int, blob.shape.dim)) if blob.HasField("shape") else tuple(map(int, old))
    if blob.raw_data:
        require(blob.raw_data_type == HALF, f"raw data of type {blob.raw_data_type}, half precision wanted")
        require(len(blob.raw_data) % 2 == 0, f"{len(blob.raw_data)} bytes of half precision")
        data: np.ndarray = np.frombuffer(blob.raw_data, "<f2").astype(np.float32)
    else:
        data = np.asarray(blob.double_data if blob.double_data else blob.data, np.float32)
    require_size(shape)
    wanted = int(np.prod(shape, dtype=np.int64))
    require(data.size == wanted, f"an array of shape {shape} has {data.size} numbers, {wanted} wanted")
    return data.reshape(shape)


def _upgraded(old: Any) -> Any:
    """Convert a layer of the form before 2015, which has the same parameters and types in capitals."""
    layer = message("LayerParameter")()
    layer.name = old.name
    layer.bottom.extend(old.bottom)
    layer.top.extend(old.top)
    kind = old.LayerType.Name(old.type)
    layer.type = OLD_TYPES.get(kind, "".join(part.capitalize() for part in kind.split("_")))
    for field, value in old.ListFields():
        if field.name in ("include", "exclude"):
            getattr(layer, field.name).extend(value)
        elif field.name.endswith("_param"):
            getattr(layer, field.name).CopyFrom(value)
    return layer


def _of_test_phase(layer: Any) -> bool:
    """Whether a layer is part of inference, by its rules for phase and stages."""

    def met(rule: Any) -> bool:
        return (not rule.HasField("phase") or rule.phase == TEST) and not rule.stage

    return (not layer.include or any(map(met, layer.include))) and not any(map(met, layer.exclude))


def _declared(proto: Any) -> Iterator[tuple[str, tuple[int, ...] | None]]:
    """The inputs that older files list first, with four sizes or a shape each."""
    for index, name in enumerate(proto.input):
        if proto.input_shape:
            sizes = proto.input_shape[min(index, len(proto.input_shape) - 1)].dim
        else:
            sizes = proto.input_dim[4 * index : 4 * index + 4]
        yield name, tuple(map(int, sizes)) or None


def _data_shapes(layer: Any) -> list[tuple[int, ...] | None]:
    """The shapes of a data layer's tops, None for an unknown one."""
    if layer.type == "Input" and layer.input_param.shape:
        return [tuple(map(int, shape.dim)) for shape in layer.input_param.shape]
    memory = layer.memory_data_param
    if layer.type == "MemoryData" and memory.HasField("channels"):
        return [(memory.batch_size, memory.channels, memory.height, memory.width), (memory.batch_size,)]
    return [None]
