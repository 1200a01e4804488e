"""A mask of -10000 costs the scores of an attention none of their steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, TensorType
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.reduce import Softmax
from npuq.passes.masked_ranges import masked_ranges

from .rewriting import graph

TEXT = """
graph @net(%scores: f32[1,4,16], %mask: f32[1,1,16]) {
  %sum = add %scores, %mask : f32[1,4,16]
  %y = softmax %sum {axis=2} : f32[1,4,16]
  return %y
}
"""


def attention(extra: str = "") -> Graph:
    return graph(TEXT.replace("return %y", extra or "return %y"))


EXTREMES = {"scores": (-3.0, 5.0), "mask": (-10000.0, 0.0)}
SUM = {("sum", 8): (-10003.0, 10003.0)}


def test_the_sum_ends_below_what_is_not_masked() -> None:
    assert masked_ranges(attention(), SUM, EXTREMES) == {("sum", 8): (-3.0 - math.log(16 * 256), 5.0)}


def test_other_sums_keep_their_ranges() -> None:
    assert masked_ranges(attention(), SUM, EXTREMES | {"mask": (-6.0, 0.0)}) == SUM
    assert masked_ranges(attention("return %y, %sum"), SUM, EXTREMES) == SUM


def test_masked_attention_follows_the_float_network() -> None:
    random = np.random.default_rng(0)
    mask = np.where(np.arange(16) < 11, 0.0, -10000.0).astype(np.float32).reshape(1, 1, 16)
    samples = [(random.normal(0, 2, (1, 4, 16)).astype(np.float32), mask) for _ in range(8)]
    quantized = npuq.quantize(attention(), samples)
    (value,) = quantized.report.outputs.values()
    assert value is not None
    assert value > 25


def causal(least: float) -> Graph:
    """Attention over 4 places, each of which sees itself and what comes before."""
    builder = Builder("net")
    scores = builder.input("scores", TensorType(DType.F32, (1, 4, 4)))
    mask = builder.constant(np.where(np.tri(4) > 0, 0.0, least).astype(np.float32)[None], "mask")
    total = builder.add(Add(), scores, mask, name="sum")
    return builder.build({"y": builder.add(Softmax(axis=2), total, name="y")})


@pytest.mark.parametrize("least", [-1e4, float(np.finfo(np.float32).min)])
@pytest.mark.parametrize(("bits", "decibels"), [(8, 25), (16, 60)])
def test_a_constant_mask_costs_nothing(least: float, bits: int, decibels: float) -> None:
    samples = np.random.default_rng(0).normal(0, 2, (8, 4, 4)).astype(np.float32)
    quantized = npuq.quantize(causal(least), samples, bits=bits)
    assert quantized.repairs == ()
    (value,) = quantized.report.outputs.values()
    assert value is not None
    assert value > decibels
    (probabilities,) = quantized.simulate(samples)
    assert not probabilities[:, np.tri(4) == 0].any()
