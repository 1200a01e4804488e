"""Choices by the sign of a value become activations; other choices stay."""

from __future__ import annotations

import pytest

from npuq.passes.canonical.recognize_branches import recognize_branches

from ..rewriting import rewritten, unchanged

HEAD = """
graph @g(%x: f32[2,3]) {
  const %zero: f32[] = [0.0]
  const %one: f32[] = [1.0]
  const %a: f32[] = [0.25]
"""
SIGN = "  %s = greater %x, %zero : bool[2,3]\n"
TAIL = '  %y = where %s, %x, %n : f32[2,3]  loc("net:y")\n  return %y\n}\n'


def after(op: str) -> str:
    return f'\ngraph @g(%x: f32[2,3]) {{\n  %y = {op} : f32[2,3]  loc("net:y")\n  return %y\n}}\n'


def test_a_leaky_relu() -> None:
    lines = HEAD + SIGN + "  %n = mul %a, %x : f32[2,3]\n" + TAIL
    rewritten(recognize_branches(), lines, after("leaky_relu %x {alpha=0.25}"), exact=True)


def test_a_leaky_relu_the_other_way_round() -> None:
    sign = "  %s = less_or_equal %x, %zero : bool[2,3]\n  %n = mul %x, %a : f32[2,3]\n"
    lines = HEAD + sign + TAIL.replace("%x, %n", "%n, %x")
    rewritten(recognize_branches(), lines, after("leaky_relu %x {alpha=0.25}"), exact=True)


@pytest.mark.parametrize("guarded", [True, False])
@pytest.mark.parametrize("alpha", [0.25, 1.0])
def test_an_elu(guarded: bool, alpha: float) -> None:
    lines = "  %z = where %s, %zero, %x : f32[2,3]\n" if guarded else ""
    lines += f"  %e = exp {'%z' if guarded else '%x'} : f32[2,3]\n"
    lines += f"  {'%m' if alpha != 1 else '%n'} = sub %e, %one : f32[2,3]\n"
    lines += "  %n = mul %a, %m : f32[2,3]\n" if alpha != 1 else ""
    wanted = after("elu %x" + (" {alpha=0.25}" if alpha != 1 else ""))
    rewritten(recognize_branches(), HEAD + SIGN + lines + TAIL, wanted)


@pytest.mark.parametrize(
    "lines",
    [
        SIGN + "  %n = add %a, %x : f32[2,3]\n",
        "  %s = greater %x, %one : bool[2,3]\n  %n = mul %a, %x : f32[2,3]\n",
        SIGN + "  %e = exp %x : f32[2,3]\n  %n = sub %e, %a : f32[2,3]\n",
        SIGN + "  %z = where %s, %one, %x : f32[2,3]\n  %e = exp %z : f32[2,3]\n  %n = sub %e, %one : f32[2,3]\n",
    ],
)
def test_other_choices_stay(lines: str) -> None:
    text = HEAD + lines + TAIL
    for name, value in (("zero", "0.0"), ("one", "1.0"), ("a", "0.25")):
        if f"%{name}" not in lines:
            text = text.replace(f"  const %{name}: f32[] = [{value}]\n", "")
    unchanged(recognize_branches(), text)
