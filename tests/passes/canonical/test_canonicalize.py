"""The standard chain on the patterns of real files, and on the real files."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from npuq.frontends import load
from npuq.ir import Graph, evaluate
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.conditions import no_batch_norm, no_dead_code, no_identities
from tests import zoo

from ..rewriting import graph, rewritten

FASHION = Path(__file__).parents[3] / "examples" / "fashion"

BLOCK = """
graph @block(%x: f32[1,1,2,2]) {
  const %w: f32[1,1,1,1] = [0.5]
  const %s: f32[1] = [6.0]
  const %o: f32[1] = [1.5]
  const %m: f32[1] = [0.25]
  const %v: f32[1] = [4.0]
  const %one: f16[1] = [1.0]
  const %two: f16[1] = [2.0]
  const %three: f32[1] = [3.0]
  const %six: f32[1] = [6.0]
  const %k: f32[2,1,1,1] = [4.0, 5.0]
  const %u: f32[2,1,1] = [8.0, 9.0]
  %drop = identity %x : f32[1,1,2,2]
  %pad = pad %drop {padding=((0, 0), (0, 0), (1, 1), (1, 1))} : f32[1,1,4,4]
  %conv = conv %pad, %w {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,1,4,4]  loc("net:conv")
  %norm = batch_norm %conv, %s, %o, %m, %v {epsilon=0.0} : f32[1,1,4,4]  loc("net:norm")
  %a = add %norm, %three : f32[1,1,4,4]
  %c = clip %a {low=0.0, high=6.0} : f32[1,1,4,4]
  %p = mul %norm, %c : f32[1,1,4,4]
  %swish = div %p, %six : f32[1,1,4,4]  loc("net:swish")
  %half = add %one, %two : f16[1]
  %full = cast %half {to=f32} : f32[1]
  %pool = reduce_mean %swish {axes=(2, 3), keep=True} : f32[1,1,1,1]
  %fc = conv %pool, %k {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,2,1,1]
  %bias = add %fc, %u : f32[1,2,1,1]
  %e = add %bias, %full : f32[1,2,1,1]
  %g = clip %e {low=0.0, high=6.0} : f32[1,2,1,1]
  %gate = div %g, %six : f32[1,2,1,1]
  %y = mul %swish, %gate : f32[1,2,4,4]
  return %y
}
"""


def test_a_block_with_squeeze_and_excitation() -> None:
    after = """
    graph @block(%x: f32[1,1,2,2]) {
      const %k: f32[2,1,1,1] = [4.0, 5.0]
      const %norm.w: f32[1,1,1,1] = [1.5]
      const %norm.b: f32[1] = [0.75]
      const %bias.b: f32[2] = [8.0, 9.0]
      %norm = conv %x, %norm.w, %norm.b {stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1)}\
 : f32[1,1,4,4]  loc("net:conv")
      %swish = hard_swish %norm : f32[1,1,4,4]  loc("net:swish")
      %pool = reduce_mean %swish {axes=(2, 3), keep=True} : f32[1,1,1,1]
      %bias = conv %pool, %k, %bias.b {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,2,1,1]
      %gate = hard_sigmoid %bias {alpha=0.16666666666666666} : f32[1,2,1,1]
      %y = mul %swish, %gate : f32[1,2,4,4]
      return %y
    }
    """
    rewritten(canonicalize(), BLOCK, after)


def test_a_second_run_changes_nothing() -> None:
    once = canonicalize()(graph(BLOCK))
    assert canonicalize()(once) == once


LEFT = {
    "mobilenet_v2": {"conv": 52, "clip": 35, "add": 10, "reduce_mean": 1, "reshape": 1, "matmul": 1},
    "ppocr_cls": {"conv": 53, "hard_swish": 18, "relu": 15, "reduce_mean": 10, "hard_sigmoid": 9, "mul": 9, "add": 7},
    "ppocr_det": {"conv": 62, "conv_transpose": 2, "hard_swish": 24, "relu": 12, "hard_sigmoid": 10, "resize": 6},
}


@pytest.mark.zoo
@pytest.mark.parametrize(("name", "shape"), [(name, (1, 3, 96, 192)) for name in LEFT])
def test_a_real_net_becomes_small(name: str, shape: tuple[int, ...]) -> None:
    after = canonicalize()(real(name, shape))
    for holds in (no_identities, no_batch_norm, no_dead_code):
        holds(after)
    assert Counter(LEFT[name]) <= Counter(node.op.name for node in after.nodes)
    assert canonicalize()(after) == after


def test_the_demo_net_computes_the_same() -> None:
    before = load(FASHION / "resnet.onnx")
    after = canonicalize()(before)
    assert {node.op.name for node in after.nodes} == {"conv", "relu", "add", "reduce_mean", "reshape", "matmul"}
    x = np.random.default_rng(0).normal(size=before.input_types[0].shape)
    (one,), (two,) = (evaluate(net)(x) for net in (before, after))
    np.testing.assert_allclose(one, two, rtol=0, atol=1e-5 * float(np.ptp(one)))


def real(name: str, shape: tuple[int, ...]) -> Graph:
    """A net of the zoo, given a shape where its own is open."""
    return load(zoo.path(name), {"x": shape} if name.startswith("ppocr") else None)
