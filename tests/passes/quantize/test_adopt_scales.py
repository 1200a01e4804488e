"""Scales that a model came with: the float network under them, and the target's integers for the same reals."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from npuq.ir import Builder, DType, Graph, NpuqError, Op, Quantization, TensorType, evaluate, parse_type
from npuq.ir.ops.activation import Sigmoid
from npuq.ir.ops.conv import MatMul
from npuq.ir.ops.elementwise import Neg
from npuq.ir.ops.pool import MaxPool
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.ir.ops.reduce import ArgMax
from npuq.ir.ops.shape import Pad, Reshape
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.quantize.adopt_scales import adopt, adopted_scales
from npuq.passes.quantize.take_scales import has_scales, take_scales
from npuq.passes.target import load_target

X = "f32[1,2,4,4]"


def quantize(zero_point: int, dtype: DType = DType.U8, scale: float = 0.25) -> Quantize:
    low, high = dtype.range
    return Quantize(scales=(scale,), zero_points=(zero_point,), dtype=dtype, low=low, high=high)


def dequantize(zero_point: int, scale: float = 0.25) -> Dequantize:
    return Dequantize(scales=(scale,), zero_points=(zero_point,))


def chain(*ops: Op, x: str = X) -> Graph:
    builder = Builder("g")
    value = builder.input("x", parse_type(x))
    for op in ops:
        value = builder.add(op, value)
    return builder.build({"y": value})


def names(graph: Graph) -> list[str]:
    return [node.op.name for node in graph.nodes]


POOL = MaxPool(window=(2, 2), stride=(2, 2), padding=((0, 0),) * 2, dilation=(1, 1))
PAD = Pad(padding=((0, 0), (0, 0), (1, 0), (0, 0)), value=7.0)


@pytest.mark.parametrize(
    ("ops", "left"),
    [
        ((quantize(3), dequantize(3)), []),
        ((quantize(0), dequantize(0)), []),
        ((Neg(), quantize(0), dequantize(0)), ["neg", "relu"]),
        ((Sigmoid(), quantize(0), dequantize(0)), ["sigmoid"]),
        ((Neg(), quantize(-128, DType.I8), dequantize(-128)), ["neg", "relu"]),
        ((quantize(3), POOL, PAD, dequantize(3)), ["max_pool", "pad"]),
    ],
)
def test_the_network_under_the_scales(ops: tuple[Any, ...], left: list[str]) -> None:
    """Where nothing is cut off and every real is one of the integers', it computes the same."""
    graph = chain(*ops)
    taken = take_scales(graph)
    assert has_scales(graph)
    assert not has_scales(taken.graph)
    assert names(taken.graph) == left
    x = np.random.default_rng(0).integers(-9 if "neg" in left else 0, 60, (1, 2, 4, 4)) * np.float32(0.25)
    if "sigmoid" not in left:
        np.testing.assert_array_equal(evaluate(taken.graph)(x)[0], evaluate(graph)(x)[0])


def test_the_position_of_the_greatest_integer_is_that_of_the_greatest_real() -> None:
    graph = chain(quantize(3), ArgMax(axis=1))
    taken = take_scales(graph)
    assert names(taken.graph) == ["argmax"]
    assert list(taken.values) == ["x"]


def test_integers_that_are_fed_become_reals() -> None:
    builder = Builder("g")
    type_ = TensorType(DType.U8, (4,), Quantization.per_tensor(0.25, 3))
    builder.input("x", type_)
    graph = builder.build({"y": builder.add(dequantize(3), "x")})
    taken = take_scales(graph)
    assert taken.graph.inputs["x"] == TensorType(DType.F32, (4,))
    assert taken.values == {"x": (type_,)}


def linear(weights: np.ndarray, quant: Quantization) -> Graph:
    """A quantized matrix product."""
    builder = Builder("g")
    x = builder.add(dequantize(128), builder.add(quantize(128), builder.input("x", parse_type("f32[1,2]")), name="q"))
    constant = builder.constant(weights, "w", quant)
    w = builder.add(Dequantize(scales=quant.scales, zero_points=quant.zero_points, axis=quant.axis), constant)
    y = builder.add(MatMul(), x, w, name="y")
    return builder.build({"y": builder.add(dequantize(0, 4.0), builder.add(quantize(0, DType.I8, 4.0), y))})


@pytest.mark.parametrize(
    ("weights", "quant", "reason"),
    [
        (np.array([[1, -127], [3, 4]], np.int8), Quantization((0.5, 0.25), (0, 0), 1), None),
        (np.array([[129, 1], [131, 132]], np.uint8), Quantization.per_tensor(0.5, 128), None),
        (np.array([[1, -128], [3, 4]], np.int8), Quantization.per_tensor(0.5, 0), "they hold -128"),
        (np.array([[1, 2], [3, 4]], np.uint8), Quantization.per_tensor(0.5, 3), "they have a zero point"),
        (np.array([[1, 2], [3, 4]], np.int8), Quantization((0.5, 0.25), (0, 0), 0), "they have scales on axis 0"),
        (np.array([[1, 2], [3, 4]], np.int16), Quantization.per_tensor(0.5, 0), "they are i16"),
    ],
)
def test_weights_stay_or_are_quantized_anew(weights: np.ndarray, quant: Quantization, reason: str | None) -> None:
    target, graph = load_target("npu"), linear(weights, quant)
    taken = take_scales(graph)
    scales = adopted_scales(taken.graph, adopt(taken.graph, taken, target), {}, target)
    told = [note for _, note in scales.notes if "weights" in note]
    assert told == ([] if reason is None else [f"its weights are quantized anew: {reason}"])
    fake = scales.insert()
    stored = next(constant for name, constant in fake.constants.items() if constant.type.dtype is DType.I8)
    if reason is None:
        wanted = weights.astype(np.int64) - (128 if weights.dtype == np.uint8 else 0)
        np.testing.assert_array_equal(stored.array, wanted)
        assert stored.type.quant is not None
        assert stored.type.quant.scales == quant.scales
    x = np.array([[2.0, -3.5]], np.float32)
    assert np.abs(evaluate(fake)(x)[0] - evaluate(graph)(x)[0]).max() <= 4
    assert not [node for node in lower_to_integer(target=target)(fake).nodes if node.host]


def test_scales_pass_through_what_moves_elements() -> None:
    target = load_target("npu-asym")
    graph = chain(Sigmoid(), POOL, Reshape(shape=(8,)), quantize(3), dequantize(3))
    taken = take_scales(graph)
    found = adopt(taken.graph, taken, target)
    assert found.missing == ("x",)
    assert set(found.quants.values()) == {Quantization.per_tensor(0.25, 3 - 128)}
    assert len(found.quants) == 3


def test_scales_that_no_width_has() -> None:
    taken = take_scales(chain(quantize(3, DType.I32), dequantize(3)))
    with pytest.raises(
        NpuqError, match=r"^%x: is quantized to q32<0\.25:3>\[1,2,4,4\], but npu has 8 or 16 bits with one scale$"
    ):
        adopt(taken.graph, taken, load_target("npu"))
