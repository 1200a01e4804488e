"""What no output needs goes, inputs stay."""

from __future__ import annotations

import pytest

from npuq.ir import NpuqError
from npuq.passes.canonical.drop_dead_code import drop_dead_code
from npuq.passes.conditions import no_dead_code

from ..rewriting import graph, rewritten

BEFORE = """
graph @g(%x: f32[2], %unused: f32[1]) {
  const %a: f32[2] = [1.0, 2.0]
  const %b: f32[2] = [3.0, 4.0]
  const %c: f32[2] = [3.0, 4.0]
  %d = add %x, %a : f32[2]  loc("f:d")
  %e = relu %d : f32[2]  loc("f:e")
  %y = add %b, %c : f32[2]
  return %y
}
"""


def test_nodes_and_constants_go_and_equal_constants_become_one() -> None:
    after = """
    graph @g(%x: f32[2], %unused: f32[1]) {
      const %b: f32[2] = [3.0, 4.0]
      %y = add %b, %b : f32[2]
      return %y
    }
    """
    rewritten(drop_dead_code(), BEFORE, after, exact=True)


def test_the_condition_names_the_place() -> None:
    with pytest.raises(NpuqError, match=r"^f:e: relu: no output needs it; run drop-dead-code$"):
        no_dead_code(graph(BEFORE))
    without_nodes = "\n".join(line for line in BEFORE.splitlines() if "loc(" not in line)
    with pytest.raises(NpuqError, match=r"^g: no output needs the constant %a; run drop-dead-code$"):
        no_dead_code(graph(without_nodes))
