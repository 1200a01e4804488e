"""Normalizations in the forms that exporters write out, and what must not be taken for one."""

from __future__ import annotations

import re

import pytest

from npuq.passes.canonical.recognize_norms import recognize_norms

from ..rewriting import rewritten, unchanged

HEAD = """
graph @norm(%x: f32[2,3,4]) {
  const %two: f32[] = [2.0]
  const %half: f32[] = [0.5]
  const %one: f32[] = [1.0]
  const %eps: f32[] = [0.25]
  const %scale: f32[4] = [1.0, 2.0, 3.0, 4.0]
  const %bias: f32[1,4] = [0.5, 0.5, 0.25, -1.0]
"""
CENTRED = """
  %mean = reduce_mean %x {axes=(2,), keep=True} : f32[2,3,1]
  %centred = sub %x, %mean : f32[2,3,4]
"""
VARIANCE = """
  %square = pow %centred, %two : f32[2,3,4]
  %variance = reduce_mean %square {axes=(2,), keep=True} : f32[2,3,1]
  %moved = add %variance, %eps : f32[2,3,1]
"""
TAIL = """
  return %y
}
"""
LAYER_NORM = """
graph @norm(%x: f32[2,3,4]) {
  const %scale: f32[4] = [1.0, 2.0, 3.0, 4.0]
  const %y.bias: f32[4] = [0.5, 0.5, 0.25, -1.0]
  %y = layer_norm %x, %scale, %y.bias {epsilon=0.25} : f32[2,3,4]
  return %y
}
"""
PYTORCH = """
  %root = sqrt %moved : f32[2,3,1]
  %normal = div %centred, %root : f32[2,3,4]
  %scaled = mul %normal, %scale : f32[2,3,4]
  %y = add %scaled, %bias : f32[2,3,4]
"""
INVERSE = """
  %root = pow %moved, %half : f32[2,3,1]
  %inverse = reciprocal %root : f32[2,3,1]
  %factor = mul %scale, %inverse : f32[2,3,4]
  %scaled = mul %factor, %centred : f32[2,3,4]
  %y = add %bias, %scaled : f32[2,3,4]
"""
TENSORFLOW = """
  %root = sqrt %moved : f32[2,3,1]
  %inverse = div %one, %root : f32[2,3,1]
  %factor = mul %inverse, %scale : f32[2,3,4]
  %product = mul %x, %factor : f32[2,3,4]
  %shift = mul %mean, %factor : f32[2,3,4]
  %offset = sub %bias, %shift : f32[2,3,4]
  %y = add %product, %offset : f32[2,3,4]
"""
KERAS = """
  %root = sqrt %moved : f32[2,3,1]
  %inverse = reciprocal %root : f32[2,3,1]
  %factor = mul %inverse, %scale : f32[2,3,4]
  %product = mul %x, %factor : f32[2,3,4]
  %neg = neg %mean : f32[2,3,1]
  %shift = mul %neg, %factor : f32[2,3,4]
  %offset = add %shift, %bias : f32[2,3,4]
  %y = add %product, %offset : f32[2,3,4]
"""
TWICE = """
  %mean = reduce_mean %x {axes=(2,), keep=True} : f32[2,3,1]
  %mean2 = reduce_mean %x {axes=(2,), keep=True} : f32[2,3,1]
  %centred = sub %x, %mean : f32[2,3,4]
  %again = sub %x, %mean2 : f32[2,3,4]
  %square = mul %centred, %again : f32[2,3,4]
  %variance = reduce_mean %square {axes=(2,), keep=True} : f32[2,3,1]
  %moved = add %eps, %variance : f32[2,3,1]
  %root = sqrt %moved : f32[2,3,1]
  %normal = div %again, %root : f32[2,3,4]
  %scaled = mul %normal, %scale : f32[2,3,4]
  %y = add %scaled, %bias : f32[2,3,4]
"""


