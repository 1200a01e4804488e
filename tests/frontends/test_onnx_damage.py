"""Damaged ONNX files: each gives one line of a npuq error, or a graph that still verifies and keeps its signature."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from onnx import ModelProto, numpy_helper

from npuq.frontends import load
from npuq.ir import NpuqError, verify

TEXT = """<ir_version: 9, opset_import: ["" : 17, "mine" : 1]>
g (float[N,4,8,8] x) => (float[N,3] y) <int64[2] shape = {0, -1}, float[3] b = {0.1, 0.2, 0.3}> {
    c = Conv <pads = [1, 1, 1, 1], group = 2> (x, w)
    n = BatchNormalization <epsilon = 0.001> (c, s, s, s, s)
    p = MaxPool <kernel_shape = [2, 2], strides = [2, 2], ceil_mode = 1> (n)
    t = ConvTranspose <strides = [2, 2], output_padding = [1, 1]> (p, u)
    l = LayerNormalization <axis = 1> (t, scale)
    condition = Constant <value = bool {1}> ()
    r = If (condition) < then_branch = a () => (float[N,4,10,10] q) { q = mine.twice (l) },
                         else_branch = e () => (float[N,4,10,10] q) { q = Relu (l) } >
    z = Resize <mode = "linear"> (r, , , sizes)
    start = Shape <start = 0, end = 1> (z)
    ones = ConstantOfShape (start)
    whole = ReduceSum <keepdims = 0> (ones)
    e = Add (z, whole)
    a = AveragePool <kernel_shape = [2, 2], auto_pad = "SAME_UPPER"> (e)
    m = ReduceMean <axes = [2, 3]> (a)
    f = Reshape (m, shape)
    y = Gemm <transB = 1, alpha = 0.5> (f, g, b)
}
<domain: "mine", opset_import: ["" : 17]> twice (a) => (b) { b = Add (a, a) }
"""


def healthy() -> ModelProto:
    """A small model that uses everything that is read with care."""
    model = onnx.parser.parse_model(TEXT)
    rng = np.random.default_rng(0)
    for name, shape in (("w", (4, 2, 3, 3)), ("s", (4,)), ("u", (4, 4, 2, 2)), ("scale", (4, 9, 9)), ("g", (3, 4))):
        array = rng.random(shape).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(array, name))
    model.graph.initializer.append(numpy_helper.from_array(np.asarray([1, 4, 5, 7]), "sizes"))
    return model


def messages(message: Message) -> Iterator[Message]:
    """A message and all that it holds."""
    yield message
    for field, value in message.ListFields():
        if field.type == FieldDescriptor.TYPE_MESSAGE:
            for part in value if field.is_repeated else [value]:
                yield from messages(part)


WRONG: dict[int, list[object]] = {
    FieldDescriptor.CPPTYPE_INT32: [-1, 0, 1, 7, 16, 1 << 30],
    FieldDescriptor.CPPTYPE_INT64: [-1 << 62, -1, 0, 1, 3, 99, 1 << 31, 1 << 40, (1 << 63) - 1],
    FieldDescriptor.CPPTYPE_UINT64: [0, 1 << 63],
    FieldDescriptor.CPPTYPE_FLOAT: [0.0, -1.0, float("nan"), float("inf")],
    FieldDescriptor.CPPTYPE_DOUBLE: [0.0, float("nan")],
    FieldDescriptor.CPPTYPE_STRING: ["", "x", "y", "Relu", "Loop", "twice", "\n", "../w"],
}
"""Values that a field of each type should rarely have."""


def change_a_field(model: ModelProto, rng: random.Random) -> None:
    """Give one field, anywhere, a value that it should not have, or take it away."""
    owner = rng.choice(list(messages(model)))
    field = rng.choice(owner.DESCRIPTOR.fields)
    if rng.random() < 0.4 and owner.ListFields():
        owner.ClearField(rng.choice(owner.ListFields())[0].name)
        return
    wrong = field.enum_type.values_by_number if field.enum_type else WRONG.get(field.cpp_type)
    if not wrong:
        return
    chosen = rng.choice(list(wrong))
    if field.type == FieldDescriptor.TYPE_BYTES:
        chosen = str(chosen).encode() * rng.choice([1, 7])
    if field.is_repeated:
        values = getattr(owner, field.name)
        if values and rng.random() < 0.8:
            values[rng.randrange(len(values))] = chosen
        else:
            values.append(chosen)
    else:
        setattr(owner, field.name, chosen)


def damaged(count: int) -> Iterator[bytes]:
    """Copies with flipped bytes, cut off, with bytes put in, and with changed fields."""
    rng = random.Random(0)
    data = healthy().SerializeToString()
    for index in range(count):
        copy = bytearray(data)
        if index % 4 == 0:
            for _ in range(rng.choice([1, 1, 4, 32])):
                copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
        elif index % 4 == 1:
            del copy[rng.randrange(len(copy)) :]
        elif index % 4 == 2:
            place = rng.randrange(len(copy))
            copy[place : place + rng.randrange(8)] = rng.randbytes(rng.randrange(8))
        else:
            model = healthy()
            for _ in range(rng.choice([1, 1, 3])):
                change_a_field(model, rng)
            copy[:] = model.SerializeToString()
        yield bytes(copy)


def test_the_healthy_model_loads() -> None:
    assert load(healthy()).output_types[0].shape == (1, 3)


def test_damaged_files_give_one_line(tmp_path: Path) -> None:
    file = tmp_path / "m.onnx"
    refused = [line for data in damaged(400) if (line := refusal(file, data)) is not None]
    assert len(refused) > 200
    for line in refused:
        assert line.startswith(("m.onnx", str(file)))
        assert len(line.splitlines()) == 1


def refusal(file: Path, data: bytes) -> str | None:
    """What is said of a file; None where it still is a model."""
    file.write_bytes(data)
    try:
        str(verify(load(file)))
    except NpuqError as error:
        return str(error)
    return None


@pytest.mark.parametrize("depth", [50, 5000])
def test_branches_nested_without_end_are_refused(tmp_path: Path, depth: int) -> None:
    size = b""
    for _ in range(depth):
        graph = b"\x0a" + varint(len(size) + 4) + b"\x22\x02If" + size
        attribute = b"\x0a\x01a\x32" + varint(len(graph)) + graph
        size = b"\x2a" + varint(len(attribute)) + attribute
    node = b"\x22\x02If" + size
    graph = b"\x0a" + varint(len(node)) + node
    (tmp_path / "m.onnx").write_bytes(b"\x3a" + varint(len(graph)) + graph)
    with pytest.raises(NpuqError):
        load(tmp_path / "m.onnx")


def varint(number: int) -> bytes:
    """A number as protobuf writes it."""
    parts = [number >> shift & 127 for shift in range(0, max(number.bit_length(), 1), 7)]
    return bytes([*(part | 128 for part in parts[:-1]), parts[-1]])
