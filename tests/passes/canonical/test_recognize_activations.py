"""Written-out activations become one op, in whatever order they are written; look-alikes stay."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest

from npuq.passes.canonical.recognize_activations import TOLERANCE, recognize_activations

from ..rewriting import graph, rewritten, unchanged

F32_ERROR = 2.0**-22
"""Of a result whose formula holds two constants rounded to float32."""

CONSTANTS = {
    "half": 0.5,
    "one": 1.0,
    "two": 2.0,
    "three": 3.0,
    "six": 6.0,
    "zero": 0.0,
    "sixth": 1 / 6,
    "root": math.sqrt(2),
    "unroot": math.sqrt(0.5),
    "scale": math.sqrt(2 / math.pi),
    "cube": 0.044715,
    "both": math.sqrt(2 / math.pi) * 0.044715,
    "fifth": 0.2,
}


def body(lines: str, dtype: type[np.floating] = np.float32) -> str:
    """A graph of `name = op operands` lines over %x that returns %y, with the constants that they name."""
    wanted = [name for name in CONSTANTS if re.search(rf"%{name}\b", lines)]
    constants = "".join(f"  const %{name}: f32[1] = [{float(dtype(CONSTANTS[name]))!r}]\n" for name in wanted)
    nodes = "".join(f"  {line.strip()} : f32[2,5]\n" for line in lines.strip().split(";"))
    return f"graph @g(%x: f32[2,5]) {{\n{constants}{nodes}  return %y\n}}\n"


def one(op: str) -> str:
    return f"graph @g(%x: f32[2,5]) {{\n  %y = {op} %x : f32[2,5]\n  return %y\n}}\n"


HARD_SWISH = [
    "%a = add %x, %three; %c = clip %a {low=0.0, high=6.0}; %m = mul %x, %c; %y = div %m, %six",
    "%a = add %three, %x; %c = clip %a {low=0.0, high=6.0}; %d = div %c, %six; %y = mul %d, %x",
    "%a = add %x, %three; %r = relu %a; %c = minimum %r, %six; %m = mul %c, %x; %y = mul %m, %sixth",
    "%a = add %x, %three; %r = maximum %zero, %a; %c = minimum %six, %r; %m = mul %x, %sixth; %y = mul %m, %c",
    "%a = mul %x, %sixth; %b = add %a, %half; %c = clip %b {low=0.0, high=1.0}; %y = mul %x, %c",
    "%h = hard_sigmoid %x {alpha=0.1666666716337204}; %y = mul %x, %h",
]

GELU = [
    "%d = div %x, %root; %e = erf %d; %a = add %e, %one; %m = mul %x, %a; %y = mul %m, %half",
    "%d = mul %x, %unroot; %e = erf %d; %a = add %one, %e; %h = mul %half, %x; %y = mul %h, %a",
    "%d = mul %unroot, %x; %e = erf %d; %a = add %e, %one; %h = mul %a, %half; %y = mul %x, %h",
    "%d = div %x, %root; %e = erf %d; %h = mul %e, %half; %a = add %h, %half; %y = mul %x, %a",
    "%d = div %x, %root; %e = erf %d; %a = add %e, %one; %m = mul %x, %a; %y = div %m, %two",
    "%n = neg %x; %d = mul %n, %unroot; %e = erf %d; %a = sub %one, %e; %h = mul %half, %x; %y = mul %h, %a",
]

GELU_TANH = [
    "%p = pow %x, %three; %q = mul %p, %cube; %s = add %x, %q; %t = mul %s, %scale; %e = tanh %t; "
    "%a = add %e, %one; %h = mul %x, %half; %y = mul %h, %a",
    "%p = mul %x, %x; %r = mul %p, %x; %q = mul %cube, %r; %s = add %q, %x; %t = mul %scale, %s; %e = tanh %t; "
    "%a = add %one, %e; %h = mul %half, %a; %y = mul %x, %h",
    "%p = mul %x, %x; %q = mul %p, %cube; %s = add %q, %one; %u = mul %x, %scale; %t = mul %u, %s; %e = tanh %t; "
    "%a = add %e, %one; %m = mul %x, %a; %y = mul %m, %half",
    "%p = pow %x, %two; %q = mul %p, %both; %s = add %q, %scale; %t = mul %s, %x; %e = tanh %t; "
    "%a = add %e, %one; %m = mul %a, %x; %y = mul %m, %half",
]


@pytest.mark.parametrize("lines", HARD_SWISH)
def test_hard_swish(lines: str) -> None:
    rewritten(recognize_activations(), body(lines), one("hard_swish"), error=F32_ERROR)


@pytest.mark.parametrize("lines", ["%s = sigmoid %x; %y = mul %x, %s", "%s = sigmoid %x; %y = mul %s, %x"])
def test_silu(lines: str) -> None:
    rewritten(recognize_activations(), body(lines), one("silu"))


def test_mish() -> None:
    rewritten(recognize_activations(), body("%s = softplus %x; %t = tanh %s; %y = mul %x, %t"), one("mish"))


@pytest.mark.parametrize("lines", GELU)
def test_gelu_of_erf(lines: str) -> None:
    rewritten(recognize_activations(), body(lines), one("gelu"), error=F32_ERROR)


@pytest.mark.parametrize("lines", GELU_TANH)
def test_gelu_of_tanh(lines: str) -> None:
    after = "graph @g(%x: f32[2,5]) {\n  %y = gelu %x {approximate='tanh'} : f32[2,5]\n  return %y\n}\n"
    rewritten(recognize_activations(), body(lines), after, error=F32_ERROR)


@pytest.mark.parametrize(
    ("lines", "slope"),
    [
        ("%a = add %x, %three; %c = clip %a {low=0.0, high=6.0}; %y = div %c, %six", 1 / 6),
        ("%m = mul %x, %fifth; %a = add %m, %half; %y = clip %a {low=0.0, high=1.0}", float(np.float32(0.2))),
        ("%m = mul %fifth, %x; %a = add %half, %m; %r = relu %a; %y = minimum %r, %one", float(np.float32(0.2))),
    ],
)
def test_hard_sigmoid(lines: str, slope: float) -> None:
    attribute = f"alpha={slope!r}"
    after = f"graph @g(%x: f32[2,5]) {{\n  %y = hard_sigmoid %x {{{attribute}}} : f32[2,5]\n  return %y\n}}\n"
    rewritten(recognize_activations(), body(lines), after)


@pytest.mark.parametrize("lines", [*HARD_SWISH[:5], *GELU, *GELU_TANH])
def test_constants_in_half_precision_are_known(lines: str) -> None:
    names = {node.op.name for node in recognize_activations()(graph(body(lines, np.float16))).nodes}
    assert names in ({"hard_swish"}, {"gelu"})


@pytest.mark.parametrize(
    "lines",
    [
        "%s = sigmoid %x; %y = mul %s, %s",
        "%d = mul %x, %two; %s = sigmoid %d; %y = mul %x, %s",
        "%a = add %x, %three; %c = clip %a {low=0.0, high=6.0}; %y = mul %x, %c",
        "%a = add %x, %two; %c = clip %a {low=0.0, high=6.0}; %m = mul %x, %c; %y = div %m, %six",
        "%a = add %x, %three; %c = clip %a {low=-1.0, high=6.0}; %m = mul %x, %c; %y = div %m, %six",
        "%c = clip %x {low=0.0, high=6.0}; %y = div %c, %six",
        "%r = relu %x; %y = mul %r, %six",
        "%d = mul %x, %root; %e = erf %d; %a = add %e, %one; %m = mul %x, %a; %y = mul %m, %half",
        "%d = div %x, %root; %e = erf %d; %a = add %e, %half; %m = mul %x, %a; %y = mul %m, %half",
        "%d = div %x, %root; %e = erf %d; %a = sub %one, %e; %m = mul %x, %a; %y = mul %m, %half",
        "%d = div %root, %x; %e = erf %d; %a = add %e, %one; %m = mul %x, %a; %y = mul %m, %half",
        "%t = tanh %x; %a = add %t, %one; %m = mul %x, %a; %y = mul %m, %half",
    ],
)
def test_what_only_looks_like_an_activation_stays(lines: str) -> None:
    unchanged(recognize_activations(), body(lines))


def test_a_constant_beyond_the_tolerance_is_another_formula() -> None:
    for factor, known in ((1 + TOLERANCE * 0.9, True), (1 + TOLERANCE * 1.5, False)):
        text = body(HARD_SWISH[0]).replace("= [3.0]", f"= [{float(np.float32(3 * factor))!r}]")
        assert ("hard_swish" in str(recognize_activations()(graph(text)))) is known


def test_a_part_that_is_read_elsewhere_stays_beside_the_activation() -> None:
    before = """
    graph @g(%x: f32[2,5]) {
      %s = sigmoid %x : f32[2,5]  loc("f:s")
      %y = mul %x, %s : f32[2,5]  loc("f:y")
      %z = relu %s : f32[2,5]
      return %y, %z
    }
    """
    after = """
    graph @g(%x: f32[2,5]) {
      %s = sigmoid %x : f32[2,5]  loc("f:s")
      %y = silu %x : f32[2,5]  loc("f:y")
      %z = relu %s : f32[2,5]
      return %y, %z
    }
    """
    rewritten(recognize_activations(), before, after)


def test_a_gate_of_another_shape_stays() -> None:
    unchanged(
        recognize_activations(),
        """
        graph @g(%x: f32[2,1]) {
          const %three: f32[1,5] = [3.0, 3.0, 3.0, 3.0, 3.0]
          const %six: f32[1] = [6.0]
          %a = add %x, %three : f32[2,5]
          %c = clip %a {low=0.0, high=6.0} : f32[2,5]
          %m = mul %x, %c : f32[2,5]
          %y = div %m, %six : f32[2,5]
          return %y
        }
        """,
    )


def test_the_product_of_an_activation_and_another_value_keeps_both() -> None:
    before = """
    graph @g(%a: f32[3], %b: f32[3]) {
      %x = mul %a, %b : f32[3]
      %s = sigmoid %x : f32[3]
      %m = mul %x, %s : f32[3]
      %y = mul %m, %a : f32[3]
      return %y
    }
    """
    after = """
    graph @g(%a: f32[3], %b: f32[3]) {
      %x = mul %a, %b : f32[3]
      %m = silu %x : f32[3]
      %y = mul %m, %a : f32[3]
      return %y
    }
    """
    rewritten(recognize_activations(), before, after)


def test_reading_a_formula_takes_no_time_on_a_value_that_is_used_again_and_again() -> None:
    lines = ["%v0 = sigmoid %x"] + [f"%v{n} = mul %v{n - 1}, %v{n - 1}" for n in range(1, 60)] + ["%y = relu %v59"]
    unchanged(recognize_activations(), body(";".join(lines)))
