"""Values that move into each other share one scale."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

import npuq
from npuq.ir import Builder, DType, Graph, TensorType, evaluate
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.shape import Concat, Reshape
from npuq.passes.quantize.scale_groups import parts_apart, scale_groups, unify

from ..rewriting import graph

MOVES = """
graph @g(%x: f32[1,2,4,4], %z: f32[1,2,4,4]) {
  const %i: i64[1] = [0]
  %a = relu %x : f32[1,2,4,4]
  %b = max_pool %a {window=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1)} : f32[1,2,2,2]
  %c = pad %b {padding=((0, 0), (0, 0), (1, 1), (1, 1))} : f32[1,2,4,4]
  %d = concat %c, %z {axis=1} : f32[1,4,4,4]
  %e = transpose %d {order=(0, 2, 3, 1)} : f32[1,4,4,4]
  %f = gather %e, %i {axis=1} : f32[1,1,4,4]
  %g = add %f, %f : f32[1,1,4,4]
  %h = concat %g, %f {axis=1} : f32[1,2,4,4]
  %s = sigmoid %h : f32[1,2,4,4]
  return %s
}
"""


def test_chains_of_moves_and_nested_concats_make_one_group() -> None:
    assert scale_groups(graph(MOVES)) == [frozenset("abcdefghz")]


def test_operands_apart_separate_the_groups() -> None:
    net = graph(MOVES)
    assert set(scale_groups(net, {("d", 0), ("h", 1)})) == {frozenset("abc"), frozenset("defz"), frozenset("gh")}
    assert scale_groups(net, {("d", 0), ("d", 1), ("h", 0), ("h", 1)}) == [frozenset("abc"), frozenset("def")]


def test_parts_that_are_read_beside_the_concat_keep_finer_scales() -> None:
    net = graph(MOVES)
    # %f is read by %g too; %c, through moves alone, by the concat only.
    assert parts_apart(net, {"a": 0.1, "z": 1.0, "d": 1.0, "g": 2.0}) == {("h", 1)}
    assert parts_apart(net, {"a": 0.1, "z": 1.0, "d": 1.0, "g": 1.9}) == set()


def test_choices_between_computed_values_share_and_clamps_do_not() -> None:
    text = """
    graph @g(%x: f32[2], %y: f32[2], %m: bool[2]) {
      const %six: f32[1] = [6.0]
      const %far: f32[1] = [9.0]
      %a = maximum %x, %y : f32[2]
      %b = minimum %a, %six : f32[2]
      %c = where %m, %b, %far : f32[2]
      return %c
    }
    """
    assert scale_groups(graph(text)) == [frozenset("axy"), frozenset({"b", "c", "far"})]


def test_a_constant_of_several_readers_ties_no_groups() -> None:
    text = """
    graph @g(%x: f32[2], %y: f32[2]) {
      const %k: f32[2] = [6.0, 1.0]
      %a = concat %x, %k {axis=0} : f32[4]
      %b = concat %y, %k {axis=0} : f32[4]
      return %a, %b
    }
    """
    assert scale_groups(graph(text)) == [frozenset("xa"), frozenset("yb")]


@st.composite
def nets(draw: st.DrawFn) -> Graph:
    """A random graph of adds, reshapes and concats of vectors."""
    builder = Builder("g")
    values = [builder.input(f"x{index}", TensorType(DType.F32, (2,))) for index in range(draw(st.integers(1, 3)))]
    for _ in range(draw(st.integers(0, 12))):
        one, two = draw(st.sampled_from(values)), draw(st.sampled_from(values))
        kind = draw(st.sampled_from(["add", "reshape", "concat"]))
        if kind == "concat" and builder.types[one].size + builder.types[two].size < 64:
            values.append(builder.add(Concat(axis=0), one, two))
        elif kind == "add" and builder.types[one] == builder.types[two]:
            values.append(builder.add(Add(), one, two))
        else:
            values.append(builder.add(Reshape(shape=builder.types[one].shape), one))
    return builder.build({f"y{index}": value for index, value in enumerate(values)})


def reachable(graph: Graph) -> set[frozenset[str]]:
    """The groups by another algorithm: what a walk over moving ops, in either direction, reaches from each value."""
    moves = [node for node in graph.nodes if not isinstance(node.op, Add)]
    found = set()
    for start in graph.types:
        seen = {start}
        while True:
            more = {
                name
                for node in moves
                if seen & {*node.operands, *node.results}
                for name in (*node.operands, *node.results)
            }
            if more <= seen:
                break
            seen |= more
        found.add(frozenset(seen))
    return {group for group in found if len(group) > 1}


@given(nets())
def test_groups_are_what_a_walk_reaches_and_do_not_overlap(net: Graph) -> None:
    groups = scale_groups(net)
    assert set(groups) == reachable(net)
    assert sum(map(len, groups)) == len(frozenset[str]().union(*groups))


numbers = st.floats(-1e6, 1e6)


@given(nets(), st.data())
def test_unified_ranges_hold_all_numbers_of_the_group_and_no_more(net: Graph, data: st.DataObject) -> None:
    groups = scale_groups(net)
    observed = data.draw(st.lists(st.sampled_from(sorted(net.types)), unique=True))
    ends = {name: sorted(data.draw(st.tuples(numbers, numbers))) for name in observed}
    ranges = {name: (low, high) for name, (low, high) in ends.items()}
    unified = unify(ranges, groups)
    assert unified.keys() == ranges.keys()
    for group in groups:
        known = group & ranges.keys()
        assert len({unified[name] for name in known}) <= 1
        for name in known:
            assert unified[name] == (min(ranges[n][0] for n in known), max(ranges[n][1] for n in known))
    alone = ranges.keys() - frozenset[str]().union(*groups)
    assert all(unified[name] == ranges[name] for name in alone)
    assert unify(unified, groups) == unified


def test_a_small_part_keeps_its_other_readers_precision() -> None:
    """A sigmoid beside a value of some hundreds: at one scale nothing but 0 would be left of it."""
    text = """
    graph @g(%x: f32[1,3,4,4]) {
      const %k: f32[1] = [400.0]
      %r = relu %x : f32[1,3,4,4]
      %m = mul %r, %k : f32[1,3,4,4]
      %s = sigmoid %x : f32[1,3,4,4]
      %c = concat %m, %s {axis=1} : f32[1,6,4,4]
      %z = tanh %s : f32[1,3,4,4]
      %y = relu %c : f32[1,6,4,4]
      return %y, %z
    }
    """
    net = graph(text)
    data = np.random.default_rng(0).normal(size=(8, 3, 4, 4)).astype(np.float32)
    run = evaluate(net)
    wanted = np.concatenate([np.asarray(run(one[None])[1]) for one in data])
    noise = {}
    for unified in (False, True):
        quantized = npuq.quantize(net, data, unify_input_scale=unified)
        z = quantized.simulate(data)[1]
        noise[unified] = float(np.square(z - wanted).sum() / np.square(wanted).sum())
        names = [node.op.name for node in quantized.graph.nodes]
        assert names.count("npu.requantize") == (0 if unified else 1), names
    assert noise[False] < 1e-3
    assert noise[True] > 0.5
