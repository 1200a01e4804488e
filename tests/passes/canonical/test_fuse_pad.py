"""A pad goes into the window op behind it, where that op pads with the same."""

from __future__ import annotations

import pytest

from npuq.passes.canonical.fuse_pad import fuse_pad

from ..rewriting import rewritten, unchanged


def padded(x: str, pad: str, line: str, type_: str) -> str:
    """`line` reads %p, which is %x (made by `x` from the input %i) after a pad of one element on each side."""
    return f"""graph @g(%i: f32[1,1,3]) {{
  %x = {x} %i : f32[1,1,3]
  %p = pad %x {{padding=((0, 0), (0, 0), (1, 1)){pad}}} : f32[1,1,5]  loc("f:p")
  %y = {line} : {type_}  loc("f:y")
  return %y
}}"""


def fused(x: str, line: str, type_: str) -> str:
    return f"""graph @g(%i: f32[1,1,3]) {{
  %x = {x} %i : f32[1,1,3]
  %y = {line} : {type_}  loc("f:y")
  return %y
}}"""


def pool(op: str, x: str, padding: str, more: str = "", window: int = 2) -> str:
    return f"{op} {x} {{window=({window},), stride=(1,), padding=({padding},), dilation=(1,){more}}}"


COUNTS = ", count_padding=True"
LEAST = ", value=-inf"


@pytest.mark.parametrize(
    ("x", "pad", "before", "after", "type_"),
    [
        ("sin", "", pool("average_pool", "%p", "(0, 0)"), pool("average_pool", "%x", "(1, 1)", COUNTS), "f32[1,1,4]"),
        (
            "sin",
            "",
            pool("average_pool", "%p", "(0, 1)", COUNTS),
            pool("average_pool", "%x", "(1, 2)", COUNTS),
            "f32[1,1,5]",
        ),
        (
            "sin",
            "",
            pool("average_pool", "%p", "(0, 1)", ", uncounted=(1,)"),
            pool("average_pool", "%x", "(1, 2)", COUNTS + ", uncounted=(1,)"),
            "f32[1,1,5]",
        ),
        ("sin", LEAST, pool("max_pool", "%p", "(0, 0)"), pool("max_pool", "%x", "(1, 1)"), "f32[1,1,4]"),
        ("relu", "", pool("max_pool", "%p", "(0, 0)"), pool("max_pool", "%x", "(1, 1)"), "f32[1,1,4]"),
        ("sigmoid", "", pool("max_pool", "%p", "(0, 0)"), pool("max_pool", "%x", "(1, 1)"), "f32[1,1,4]"),
    ],
)
def test_into_a_pool(x: str, pad: str, before: str, after: str, type_: str) -> None:
    rewritten(fuse_pad(), padded(x, pad, before, type_), fused(x, after, type_), exact=True)


@pytest.mark.parametrize(
    ("x", "pad", "line", "type_"),
    [
        ("sin", "", pool("average_pool", "%p", "(1, 0)"), "f32[1,1,5]"),
        ("sin", ", value=1.0", pool("average_pool", "%p", "(0, 0)"), "f32[1,1,4]"),
        ("sin", ", mode='edge'", pool("average_pool", "%p", "(0, 0)"), "f32[1,1,4]"),
        ("sin", "", pool("max_pool", "%p", "(0, 0)"), "f32[1,1,4]"),
        ("relu", ", value=1.0", pool("max_pool", "%p", "(0, 0)"), "f32[1,1,4]"),
        ("relu", ", mode='reflect'", pool("max_pool", "%p", "(0, 0)"), "f32[1,1,4]"),
        ("relu", "", pool("max_pool", "%p", "(0, 0)", window=1), "f32[1,1,5]"),
    ],
)
def test_a_pad_that_a_pool_cannot_do_stays(x: str, pad: str, line: str, type_: str) -> None:
    unchanged(fuse_pad(), padded(x, pad, line, type_))


