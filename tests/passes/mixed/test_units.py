"""What can have a width of its own, and the rules between neighbours."""

from __future__ import annotations

import numpy as np
import pytest

from npuq.ir import Builder, DType, TensorType
from npuq.ir.ops.recurrent import Lstm
from npuq.passes.mixed.points import Place, measured_values, origin_of, points_of
from npuq.passes.mixed.rules import RULES, Tie, ties, violations
from npuq.passes.mixed.units import Unit, Units, units_of
from npuq.passes.target import load_target

from ..rewriting import graph

NET = """
graph @net(%x: f32[1,3,8,8], %s: f32[1,2,8,8]) {
  const %w: f32[2,3,1,1] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
  const %v: f32[2,2,1,1] = [1.0, 2.0, 4.0, 5.0]
  %c = conv %x, %w {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,2,8,8]  loc("net.onnx:first")
  %r = relu %c : f32[1,2,8,8]
  %f = reshape %r {shape=(1, 2, 64)} : f32[1,2,64]
  %g = reshape %f {shape=(1, 2, 8, 8)} : f32[1,2,8,8]
  %d = conv %g, %v {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,2,8,8]
  %e = erf %d : f32[1,2,8,8]
  %a = add %e, %r : f32[1,2,8,8]
  %k = concat %a, %s {axis=1} : f32[1,4,8,8]
  %i = argmax %k {axis=1} : i64[1,8,8]
  return %k, %i
}
"""


def test_clamps_and_tables_belong_to_their_op_and_moves_to_none() -> None:
    units = units_of(graph(NET), load_target("npu"))
    assert [(unit.name, unit.members, unit.reads, unit.makes) for unit in units] == [
        ("c", ("c", "r"), ("x",), ("r",)),
        ("d", ("d",), ("g",), ("d",)),
        ("e", ("e",), ("d",), ("e",)),
        ("a", ("a",), ("e", "r"), ("a",)),
        ("k", ("k",), ("a", "s"), ("k",)),
    ]
    assert units.by_name["c"].place == "net.onnx:first"
    assert units.sources["g"] == "c"
    assert units.sources["x"] is None
    assert units.parents(units.by_name["a"]) == ("e", "c")
    assert units.neighbours(units.by_name["c"]) == ("d", "a")
    assert units.neighbours(units.by_name["e"]) == ("d", "a")


def net(*ops: tuple[str, str, str]) -> Units:
    """Units of (name, op, operands by name); operands that are no units come from outside."""
    empty = graph("graph @net(%x: f32[1]) {\n  %y = relu %x : f32[1]\n  return %y\n}")
    units = {name: Unit(name, op, f"%{name}", (name,), tuple(read.split()), (name,)) for name, op, read in ops}
    read = {value for unit in units.values() for value in unit.reads}
    return Units(empty, units, {value: value if value in units else None for value in (*units, *sorted(read))})


LINE = (("a", "conv", "x"), ("b", "?", "a"), ("c", "conv", "b"))


@pytest.mark.parametrize("op", ["lstm", "gru", "rnn", "layer_norm", "abs"])
def test_unmixed_ops_share_their_neighbours_width(op: str) -> None:
    units = net(*((name, op if kind == "?" else kind, reads) for name, kind, reads in LINE))
    assert ties(units) == (Tie("b", "b", "a"), Tie("b", "b", "c"))
    assert list(violations(units, {"a": 16, "b": 16, "c": 16})) == []
    rule = (
        "an abs takes no part in mixing: it has the width of the ops before and after it"
        if op == "abs"
        else "a recurrent op or a layer normalization has the width of the ops before and after it"
    )
    assert list(violations(units, {"a": 16, "b": 16, "c": 8})) == [f"%b: {rule}: %b has 16 bits, %c 8"]


def test_other_ops_may_differ_from_their_neighbours() -> None:
    assert ties(net(*((name, "conv" if kind == "?" else kind, reads) for name, kind, reads in LINE))) == ()


def test_inputs_of_one_op_share_a_width() -> None:
    units = net(("a", "conv", "x"), ("b", "conv", "x"), ("c", "add", "a b"), ("d", "mul", "c x"))
    assert ties(units) == (Tie("c", "a", "b"),)
    (line,) = violations(units, {"a": 8, "b": 16, "c": 16, "d": 8})
    assert line == "%c: all inputs of an op with several have one width: %a has 8 bits, %b 16"


def test_a_recurrent_op_before_a_concat_is_not_above_its_neighbours() -> None:
    """The concat's own rule stands in the place of the rules for neighbours and for inputs."""
    units = net(("a", "gru", "x"), ("b", "conv", "x"), ("k", "concat", "a b"), ("d", "conv", "k"))
    assert ties(units) == (Tie("k", "a", "b", True), Tie("k", "a", "d", True))
    assert list(violations(units, {"a": 8, "b": 16, "k": 16, "d": 16})) == []
    lines = list(violations(units, {"a": 16, "b": 8, "k": 8, "d": 16}))
    rule = "a recurrent op or a layer normalization before a concat is no wider than the concat's other neighbours"
    assert lines == [f"%k: {rule}: %a has 16 bits, %b 8"]


def test_every_rule_says_what_it_is() -> None:
    assert all(rule.__doc__ and rule.__doc__.endswith(".") for rule in RULES)


def test_noise_comes_in_at_constants_results_and_shared_readings() -> None:
    """What one op alone reads is narrow where it is made; what nothing reads has no noise."""
    units = units_of(graph(NET), load_target("npu"))
    assert [(str(point.place), point.unit, point.value) for point in points_of(units)] == [
        ("read", "c", "x"),
        ("known", "c", ""),
        ("made", "c", "r"),
        ("read", "d", "g"),
        ("known", "d", ""),
        ("made", "d", "d"),
        ("made", "e", "e"),
        ("read", "a", "r"),
        ("made", "a", "a"),
        ("read", "k", "s"),
        ("made", "k", "k"),
    ]
    assert origin_of(units, "g") == "r"
    assert measured_values(units.graph) == ("k",)


def test_results_that_nothing_reads_have_no_point() -> None:
    builder = Builder("net")
    shapes = ((3, 1, 2), (1, 8, 2), (1, 8, 2), (1, 8), (1, 1, 2), (1, 1, 2))
    x, *constants = (
        builder.constant(np.ones(shape, np.float32)) if index else builder.input("x", TensorType(DType.F32, shape))
        for index, shape in enumerate(shapes)
    )
    names = builder.add_all(Lstm(), x, *constants, names=("y", "hidden", "cell"))
    units = units_of(builder.build({"y": names[0]}), load_target("npu"))
    assert units.by_name["y"].makes == ("y", "hidden", "cell")
    assert [point.value for point in points_of(units) if point.place is Place.MADE] == ["y"]
