"""Long windows over one channel, lengths of vectors and products with zero: the exact text, and the same numbers."""

from __future__ import annotations

import numpy as np
import pytest

from npuq.ir import Builder, evaluate, parse_type
from npuq.ir.ops.conv import Conv
from npuq.passes.canonical.drop_zero_products import drop_zero_products
from npuq.passes.canonical.fold_strides import fold_strides
from npuq.passes.canonical.recognize_hypot import recognize_hypot

from ..rewriting import rewritten, unchanged


@pytest.mark.parametrize(("length", "stride", "window"), [(96, 32, 64), (100, 16, 64), (64, 64, 64), (70, 1, 64)])
def test_a_framed_transform_gets_short_windows(length: int, stride: int, window: int) -> None:
    random, builder = np.random.default_rng(0), Builder("net")
    x = builder.input("x", parse_type(f"f32[2,1,{length}]"))
    w, b = (builder.constant(random.normal(size=size).astype(np.float32), "w") for size in ((5, 1, window), (5,)))
    y = builder.add(Conv(stride=(stride,), padding=((0, 0),), dilation=(1,)), x, w, b, name="y")
    graph = builder.build({"y": y})
    folded = fold_strides()(graph)
    (conv,) = (node for node in folded.nodes if isinstance(node.op, Conv))
    longest = folded.types[conv.operands[1]].shape[2]
    assert longest == (window // stride if stride > 1 else window)
    data = random.normal(size=(2, 1, length)).astype(np.float32)
    np.testing.assert_allclose(evaluate(folded)(data)[0], evaluate(graph)(data)[0], atol=1e-4)


def test_a_length_is_recognized() -> None:
    for square in ("mul %a, %a", "pow %a, %two"):
        constant = "  const %two: f32[] = [2.0]\n" if "two" in square else ""
        rewritten(
            recognize_hypot(),
            f"graph @net(%a: f32[3], %b: f32[3]) {{\n{constant}  %aa = {square} : f32[3]\n"
            "  %bb = mul %b, %b : f32[3]\n  %s = add %aa, %bb : f32[3]\n  %y = sqrt %s : f32[3]\n  return %y\n}",
            "graph @net(%a: f32[3], %b: f32[3]) {\n  %y = hypot %a, %b : f32[3]\n  return %y\n}",
        )


def test_other_roots_stay() -> None:
    unchanged(
        recognize_hypot(),
        """
        graph @net(%a: f32[3], %b: f32[3]) {
          %aa = mul %a, %a : f32[3]
          %ab = mul %a, %b : f32[3]
          %s = add %aa, %ab : f32[3]
          %y = sqrt %s : f32[3]
          return %y
        }
        """,
    )


def test_integer_products_with_zero_are_zeros() -> None:
    rewritten(
        drop_zero_products(),
        """
        graph @net(%a: i64[2]) {
          const %none: i64[] = [0]
          %y = mul %a, %none : i64[2]
          return %y
        }
        """,
        """
        graph @net(%a: i64[2]) {
          const %y: i64[2] = [0, 0]
          return %y
        }
        """,
        exact=True,
    )


def test_other_products_stay() -> None:
    for dtype, number in (("f32", "0.0"), ("i64", "1")):
        unchanged(
            drop_zero_products(),
            f"""
            graph @net(%a: {dtype}[2]) {{
              const %k: {dtype}[] = [{number}]
              %y = mul %a, %k : {dtype}[2]
              return %y
            }}
            """,
        )
