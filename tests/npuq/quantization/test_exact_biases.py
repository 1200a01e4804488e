"""Biases of quantized models, taken as the integers that they are: a float32 holds no odd number above 2^24."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

import npuq
from npuq.ir import DType, Graph

Nodes = list[tuple[str, str, str, dict[str, int]]]

CHANNELS = 4096
GREAT = 1 << 24
BIASES = np.array([GREAT + 1, -GREAT - 1, GREAT + 3, -GREAT - 5], np.int32)
X_SCALE, W_SCALE = 0.1, 0.3
SUM_SCALE = float(np.float32(X_SCALE) * np.float32(W_SCALE))
Y_SCALE = 1.25 * SUM_SCALE
RESULTS = [1, -1, 2, -4]
"""1, -1, 3 and -5 steps of the sums; each unit of a bias changes its result."""

WEIGHTS = np.where(BIASES > 0, -64, 64).astype(np.int8)[:, None].repeat(CHANNELS, 1)
"""Against an input of 64 everywhere they leave what a bias has above 2^24 or below -2^24."""

TENSORS: dict[str, Any] = {
    "xs": np.float32(X_SCALE),
    "ws": np.float32(W_SCALE),
    "each": np.full(4, W_SCALE, np.float32),
    "bs": np.float32(SUM_SCALE),
    "bss": np.full(4, SUM_SCALE, np.float32),
    "ys": np.float32(Y_SCALE),
    "z": np.int8(0),
    "zs": np.zeros(4, np.int8),
    "w": WEIGHTS[:, :, None, None],
    "rows": WEIGHTS,
    "columns": np.ascontiguousarray(WEIGHTS.T),
    "b": BIASES,
    "other": BIASES - np.sign(BIASES),
}

QDQ: Nodes = [
    ("QuantizeLinear", "x xs z", "xq", {}),
    ("DequantizeLinear", "xq xs z", "xd", {}),
    ("DequantizeLinear", "b bs", "bd", {}),
]
LEAVE: Nodes = [("QuantizeLinear", "c ys z", "cq", {}), ("DequantizeLinear", "cq ys z", "y", {})]
QLINEAR: Nodes = [("QuantizeLinear", "x xs z", "xq", {}), ("DequantizeLinear", "cq ys z", "y", {})]
PLANE, ROW = [1, CHANNELS, 1, 1], [1, CHANNELS]

NETS: dict[str, tuple[list[int], Nodes]] = {
    "conv": (PLANE, [*QDQ, ("DequantizeLinear", "w ws z", "wd", {}), ("Conv", "xd wd bd", "c", {}), *LEAVE]),
    "conv per channel": (
        PLANE,
        [
            *QDQ[:2],
            ("DequantizeLinear", "b bss", "bd", {"axis": 0}),
            ("DequantizeLinear", "w each zs", "wd", {"axis": 0}),
            ("Conv", "xd wd bd", "c", {}),
            *LEAVE,
        ],
    ),
    "gemm": (
        ROW,
        [*QDQ, ("DequantizeLinear", "rows ws z", "wd", {}), ("Gemm", "xd wd bd", "c", {"transB": 1}), *LEAVE],
    ),
    "matmul and add": (
        ROW,
        [
            *QDQ,
            ("DequantizeLinear", "columns ws z", "wd", {}),
            ("MatMul", "xd wd", "m", {}),
            ("Add", "m bd", "c", {}),
            *LEAVE,
        ],
    ),
    "qlinear conv": (PLANE, [QLINEAR[0], ("QLinearConv", "xq xs z w ws z ys z b", "cq", {}), QLINEAR[1]]),
    "qlinear conv per channel": (
        PLANE,
        [QLINEAR[0], ("QLinearConv", "xq xs z w each zs ys z b", "cq", {}), QLINEAR[1]],
    ),
}


def net(shape: list[int], nodes: Nodes, *outputs: str, **tensors: Any) -> Graph:
    graph = helper.make_graph(
        [helper.make_node(op, reads.split(), [made], **options) for op, reads, made, options in nodes],  # type: ignore[arg-type]  # of any name
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs or ("y",)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in {**TENSORS, **tensors}.items()],
    )
    return npuq.load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9))


def stored(graph: Graph) -> list[list[int]]:
    """The biases of an integer graph."""
    wide = (DType.I32, DType.I64)
    found = (constant for name, constant in graph.constants.items() if name.endswith(".b"))
    return [constant.array.tolist() for constant in found if constant.type.dtype in wide]


@pytest.mark.parametrize("target", ["npu", "npu-asym"])
@pytest.mark.parametrize("form", NETS)
def test_every_unit_of_an_onnx_bias_reaches_the_result(form: str, target: str) -> None:
    quantized = npuq.quantize(net(*NETS[form]), target=target)
    assert stored(quantized.graph) == [BIASES.tolist()]
    x = np.full(NETS[form][0], 64 * X_SCALE, np.float32)
    (found,) = quantized.simulate(x, raw=True)
    assert found.ravel().tolist() == RESULTS


def test_biases_that_round_to_the_same_reals_stay_apart() -> None:
    shape, nodes = NETS["conv"]
    renamed = {"bd": "od", "c": "o", "cq": "oq", "y": "p"}
    again = [
        (op, " ".join(renamed.get(name, name) for name in reads.split()), renamed[made], options)
        for op, reads, made, options in nodes[4:]
    ]
    graph = net(shape, [*nodes, ("DequantizeLinear", "other bs", "od", {}), *again], "y", "p")
    quantized = npuq.quantize(graph, target="npu")
    assert sorted(stored(quantized.graph)) == sorted([BIASES.tolist(), TENSORS["other"].tolist()])


def test_a_bias_of_another_scale_is_rounded_to_the_sums() -> None:
    """At three times the scale of the sums there are three times the integers, as near as a float32 is."""
    shape, nodes = NETS["conv"]
    thrice = [(op, reads.replace("b bs", "b ts"), made, options) for op, reads, made, options in nodes]
    (found,) = stored(npuq.quantize(net(shape, thrice, ts=np.float32(3 * SUM_SCALE)), target="npu").graph)
    np.testing.assert_allclose(found, 3.0 * BIASES, rtol=2**-23)


@pytest.mark.parametrize("target", ["npu-tflite", "npu-asym"])
@pytest.mark.parametrize("operator", ["CONV_2D", "FULLY_CONNECTED"])
def test_every_unit_of_a_tflite_bias_reaches_the_result(tmp_path: Path, operator: str, target: str) -> None:
    from tests.frontends.tflite_models import Net, computed, reference

    n = Net()
    plane = operator == "CONV_2D"
    x = n.tensor("x", (1, 1, 1, CHANNELS) if plane else (1, CHANNELS), "int8", scales=(X_SCALE,))
    w = n.tensor("w", array=WEIGHTS[:, None, None] if plane else WEIGHTS, scales=(W_SCALE,))
    b = n.tensor("b", array=BIASES, scales=(SUM_SCALE,))
    y = n.tensor("y", (1, 1, 1, 4) if plane else (1, 4), "int8", scales=(Y_SCALE,))
    n.add(operator, (x, w, b), (y,), **({"strideH": 1, "strideW": 1} if plane else {}))
    path = n.save(tmp_path / "n.tflite", (x,), (y,))
    quantized = npuq.quantize(npuq.load(path), target=target)
    assert stored(quantized.graph) == [BIASES.tolist()]
    integers = np.full((1, 1, 1, CHANNELS) if plane else (1, CHANNELS), 64, np.int8)
    (wanted,) = computed(reference(path), {x: integers}, (y,))
    (found,) = quantized.simulate(integers, raw=True)
    assert found.ravel().tolist() == wanted.ravel().tolist() == RESULTS


def test_a_tflite_bias_of_64_bits(tmp_path: Path) -> None:
    from tests.frontends.tflite_models import Net

    biases = np.array([(1 << 33) + 1, -(1 << 33) - 1, (1 << 38) + 3, -(1 << 25) - 1], np.int64)
    n = Net()
    x = n.tensor("x", (1, 2), "int16", scales=(X_SCALE,))
    w = n.tensor("w", array=np.ones((4, 2), np.int8), scales=(W_SCALE,))
    b = n.tensor("b", array=biases, scales=(SUM_SCALE,))
    y = n.tensor("y", (1, 4), "int16", scales=(1e6,))
    n.add("FULLY_CONNECTED", (x, w, b), (y,))
    path = n.save(tmp_path / "n.tflite", (x,), (y,))
    assert stored(npuq.quantize(npuq.load(path), target="npu").graph) == [biases.tolist()]


def test_a_bias_that_a_zero_point_drives_out_of_its_bits() -> None:
    """The zero point of the input, -128, adds 128 times the sum of the weights."""
    shape, nodes = NETS["conv"]
    nodes = [(op, reads.replace("xs z", "xs low"), made, options) for op, reads, made, options in nodes]
    tensors = {"low": np.int8(-128), "b": np.full(4, (1 << 31) - 1, np.int32), "w": -TENSORS["w"]}
    with pytest.raises(npuq.NpuqError, match=r"^g:c: its bias takes more than 32 bits with the zero point of its op"):
        npuq.quantize(net(shape, nodes, **tensors), target="npu-asym")