@pytest.mark.parametrize(
    "body",
    [*(CENTRED + VARIANCE + end for end in (PYTORCH, INVERSE, TENSORFLOW, KERAS)), TWICE],
    ids=["pytorch", "inverse", "tensorflow", "keras", "twice"],
)
def test_layer_norm(body: str) -> None:
    rewritten(recognize_norms(), text(body), LAYER_NORM)


def text(body: str) -> str:
    """A graph with the constants that its body reads."""
    head, constants = HEAD.strip().split("\n", 1)
    used = [line for line in constants.split("\n") if re.search(rf"{line.split()[1][:-1]}\b", body)]
    return "\n".join([head, *used, body.strip(), TAIL.strip()]).replace("\n\n", "\n").replace("\n%", "\n  %")


def test_keras_without_a_bias() -> None:
    body = CENTRED + VARIANCE + KERAS.replace("%product, %offset", "%product, %shift")
    body = "".join(line for line in body.splitlines(True) if "%bias" not in line)
    after = LAYER_NORM.replace(", %y.bias {", " {")
    rewritten(
        recognize_norms(), text(body), "".join(line for line in after.splitlines(True) if "const %y.bias" not in line)
    )


def test_keras_with_the_mean_added_stays() -> None:
    unchanged(recognize_norms(), text(CENTRED + VARIANCE + KERAS.replace("neg %mean", "relu %mean")))
    unchanged(
        recognize_norms(), text(CENTRED + VARIANCE + TENSORFLOW.replace("sub %bias, %shift", "add %bias, %shift"))
    )


def test_a_norm_without_factor_and_bias_over_two_axes() -> None:
    body = (CENTRED + VARIANCE).replace("(2,)", "(1, 2)").replace("f32[2,3,1]", "f32[2,1,1]")
    body += "  %root = sqrt %moved : f32[2,1,1]\n  %y = div %centred, %root : f32[2,3,4]\n"
    rewritten(
        recognize_norms(),
        text(body),
        """
        graph @norm(%x: f32[2,3,4]) {
          const %y.scale: f32[3,4] = [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
          %y = layer_norm %x, %y.scale {axis=-2, epsilon=0.25} : f32[2,3,4]
          return %y
        }
        """,
    )


RMS = """
  %square = mul %x, %x : f32[2,3,4]
  %mean = reduce_mean %square {axes=(2,), keep=True} : f32[2,3,1]
  %moved = add %mean, %eps : f32[2,3,1]
"""


@pytest.mark.parametrize(
    "end",
    [
        "  %root = sqrt %moved : f32[2,3,1]\n  %normal = div %x, %root : f32[2,3,4]\n",
        "  %root = sqrt %moved : f32[2,3,1]\n  %inverse = reciprocal %root : f32[2,3,1]\n"
        "  %normal = mul %x, %inverse : f32[2,3,4]\n",
        "  %inverse = pow %moved, %minus : f32[2,3,1]\n  %normal = mul %inverse, %x : f32[2,3,4]\n",
    ],
)
def test_rms_norm(end: str) -> None:
    before = text(RMS + end + "  %y = mul %scale, %normal : f32[2,3,4]\n")
    if "%minus" in end:
        before = before.replace("  const %eps", "  const %minus: f32[] = [-0.5]\n  const %eps")
    rewritten(
        recognize_norms(),
        before,
        """
        graph @norm(%x: f32[2,3,4]) {
          const %scale: f32[4] = [1.0, 2.0, 3.0, 4.0]
          %y = rms_norm %x, %scale {epsilon=0.25} : f32[2,3,4]
          return %y
        }
        """,
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("pow %centred, %two", "pow %centred, %half"),
        ("mean %square {axes=(2,), keep=True} : f32[2,3,1]", "mean %square {axes=(1,), keep=True} : f32[2,1,4]"),
        ("add %variance, %eps", "sub %variance, %eps"),
        ("div %centred, %root", "div %root, %centred"),
        ("div %centred, %root", "div %x, %root"),
    ],
)
def test_what_is_no_norm_stays(old: str, new: str) -> None:
    body = CENTRED + VARIANCE + "  %root = sqrt %moved : f32[2,3,1]\n  %y = div %centred, %root : f32[2,3,4]\n"
    if "(1,)" in new:
        body = body.replace("moved = add %variance, %eps : f32[2,3,1]", "moved = add %variance, %eps : f32[2,1,4]")
        body = body.replace("sqrt %moved : f32[2,3,1]", "sqrt %moved : f32[2,1,4]")
    assert old in body
    unchanged(recognize_norms(), text(body.replace(old, new)))


