"""Ops that change nothing go; ops that look like it stay."""

from __future__ import annotations

import pytest

from npuq.passes.canonical.drop_identity import drop_identity

from ..rewriting import rewritten, unchanged


def body(line: str, type_: str = "f32[2,1,3]", more: str = "") -> str:
    return f"""
    graph @g(%x: f32[2,1,3]) {{
      {more}
      %a = relu %x : f32[2,1,3]
      %y = {line} : {type_}
      return %y
    }}
    """


GONE = """
graph @g(%x: f32[2,1,3]) {
  %a = relu %x : f32[2,1,3]
  return y=%a
}
"""


@pytest.mark.parametrize(
    "line",
    [
        "identity %a",
        "reshape %a {shape=(2, 1, 3)}",
        "expand %a {shape=(2, 1, 3)}",
        "tile %a {repeats=(1, 1, 1)}",
        "cast %a {to=f32}",
        "transpose %a {order=(0, 1, 2)}",
        "slice %a {starts=(0, 0, 0), stops=(2, 1, 3), steps=(1, 1, 1)}",
        "slice %a {starts=(0, 0, 0), stops=(2, -1, 3), steps=(1, -1, 1)}",
        "pad %a {padding=((0, 0), (0, 0), (0, 0))}",
        "pad %a {padding=((0, 0), (0, 0), (0, 0)), mode='edge'}",
        "clip %a",
        "concat %a {axis=1}",
        "reduce_mean %a {axes=(1,), keep=True}",
        "reduce_max %a {axes=()}",
        "max_pool %a {window=(1,), stride=(1,), padding=((0, 0),), dilation=(1,)}",
        "average_pool %a {window=(1,), stride=(1,), padding=((0, 0),), dilation=(1,)}",
        "resize %a {shape=(2, 1, 3), scales=(1.0, 1.0, 1.0), mode='linear'}",
    ],
)
def test_an_op_that_changes_nothing_goes(line: str) -> None:
    rewritten(drop_identity(), body(line), GONE, exact=True)


@pytest.mark.parametrize(
    ("line", "constant"),
    [
        ("add %a, %c", "[0.0]"),
        ("add %c, %a", "[0.0]"),
        ("sub %a, %c", "[0.0]"),
        ("mul %a, %c", "[1.0]"),
        ("mul %c, %a", "[1.0]"),
        ("div %a, %c", "[1.0]"),
        ("pow %a, %c", "[1.0]"),
    ],
)
def test_arithmetic_with_a_neutral_constant_goes(line: str, constant: str) -> None:
    rewritten(drop_identity(), body(line, more=f"const %c: f32[1] = {constant}"), GONE, exact=True)


def test_an_empty_operand_of_a_concat_goes() -> None:
    rewritten(drop_identity(), body("concat %a, %e {axis=1}", more="const %e: f32[2,0,3] = []"), GONE, exact=True)


@pytest.mark.parametrize(
    ("line", "type_", "constant"),
    [
        ("sub %c, %a", "f32[2,1,3]", "f32[1] = [0.0]"),
        ("div %c, %a", "f32[2,1,3]", "f32[1] = [1.0]"),
        ("pow %c, %a", "f32[2,1,3]", "f32[1] = [1.0]"),
        ("add %a, %c", "f32[2,1,3]", "f32[3] = [0.0, 0.0, 0.5]"),
        ("add %a, %c", "f32[2,2,3]", "f32[2,1] = [0.0, 0.0]"),
        ("concat %a, %c {axis=1}", "f32[2,2,3]", "f32[2,1,3] = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]"),
    ],
)
def test_arithmetic_that_changes_something_stays(line: str, type_: str, constant: str) -> None:
    unchanged(drop_identity(), body(line, type_, more=f"const %c: {constant}"))


@pytest.mark.parametrize(
    ("line", "type_"),
    [
        ("reshape %a {shape=(2, 3)}", "f32[2,3]"),
        ("transpose %a {order=(1, 0, 2)}", "f32[1,2,3]"),
        ("slice %a {starts=(1, 0, 0), stops=(-1, 1, 3), steps=(-1, 1, 1)}", "f32[2,1,3]"),
        ("pad %a {padding=((0, 0), (0, 0), (0, 1))}", "f32[2,1,4]"),
        ("clip %a {high=6.0}", "f32[2,1,3]"),
        ("reduce_sum %a {axes=(2,), keep=True}", "f32[2,1,1]"),
        ("max_pool %a {window=(3,), stride=(1,), padding=((1, 1),), dilation=(1,)}", "f32[2,1,3]"),
        ("cast %a {to=f16}", "f16[2,1,3]"),
    ],
)
def test_an_op_that_changes_something_stays(line: str, type_: str) -> None:
    unchanged(drop_identity(), body(line, type_))


