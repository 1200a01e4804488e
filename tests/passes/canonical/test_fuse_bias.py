"""Constants per channel go into the weights before them."""

from __future__ import annotations

import numpy as np
import pytest

from npuq.ir import Builder, Graph, Node, parse_type
from npuq.ir.ops.elementwise import Add
from npuq.passes.canonical.affine import Affine, Runs
from npuq.passes.canonical.fuse_bias import constant_step, fuse_bias

from ..rewriting import rewritten, unchanged

CONV = "conv %x, %w {stride=(1,), padding=((1, 0),), dilation=(1,)} : f32[1,2,3]"
WEIGHTS = "[1.0, 2.0, 3.0, 4.0]"


def conv(constant: str, line: str) -> str:
    return f"""graph @g(%x: f32[1,1,3]) {{
  const %w: f32[2,1,2] = {WEIGHTS}
  const %k: {constant}
  %c = {CONV}  loc("f:c")
  %y = {line} : f32[1,2,3]  loc("f:y")
  return %y
}}"""


def fused(weights: str, bias: str = "") -> str:
    constant = f"\n  const %y.b: f32[2] = {bias}" if bias else ""
    name = "%w" if weights == WEIGHTS else "%y.w"  # an equal constant is not made a second time
    operands = f"{name}, %y.b" if bias else name
    return f"""graph @g(%x: f32[1,1,3]) {{
  const {name}: f32[2,1,2] = {weights}{constant}
  %y = {CONV.replace("%w", operands)}  loc("f:c")
  return %y
}}"""


@pytest.mark.parametrize(
    ("constant", "line", "weights", "bias"),
    [
        ("f32[2,1] = [5.0, 6.0]", "add %c, %k", WEIGHTS, "[5.0, 6.0]"),
        ("f32[1,2,1] = [5.0, 6.0]", "add %k, %c", WEIGHTS, "[5.0, 6.0]"),
        ("f32[2,1] = [5.0, 6.0]", "sub %c, %k", WEIGHTS, "[-5.0, -6.0]"),
        ("f32[2,1] = [5.0, 6.0]", "sub %k, %c", "[-1.0, -2.0, -3.0, -4.0]", "[5.0, 6.0]"),
        ("f32[] = [0.5]", "mul %c, %k", "[0.5, 1.0, 1.5, 2.0]", ""),
        ("f32[3] = [2.0, 2.0, 2.0]", "div %c, %k", "[0.5, 1.0, 1.5, 2.0]", ""),
    ],
)
def test_into_a_conv(constant: str, line: str, weights: str, bias: str) -> None:
    rewritten(fuse_bias(), conv(constant, line), fused(weights, bias))


@pytest.mark.parametrize(
    ("constant", "line"),
    [
        ("f32[3] = [1.0, 2.0, 3.0]", "add %c, %k"),
        ("f32[1,2,3] = [1.0, 2.0, 3.0, 1.0, 2.0, 3.0]", "mul %c, %k"),
        ("f32[2,1] = [1.0, 0.0]", "div %c, %k"),
        ("f32[2,1] = [1.0, 2.0]", "div %k, %c"),
        ("f32[2,1] = [1.0, 2.0]", "maximum %c, %k"),
    ],
)
def test_what_is_no_function_of_the_channel_stays(constant: str, line: str) -> None:
    unchanged(fuse_bias(), conv(constant, line))


def test_a_wider_constant_stays() -> None:
    unchanged(
        fuse_bias(), conv("f32[2,1,1] = [1.0, 1.0]", "add %c, %k").replace(': f32[1,2,3]  loc("f:y")', ": f32[2,2,3]")
    )


@pytest.mark.parametrize("output", ["return %y, %c", "%z = relu %c : f32[1,2,3]\n  return %y, %z"])
def test_a_conv_that_something_else_reads_keeps_its_bias(output: str) -> None:
    unchanged(fuse_bias(), conv("f32[2,1] = [1.0, 2.0]", "add %c, %k").replace("return %y", output))


def test_several_in_a_row_into_a_matmul_with_a_bias() -> None:
    before = """
graph @g(%x: f32[3,4,1]) {
  const %w: f32[1,2] = [1.0, 2.0]
  const %b: f32[2] = [1.0, 1.0]
  const %k: f32[2] = [3.0, 5.0]
  const %n: f32[1] = [2.0]
  %a = matmul %x, %w, %b : f32[3,4,2]
  %c = mul %a, %k : f32[3,4,2]
  %d = sub %c, %n : f32[3,4,2]
  %y = div %d, %n : f32[3,4,2]
  return %y
}"""
    after = """
graph @g(%x: f32[3,4,1]) {
  const %y.w: f32[1,2] = [1.5, 5.0]
  const %y.b: f32[2] = [0.5, 1.5]
  %y = matmul %x, %y.w, %y.b : f32[3,4,2]
  return %y
}"""
    rewritten(fuse_bias(), before, after)


def test_a_product_of_two_computed_matrices_stays() -> None:
    unchanged(
        fuse_bias(),
        """
graph @g(%x: f32[2,2], %w: f32[2,2]) {
  const %k: f32[2] = [3.0, 5.0]
  %a = matmul %x, %w : f32[2,2]
  %y = add %a, %k : f32[2,2]
  return %y
}""",
    )


def test_arithmetic_with_one_number_stays() -> None:
    unchanged(
        fuse_bias(),
        """
        graph @g(%x: f32[3]) {
          const %k: f32[] = [2.0]
          %s = reduce_sum %x {axes=(0,)} : f32[]
          %y = mul %s, %k : f32[]
          return %y
        }
        """,
    )


def test_a_long_run_is_read_once() -> None:
    builder = Builder("g")
    value = builder.input("x", parse_type("f32[1,2,3]"))
    for index in range(2000):
        value = builder.add(Add(), value, builder.constant(np.full((2, 1), index, np.float32)))
    graph = builder.build({"y": value})
    read = []

    def step(graph: Graph, node: Node, axis: int) -> tuple[Affine, str] | None:
        read.append(node)
        return constant_step(graph, node, axis)

    runs = Runs(graph, step)
    last = runs.ending_in(graph.nodes[-1], 1)
    assert last is not None
    assert last[1] == "x"
    assert last[0].offset.tolist() == [1999 * 1000] * 2
    assert all(runs.ending_in(node, 1) is not None for node in graph.nodes)
    assert len(read) == len(graph.nodes)
