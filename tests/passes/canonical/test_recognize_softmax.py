"""A written-out softmax becomes one op; what only looks like one stays."""

from __future__ import annotations

import pytest

from npuq.passes.canonical.recognize_softmax import recognize_softmax

from ..rewriting import rewritten, unchanged

AFTER = """
graph @g(%x: f32[2,5]) {
  %y = softmax %x {axis=1} : f32[2,5]  loc("net:y")
  return %y
}
"""


@pytest.mark.parametrize("keep", [True, False])
def test_the_usual_form(keep: bool) -> None:
    total = "%s = reduce_sum %e {axes=(1,), keep=True} : f32[2,1]"
    if not keep:
        total = "%s1 = reduce_sum %e {axes=(1,)} : f32[2]\n  %s = reshape %s1 {shape=(2, 1)} : f32[2,1]"
    before = f"""
graph @g(%x: f32[2,5]) {{
  %m = reduce_max %x {{axes=(1,), keep=True}} : f32[2,1]
  %d = sub %x, %m : f32[2,5]
  %e = exp %d : f32[2,5]
  {total}
  %y = div %e, %s : f32[2,5]  loc("net:y")
  return %y
}}
"""
    rewritten(recognize_softmax(), before, AFTER)


def test_a_product_with_the_inverse_and_no_shift() -> None:
    before = """
graph @g(%x: f32[2,5]) {
  %e = exp %x : f32[2,5]
  %s = reduce_sum %e {axes=(1,), keep=True} : f32[2,1]
  %i = reciprocal %s : f32[2,1]
  %y = mul %i, %e : f32[2,5]  loc("net:y")
  return %y
}
"""
    rewritten(recognize_softmax(), before, AFTER)


@pytest.mark.parametrize(
    "lines",
    [
        "%s = reduce_sum %x {axes=(1,), keep=True} : f32[2,1]",
        "%s0 = reduce_sum %e {axes=(1,), keep=True} : f32[2,1]\n  %s = neg %s0 : f32[2,1]",
        "%s = reduce_sum %e {axes=(0, 1), keep=True} : f32[1,1]",
    ],
)
def test_other_quotients_stay(lines: str) -> None:
    text = f"""
graph @g(%x: f32[2,5]) {{
  %e = exp %x : f32[2,5]
  {lines}
  %y = div %e, %s : f32[2,5]
  return %y
}}
"""
    unchanged(recognize_softmax(), text)


def test_a_shift_that_differs_along_the_axis_is_part_of_the_logits() -> None:
    before = """
graph @g(%x: f32[2,5], %m: f32[2,5]) {
  %d = sub %x, %m : f32[2,5]
  %e = exp %d : f32[2,5]
  %s = reduce_sum %e {axes=(1,), keep=True} : f32[2,1]
  %y = div %e, %s : f32[2,5]
  return %y
}
"""
    after = """
graph @g(%x: f32[2,5], %m: f32[2,5]) {
  %d = sub %x, %m : f32[2,5]
  %y = softmax %d {axis=1} : f32[2,5]
  return %y
}
"""
    rewritten(recognize_softmax(), before, after)