def test_a_transpose_that_passes_only_axes_of_one_element_goes_if_the_type_is_kept() -> None:
    before = """
    graph @g(%x: f32[1,1,3]) {
      %y = transpose %x {order=(1, 0, 2)} : f32[1,1,3]
      return %y
    }
    """
    after = """
    graph @g(%x: f32[1,1,3]) {
      return y=%x
    }
    """
    rewritten(drop_identity(), before, after, exact=True)


def test_a_square_transpose_stays() -> None:
    unchanged(
        drop_identity(),
        """
        graph @g(%x: f32[3,3]) {
          %y = transpose %x {order=(1, 0)} : f32[3,3]
          return %y
        }
        """,
    )


def test_reshapes_transposes_and_casts_in_a_row_join() -> None:
    before = """
    graph @g(%x: f32[2,3,4], %h: f16[3]) {
      %a = reshape %x {shape=(6, 4)} : f32[6,4]
      %b = reshape %a {shape=(4, 6)} : f32[4,6]  loc("f:b")
      %c = transpose %x {order=(2, 0, 1)} : f32[4,2,3]
      %d = transpose %c {order=(1, 2, 0)} : f32[2,3,4]
      %e = transpose %c {order=(1, 0, 2)} : f32[2,4,3]
      %w = cast %h {to=f32} : f32[3]
      %n = cast %w {to=f16} : f16[3]
      return %b, %d, %e, %n
    }
    """
    after = """
    graph @g(%x: f32[2,3,4], %h: f16[3]) {
      %b = reshape %x {shape=(4, 6)} : f32[4,6]  loc("f:b")
      %e = transpose %x {order=(0, 2, 1)} : f32[2,4,3]
      return %b, d=%x, %e, n=%h
    }
    """
    rewritten(drop_identity(), before, after, exact=True)


def test_a_cast_back_from_a_narrower_type_stays() -> None:
    unchanged(
        drop_identity(),
        """
        graph @g(%x: f32[3]) {
          %n = cast %x {to=f16} : f16[3]
          %y = cast %n {to=f32} : f32[3]
          return %y
        }
        """,
    )


def test_an_op_of_several_results_stays() -> None:
    unchanged(
        drop_identity(),
        """
        graph @g(%x: f32[2,3]) {
          %y, %at = top_k %x {axis=1, count=3} : f32[2,3], i64[2,3]
          return %y, %at
        }
        """,
    )


def test_a_quantized_value_keeps_its_scale_through_dropped_ops() -> None:
    before = """
    graph @g(%x: q8<0.5:3>[4,2]) {
      %a = reshape %x {shape=(8,)} : q8<0.5:3>[8]
      %b = reshape %a {shape=(4, 2)} : q8<0.5:3>[4,2]
      %y = identity %b : q8<0.5:3>[4,2]
      return %y
    }
    """
    after = """
    graph @g(%x: q8<0.5:3>[4,2]) {
      return y=%x
    }
    """
    rewritten(drop_identity(), before, after, exact=True)


def pair_of(scale: float, low: int) -> str:
    return f"""
    graph @g(%x: f32[4]) {{
      %q = quantize %x {{scales=(0.5,)}} : q8<0.5>[4]
      %d = dequantize %q {{scales=(0.5,)}} : f32[4]
      %p = quantize %d {{scales=({scale},), low={low}}} : q8<{scale}>[4]
      %y = dequantize %p {{scales=({scale},)}} : f32[4]
      return %y
    }}
    """.replace(", low=-128", "")


def test_integers_that_are_quantized_again_at_their_scale() -> None:
    rewritten(
        drop_identity(),
        pair_of(0.5, -128),
        """
        graph @g(%x: f32[4]) {
          %q = quantize %x {scales=(0.5,)} : q8<0.5>[4]
          %d = dequantize %q {scales=(0.5,)} : f32[4]
          return y=%d
        }
        """,
        exact=True,
    )


@pytest.mark.parametrize(("scale", "low"), [(0.25, -128), (0.5, 0)])
def test_another_scale_or_limit_stays(scale: float, low: int) -> None:
    unchanged(drop_identity(), pair_of(scale, low))