def test_pads_in_a_row_go_into_a_conv_and_stay_for_others() -> None:
    before = """
graph @g(%x: f32[1,1,2,2]) {
  const %w: f32[1,1,2,2] = [1.0, 2.0, 3.0, 4.0]
  %p = pad %x {padding=((0, 0), (0, 0), (1, 0), (0, 2))} : f32[1,1,3,4]  loc("f:p")
  %q = pad %p {padding=((0, 0), (0, 0), (0, 1), (0, 1))} : f32[1,1,4,5]
  %y = conv %q, %w {stride=(1, 2), padding=((0, 0), (1, 0)), dilation=(1, 1)} : f32[1,1,3,3]  loc("f:y")
  %z = relu %p : f32[1,1,3,4]
  return %y, %z
}"""
    after = """
graph @g(%x: f32[1,1,2,2]) {
  const %w: f32[1,1,2,2] = [1.0, 2.0, 3.0, 4.0]
  %p = pad %x {padding=((0, 0), (0, 0), (1, 0), (0, 2))} : f32[1,1,3,4]  loc("f:p")
  %y = conv %x, %w {stride=(1, 2), padding=((1, 1), (1, 3)), dilation=(1, 1)} : f32[1,1,3,3]  loc("f:y")
  %z = relu %p : f32[1,1,3,4]
  return %y, %z
}"""
    rewritten(fuse_pad(), before, after, exact=True)


@pytest.mark.parametrize(
    "pad",
    [
        "padding=((0, 0), (1, 0), (0, 0)), value=0.0",
        "padding=((0, 0), (0, 0), (1, 0)), value=0.5",
        "padding=((0, 0), (0, 0), (1, 0)), mode='edge'",
    ],
)
def test_a_pad_that_a_conv_cannot_do_stays(pad: str) -> None:
    channels, size = (3, 3) if "(1, 0), (0, 0)" in pad else (2, 4)
    unchanged(
        fuse_pad(),
        f"""graph @g(%x: f32[1,2,3]) {{
  const %w: f32[1,{channels},1] = [{", ".join(["1.0"] * channels)}]
  %p = pad %x {{{pad}}} : f32[1,{channels},{size}]
  %y = conv %p, %w {{stride=(1,), padding=((0, 0),), dilation=(1,)}} : f32[1,1,{size}]
  return %y
}}""".replace(", value=0.0", ""),
    )


def test_a_max_pool_learns_through_shape_ops_that_nothing_is_negative() -> None:
    before = """
graph @g(%x: f32[1,2,1,3]) {
  const %k: f32[1,1,3] = [0.0, 1.0, 2.0]
  %a = clip %x {low=0.0, high=6.0} : f32[1,2,1,3]
  %b = reshape %a {shape=(1, 2, 3)} : f32[1,2,3]
  %c = concat %b, %k {axis=1} : f32[1,3,3]
  %p = pad %c {padding=((0, 0), (0, 0), (0, 1))} : f32[1,3,4]
  %y = max_pool %p {window=(2,), stride=(2,), padding=((0, 0),), dilation=(1,)} : f32[1,3,2]
  return %y
}"""
    after = """
graph @g(%x: f32[1,2,1,3]) {
  const %k: f32[1,1,3] = [0.0, 1.0, 2.0]
  %a = clip %x {low=0.0, high=6.0} : f32[1,2,1,3]
  %b = reshape %a {shape=(1, 2, 3)} : f32[1,2,3]
  %c = concat %b, %k {axis=1} : f32[1,3,3]
  %y = max_pool %c {window=(2,), stride=(2,), padding=((0, 1),), dilation=(1,)} : f32[1,3,2]
  return %y
}"""
    rewritten(fuse_pad(), before, after, exact=True)
    unchanged(fuse_pad(), before.replace("[0.0, 1.0, 2.0]", "[0.0, -1.0, 2.0]"))
