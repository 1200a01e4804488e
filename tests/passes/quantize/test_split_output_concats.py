"""Output Concats: parts of very different ranges keep their own scales, all others stay on the NPU."""

from __future__ import annotations

import numpy as np
import pytest

import npuq
from npuq.ir import Graph
from npuq.passes.calibration.choose_ranges import output_values
from npuq.passes.quantize.split_output_concats import split_output_concats
from npuq.passes.target import load_target

from ..rewriting import graph, unchanged

TARGET = load_target("npu")
BOXES_AND_SCORES = """
graph @detect(%x: f32[1,4,8]) {
  const %hundreds: f32[1] = [100.0]
  %scores = sigmoid %x : f32[1,4,8]
  %boxes = mul %x, %hundreds : f32[1,4,8]
  %both = concat %boxes, %scores {axis=1} : f32[1,8,8]
  %turned = transpose %both {order=(0, 2, 1)} : f32[1,8,8]
  return %turned
}
"""
RANGES = {"x": (-3.0, 3.0), "scores": (0.0, 1.0), "boxes": (-320.0, 320.0), "both": (-320.0, 320.0)}


def hosted(text: str, **changed: tuple[float, float]) -> dict[str, str]:
    after = split_output_concats(extremes=RANGES | changed, target=TARGET)(graph(text))
    return {node.result: node.host for node in after.nodes if node.host}


def test_the_concat_and_what_follows_go_to_the_host() -> None:
    reason = "at one scale for all parts %scores would keep 1 values of its 128"
    assert hosted(BOXES_AND_SCORES) == {"both": reason, "turned": reason}


def test_parts_of_like_ranges_stay() -> None:
    assert not hosted(BOXES_AND_SCORES, boxes=(-4.0, 4.0))
    assert hosted(BOXES_AND_SCORES, boxes=(-5.0, 5.0))


@pytest.mark.parametrize("last", ["neg %turned", "relu %turned"])
def test_a_concat_that_feeds_an_op_stays(last: str) -> None:
    text = BOXES_AND_SCORES.replace("return %turned", f"%y = {last} : f32[1,8,8]\n  return %y")
    unchanged(split_output_concats(extremes=RANGES, target=TARGET), text)


def test_each_part_keeps_its_precision() -> None:
    net = graph(BOXES_AND_SCORES)
    x = np.random.default_rng(0).normal(0, 1, (16, 4, 8)).astype(np.float32)
    quantized = npuq.quantize(net, x)
    (got,) = quantized.simulate(x)
    (wanted,) = npuq.evaluate(net)(x[:1])
    error = np.abs(got[:1] - np.asarray(wanted))
    assert error[..., 4:].max() < 0.02
    assert error[..., :4].max() < 4
    assert any("%scores would keep" in line for line in quantized.report.host_segments)


def test_what_reaches_an_output_is_never_clipped() -> None:
    text = BOXES_AND_SCORES.replace("return %turned", "%p = softmax %turned {axis=2} : f32[1,8,8]\n  return %p")
    net: Graph = graph(text)
    assert output_values(net) == {"p", "turned", "both", "boxes", "scores"}
    x = np.random.default_rng(1).normal(0, 0.1, (64, 4, 8)).astype(np.float32)
    x[0, 0, 0] = 4
    ranges = npuq.quantize(net, x, method="percentile", percentile=0.9).ranges
    assert ranges["boxes", 8][1] == 400
    assert ranges["x", 8][1] < 1
