"""What the TFLite reader says of files that it cannot read, and what it makes of names, shapes and inputs."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npuq
from npuq.frontends import check, load
from npuq.ir import NpuqError, verify

from .tflite_models import Net


def small() -> tuple[Net, tuple[int, ...], tuple[int, ...]]:
    """A network of a convolution, a sum and a matrix product, of floats and of integers."""
    rng = np.random.default_rng(1)
    n = Net()
    x = n.tensor("x", (1, 5, 5, 2))
    q = n.tensor("q", dtype="int8", scales=(0.05,), zero=3)
    n.add("QUANTIZE", (x,), (q,))
    w = n.tensor("w", array=rng.integers(-127, 128, (3, 3, 3, 2)).astype(np.int8), scales=(0.01, 0.02, 0.03))
    b = n.tensor("b", array=np.array([1, -2, 3], np.int32), scales=(0.0005, 0.001, 0.0015))
    c = n.tensor("model/c;fused", dtype="int8", scales=(0.2,), zero=-128)
    n.add("CONV_2D", (q, w, b), (c,), padding=0, strideH=2, strideW=2, fusedActivationFunction=1)
    d = n.tensor("d")
    n.add("DEQUANTIZE", (c,), (d,))
    m = n.tensor("m", array=rng.normal(size=(4, 27)).astype(np.float32))
    y = n.tensor("y")
    n.add("FULLY_CONNECTED", (d, m, -1), (y,))
    shaped = n.tensor("shaped")
    n.add("RESHAPE", (y, n.known(2, 2)), (shaped,))
    return n, (x,), (shaped,)


def saved(tmp_path: Path, change: Callable[[Net], object] = lambda net: None) -> Path:
    net, inputs, outputs = small()
    change(net)
    return net.save(tmp_path / "m.tflite", inputs, outputs)


def test_values_have_the_names_of_their_tensors(tmp_path: Path) -> None:
    graph = load(saved(tmp_path))
    named = {node.results[0]: node.op.name for node in graph.nodes}
    assert {name: named[name] for name in ("model/c", "model/c.q", "y", "shaped")} == {
        "model/c": "relu",
        "model/c.q": "quantize",
        "y": "matmul",
        "shaped": "reshape",
    }
    assert graph.producers["model/c"].loc == "m.tflite:model/c"
    assert [*graph.inputs] == ["x"]
    assert [*graph.outputs] == ["shaped"]


def test_the_reference_is_litert(tmp_path: Path) -> None:
    path = saved(tmp_path)
    (difference,) = npuq.verify_import(load(path), path)
    assert difference.share <= 0.02
    (tmp_path / "other").mkdir()
    other = saved(tmp_path / "other", lambda net: setattr(net.tensors[4].quantization, "scale", [0.005]))
    said = r"0.2 allowed; the first layer that differs is m.tflite:model/c \(LiteRT is the reference\)$"
    with pytest.raises(NpuqError, match=said):
        npuq.verify_import(load(other), path)


def test_open_sizes_may_be_given(tmp_path: Path) -> None:
    n = Net()
    x, y = n.tensor("x", (1, 3)), n.tensor("y")
    n.tensors[x].shapeSignature = [-1, 3]
    n.add("RELU", (x,), (y,))
    path = n.save(tmp_path / "open.tflite", (x,), (y,))
    assert [str(type_) for type_ in load(path).output_types] == ["f32[1,3]"]
    assert [str(type_) for type_ in load(path, {"x": (4, 3)}).output_types] == ["f32[4,3]"]
    with pytest.raises(NpuqError, match=r"^open.tflite: shape \(4, 2\) of input 'x', declared as \(-1, 3\)$"):
        load(path, {"x": (4, 2)})
    with pytest.raises(NpuqError, match=r"^open.tflite: there is no input 'z'; the inputs are x$"):
        load(path, {"z": (4, 2)})


def operator(name: str) -> Callable[[Net], object]:
    """Let the convolution be another operator."""

    def change(net: Net) -> None:
        net.codes = {(name if one == "CONV_2D" else one): number for one, number in net.codes.items()}

    return change


def field(tensor: int, name: str, value: Any) -> Callable[[Net], object]:
    """Give a field of a tensor another value."""
    return lambda net: setattr(net.tensors[tensor], name, value)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (operator("WHILE"), "m.tflite:model/c: WHILE: no converter for this TFLite operator"),
        (operator("TFLite_Detection_PostProcess"), "TFLite_Detection_PostProcess: no converter for this custom"),
        (field(2, "buffer", 99), "CONV_2D: tensor 'w': there is no buffer 99, the file has 5"),
        (field(2, "buffer", 0), "CONV_2D: tensor 'w' is neither computed nor stored"),
        (field(2, "shape", [3, 3, 3, 3]), "CONV_2D: tensor 'w': 54 bytes for shape (3, 3, 3, 3), 81 wanted"),
        (field(2, "shape", [1 << 16, 1 << 16]), "has more than 2147483648 elements"),
        (field(2, "shape", [-3, 3, 3, 2]), "a dimension must not be negative: (-3, 3, 3, 2)"),
        (field(2, "type", 8), "an element type of number 8 is not supported"),
        (lambda net: net.tensors[2].quantization.zeroPoint.__setitem__(0, 5), "weights with zero points"),
        (field(2, "quantization", None), "CONV_2D: a bias of integers beside weights without scales"),
        (lambda net: net.tensors[2].quantization.scale.pop(), "2 scales, 3 zero points"),
        (lambda net: net.tensors[4].quantization.scale.__setitem__(0, float("nan")), "finite and positive, not nan"),
        (lambda net: net.operators[1].inputs.__setitem__(1, 77), "there is no tensor 77, the graph has 10"),
        (lambda net: setattr(net.operators[1].builtinOptions, "strideH", 0), "window (3, 3), stride (0, 2)"),
        (lambda net: setattr(net.operators[1].builtinOptions, "padding", 5), "padding of number 5, SAME (0) or"),
    ],
)
def test_what_cannot_be_read_is_told_in_one_line(change: Callable[[Net], object], said: str, tmp_path: Path) -> None:
    path = saved(tmp_path, change)
    with pytest.raises(NpuqError) as caught:
        load(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
    assert len(check(path)) == 1


def test_all_unknown_operators_are_told_at_once(tmp_path: Path) -> None:
    def change(net: Net) -> None:
        operator("WHILE")(net)
        net.codes = {("Mine" if one == "QUANTIZE" else one): number for one, number in net.codes.items()}

    with pytest.raises(NpuqError, match=r"^m.tflite: 2 problems: .*Mine: no converter .*; .*WHILE: no converter "):
        load(saved(tmp_path, change))


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "these 0 bytes lack the mark TFL3"),
        (b"\x18\x00\x00\x00ONNX" + b"\0" * 99, "these 107 bytes lack the mark TFL3"),
        (b"\x18\x00\x00\x00TFL3", "it points to byte 24 of 8"),
        (b"\xff\xff\xff\xffTFL3" + b"\0" * 99, "it points to byte 4294967295 of 107"),
        (b"\x08\x00\x00\x00TFL3" + b"\0" * 99, "it points to byte"),
    ],
)
def test_a_file_that_is_no_model_is_told(data: bytes, said: str, tmp_path: Path) -> None:
    path = tmp_path / "m.tflite"
    path.write_bytes(data)
    with pytest.raises(NpuqError, match=r"^m.tflite: ") as caught:
        load(path)
    assert said in str(caught.value) or "its version is 0, 3 wanted" in str(caught.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    with pytest.raises(NpuqError, match=r"none.tflite: cannot be read: No such file or directory$"):
        load(tmp_path / "none.tflite")


def test_damaged_files_give_an_error_or_a_graph(tmp_path: Path) -> None:
    data = saved(tmp_path).read_bytes()
    rng = random.Random(0)
    path = tmp_path / "damaged.tflite"
    refused: list[str] = []
    for index in range(200):
        copy = bytearray(data)
        if index % 3:
            for _ in range(rng.choice([1, 1, 4, 32])):
                copy[rng.randrange(len(copy))] ^= 1 << rng.randrange(8)
        else:
            del copy[rng.randrange(len(copy)) :]
        path.write_bytes(bytes(copy))
        try:
            verify(load(path))
        except NpuqError as error:
            refused.append(str(error))
    assert 100 < len(refused) < 200
    assert not [said for said in refused if "\n" in said]