def test_a_factor_per_row_stays_behind_the_norm() -> None:
    body = (
        CENTRED
        + VARIANCE
        + PYTORCH.replace("%scale ", "%rows ").replace("  %y = add %scaled, %bias", "  %y = neg %scaled")
    )
    before = text(body).replace("  const %two", "  const %rows: f32[3,1] = [1.0, 2.0, 3.0]\n  const %two")
    rewritten(
        recognize_norms(),
        before,
        """
        graph @norm(%x: f32[2,3,4]) {
          const %rows: f32[3,1] = [1.0, 2.0, 3.0]
          const %normal.scale: f32[4] = [1.0, 1.0, 1.0, 1.0]
          %normal = layer_norm %x, %normal.scale {epsilon=0.25} : f32[2,3,4]
          %scaled = mul %normal, %rows : f32[2,3,4]
          %y = neg %scaled : f32[2,3,4]
          return %y
        }
        """,
    )


def test_a_value_before_the_bias_that_something_else_reads_keeps_the_bias_apart() -> None:
    body = CENTRED + VARIANCE + PYTORCH
    before = text(body).replace("return %y", "return %y, %scaled")
    rewritten(
        recognize_norms(),
        before,
        """
        graph @norm(%x: f32[2,3,4]) {
          const %scale: f32[4] = [1.0, 2.0, 3.0, 4.0]
          const %bias: f32[1,4] = [0.5, 0.5, 0.25, -1.0]
          %scaled = layer_norm %x, %scale {epsilon=0.25} : f32[2,3,4]
          %y = add %scaled, %bias : f32[2,3,4]
          return %y, %scaled
        }
        """,
    )


@pytest.mark.parametrize("limited", [True, False])
def test_a_variance_as_the_difference_of_two_means(limited: bool) -> None:
    """Flax computes it so, without keeping the axes."""
    limit = "%v = relu %v0 : f32[2,6]" if limited else "%v = mul %v0, %one : f32[2,6]"
    before = f"""
        graph @g(%x: f32[2,6,4]) {{
          const %s: f32[1,1,4] = [1.0, 2.0, 3.0, 4.0]
          const %e: f32[] = [0.25]
          const %one: f32[] = [1.0]
          %q = mul %x, %x : f32[2,6,4]
          %m = reduce_mean %x {{axes=(2,)}} : f32[2,6]
          %p = reduce_mean %q {{axes=(2,)}} : f32[2,6]
          %mm = mul %m, %m : f32[2,6]
          %v0 = sub %p, %mm : f32[2,6]
          {limit}
          %vr = reshape %v {{shape=(2, 6, 1)}} : f32[2,6,1]
          %mr = reduce_mean %x {{axes=(2,), keep=True}} : f32[2,6,1]
          %c = sub %x, %mr : f32[2,6,4]
          %ve = add %vr, %e : f32[2,6,1]
          %r = sqrt %ve : f32[2,6,1]
          %i = reciprocal %r : f32[2,6,1]
          %f = mul %i, %s : f32[2,6,4]
          %y = mul %c, %f : f32[2,6,4]
          return %y
        }}
        """
    if not limited:
        unchanged(recognize_norms(), before)
        return
    after = """
        graph @g(%x: f32[2,6,4]) {
          const %y.scale: f32[4] = [1.0, 2.0, 3.0, 4.0]
          %y = layer_norm %x, %y.scale {epsilon=0.25} : f32[2,6,4]
          return %y
        }
        """
    rewritten(recognize_norms(), before, after)
