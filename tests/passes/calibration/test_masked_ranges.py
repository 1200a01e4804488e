"""A mask of -10000 costs the scores of an attention none of their steps."""

from __future__ import annotations

import math

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, Quantization, TensorType
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.reduce import Softmax
from npuq.passes.calibration.masked_ranges import masked_ranges
from npuq.passes.lowering.plan import plan_of
from npuq.passes.quantize.visible_ranges import visible_range
from npuq.passes.target import load_target

from ..rewriting import graph

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


def test_a_bias_is_no_mask_however_wide_the_scores_are() -> None:
    wide = {"scores": (-30.0, 20.0), "sum": (-31.0, 21.0), "mask": (-2.0, 1.0)}
    assert masked_ranges(attention(), SUM, wide) == SUM
    assert masked_ranges(attention(), SUM, wide | {"mask": (-5000.0, 8.0)}) == SUM


def test_a_mask_that_layers_share_reaches_as_far_as_the_one_with_the_widest_scores_needs() -> None:
    two = graph(
        """
        graph @net(%a: f32[4,16], %b: f32[4,16], %hidden: bool[16]) {
          const %none: f32[] = [-1.2676506002282294e+30]
          const %zero: f32[] = [0.0]
          %chosen = where %hidden, %none, %zero : f32[16]
          %mask = reshape %chosen {shape=(1, 16)} : f32[1,16]
          %one = add %a, %mask : f32[4,16]
          %y = softmax %one {axis=1} : f32[4,16]
          %two = add %mask, %b : f32[4,16]
          %z = softmax %two {axis=1} : f32[4,16]
          return %y, %z
        }
        """
    )
    extremes = {"a": (-3.0, 5.0), "b": (-30.0, 20.0), "chosen": (0.0, 0.0), "mask": (0.0, 0.0)}
    extremes |= {"one": (-3.0, 5.0), "two": (-30.0, 20.0)}
    margin = math.log(16 * 256)
    ranges = {(name, 8): extremes[name] for name in ("chosen", "mask", "one", "two")}
    assert masked_ranges(two, ranges, extremes) == {
        ("chosen", 8): (-50.0 - margin, 0.0),
        ("mask", 8): (-50.0 - margin, 0.0),
        ("one", 8): (-3.0 - margin, 5.0),
        ("two", 8): (-30.0 - margin, 20.0),
    }


def test_a_constant_of_scores_and_gaps_ends_below_the_gap() -> None:
    builder = Builder("net")
    scores = builder.input("scores", TensorType(DType.F32, (2, 4)))
    offsets = builder.constant(np.asarray([[0.5, -100.0, -2.0, 1.0]], np.float32), "offsets")
    total = builder.add(Add(), offsets, scores, name="sum")
    net = builder.build({"y": builder.add(Softmax(axis=1), total, name="y")})
    found = masked_ranges(net, {("sum", 8): (-107.0, 6.0)}, {"scores": (-7.0, 5.0)})
    assert found == {("sum", 8): (-9.0 - math.log(4 * 256), 6.0)}


def test_a_constant_that_lies_beyond_every_sum_ends_where_they_do() -> None:
    net = graph(
        """
        graph @net(%x: f32[2]) {
          const %c: f32[1] = [-500.0]
          %y = add %x, %c : f32[2]
          return %y
        }
        """
    )
    quants = {("x", 8): Quantization((0.125,), (0,)), ("y", 8): Quantization((0.5,), (0,))}
    width = load_target("npu").width(8)
    (low, high), plan = (0.5 * -128 - 0.125 * 127, 0.5 * 127 + 0.125 * 128), plan_of(net, load_target("npu"))
    assert visible_range(net, plan, "c", (-500.0, -500.0), quants, width) == (low, low)
    assert visible_range(net, plan, "c", (-500.0, 900.0), quants, width) == (low, high)


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
    assert quantized.scaled.notes == ()
    (value,) = quantized.report.outputs.values()
    assert value is not None
    assert value > decibels
    (probabilities,) = quantized.simulate(samples)
    assert not probabilities[:, np.tri(4) == 0].any()
