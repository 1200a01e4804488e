"""The pixel normalization stands after the first input, and fuses like any batch norm."""

from __future__ import annotations

import re

import numpy as np
import pytest

from npuq.ir import NpuqError, evaluate, to_text
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.canonical.normalize_input import normalize_input
from npuq.passes.pipeline import chain

from ..rewriting import graph

NET = """
graph @g(%x: f32[1,2,2,1], %z: f32[2]) {
  const %w: f32[1,2,1,1] = [1.0, 2.0]
  %y = conv %x, %w {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,1,2,1]
  %n = neg %x : f32[1,2,2,1]
  return %y, %n, seen=%x
}
"""


def test_all_readers_of_the_first_input_see_the_normalised_one() -> None:
    assert (
        to_text(normalize_input(mean=(10.0, 20.0), std=(2.0, 4.0))(graph(NET)))
        == """graph @g(%x: f32[1,2,2,1], %z: f32[2]) {
  const %w: f32[1,2,1,1] = [1.0, 2.0]
  const %x.scale: f32[2] = [0.5, 0.25]
  const %x.offset: f32[2] = [0.0, 0.0]
  const %x.mean: f32[2] = [10.0, 20.0]
  const %x.variance: f32[2] = [1.0, 1.0]
  %x.normalized = batch_norm %x, %x.scale, %x.offset, %x.mean, %x.variance {epsilon=0.0} : f32[1,2,2,1]
  %y = conv %x.normalized, %w {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,1,2,1]
  %n = neg %x.normalized : f32[1,2,2,1]
  return %y, %n, seen=%x.normalized
}
"""
    )


def test_it_computes_what_a_user_would() -> None:
    raw = np.random.default_rng(0).integers(0, 256, (1, 2, 2, 1)).astype(np.float32)
    mean, std = np.array([123.675, 116.28]), np.array([58.395, 57.12])
    wanted = evaluate(graph(NET))(((raw - mean[:, None, None]) / std[:, None, None]).astype(np.float32), [0, 0])
    got = evaluate(normalize_input(mean=tuple(mean), std=tuple(std))(graph(NET)))(raw, [0, 0])
    for one, two in zip(wanted, got, strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-5)


def test_one_number_stands_for_all_channels_and_goes_into_an_unpadded_conv() -> None:
    net = NET.replace("  %n = neg %x : f32[1,2,2,1]\n", "").replace("%n, seen=%x", "%z")
    fused = chain(normalize_input(mean=(1.0,), std=(2.0,)), canonicalize())(graph(net))
    assert (
        to_text(fused)
        == """graph @g(%x: f32[1,2,2,1], %z: f32[2]) {
  const %y.w: f32[1,2,1,1] = [0.5, 1.0]
  const %y.b: f32[1] = [-1.5]
  %y = conv %x, %y.w, %y.b {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,1,2,1]
  return %y, %z
}
"""
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"mean": (1.0, 2.0, 3.0)}, "g: input %x: 3 numbers in mean, 1 or 2 (axis 1) wanted"),
        ({"std": (1.0, 0.0)}, "g: input %x: std (1.0, 0.0) must be greater than 0"),
        ({"std": ()}, "g: input %x: 0 numbers in std, 1 or 2 (axis 1) wanted"),
        ({"mean": (float("nan"),)}, "g: input %x: mean (nan,) holds a number that is not finite"),
    ],
)
def test_numbers_that_do_not_fit(options: dict[str, tuple[float, ...]], message: str) -> None:
    with pytest.raises(NpuqError, match=f"^{re.escape(message)}$"):
        normalize_input(**options)(graph(NET))


def test_inputs_that_cannot_be_normalized() -> None:
    with pytest.raises(NpuqError, match=r"^g: no input to normalize$"):
        normalize_input()(graph("graph @g() {\n  const %c: f32[1] = [1.0]\n  return %c\n}"))
    with pytest.raises(NpuqError, match=r"^g: input %x: i64\[2,2\] cannot be normalized, f32\[N,C,\.\.\.\] is wanted$"):
        normalize_input()(graph("graph @g(%x: i64[2,2]) {\n  return %x\n}"))
    with pytest.raises(NpuqError, match=r"^g: %x is q8<0\.5>\[1,2\]: a float graph is wanted, as it is before insert-"):
        normalize_input()(graph("graph @g(%x: q8<0.5>[1,2]) {\n  return %x\n}"))
