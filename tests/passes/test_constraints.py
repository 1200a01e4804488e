"""Each limit of an NPU gives its reason, and none where a program keeps it."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from npuq.backends.npu import Program
from npuq.ir import Builder, Constant, DType, Graph, Quantization, parse_type, verify
from npuq.ir.ops.npu.pointwise import Add
from npuq.passes.constraints import CONSTRAINTS, violations
from npuq.passes.intervals import accumulator_needed, value_bounds
from npuq.passes.target import LAYOUT_OPS, load_target
from tests.backends.programs import every_op, inputs_of, small
from tests.oracle.interpreter import execute
from tests.oracle.ops import conv2d_sums

NPU = load_target("npu")


def at_8_bits(**changes: Any) -> dict[str, Any]:
    """A change of the target at its first width."""
    return {"widths": (replace(NPU.width(8), **changes), *NPU.widths[1:])}


def with_constant(graph: Graph, name: str, array: np.ndarray) -> Graph:
    """The graph with other numbers in a constant."""
    constant = Constant.of(array, graph.constants[name].type.quant if array.dtype == np.int8 else None)
    return verify(replace(graph, constants={**graph.constants, name: constant}))


def with_op(graph: Graph, result: str, **changes: Any) -> Graph:
    """The graph with other attributes of the op that makes a value."""
    nodes = tuple(
        replace(node, op=replace(node.op, **changes)) if node.result == result else node  # type: ignore[type-var]  # ops are dataclasses
        for node in graph.nodes
    )
    return verify(replace(graph, nodes=nodes))


def with_quant(graph: Graph, result: str, quant: Quantization) -> Graph:
    """The graph with another meaning of a value's integers."""
    nodes = tuple(
        replace(node, types=(node.type.with_quant(quant),)) if node.result == result else node for node in graph.nodes
    )
    return replace(graph, nodes=nodes)


def constant_of(graph: Graph, result: str, position: int) -> str:
    return graph.producers[result].operands[position]


def with_number(graph: Graph, result: str, position: int, value: int) -> Graph:
    """The graph with one number of a constant operand replaced."""
    name = constant_of(graph, result, position)
    array = graph.constants[name].array.copy()
    array.flat[0] = value
    return with_constant(graph, name, array)


def wide_sum() -> Graph:
    """A sum of i32 inputs, which nothing bounds."""
    builder = Builder("wide")
    a = builder.input("a", parse_type("i32[2]"))
    factors = builder.constant(np.ones(2, np.int32)), builder.constant(np.array([31], np.int32))
    return builder.build({"y": builder.add(Add(), a, a, *factors, name="y")})


@pytest.mark.parametrize("make", [small, every_op])
@pytest.mark.parametrize("name", ["npu", "npu-asym"])
def test_programs_within_the_limits_break_none(make: Callable[[], Graph], name: str) -> None:
    assert list(violations(make(), load_target(name))) == []


@pytest.mark.parametrize(
    ("graph", "target", "reason"),
    [
        (small(), {"integer_ops": LAYOUT_OPS}, "net.onnx:c: npu.add: npu has no such op; it has transpose, reshape, "),
        (small(), {"max_rank": 3}, "net.onnx:a: npu.conv2d: %x has 4 axes, at most 3 wanted"),
        (small(), {"max_window": 2}, "net.onnx:a: npu.conv2d: window 3x3, at most 2 wanted"),
        (small(), {"max_stride": 1}, "net.onnx:a: npu.conv2d: stride 2x2x1x1, at most 1 wanted"),
        (every_op(), {"max_stride": 3}, "%pooled: npu.max_pool2d: stride 4x4, at most 3 wanted"),
        (
            with_op(small(), "b.2", dilation=(7, 7)),
            {"max_dilation": 6},
            "b: npu.conv2d: dilation 7x7, at most 6 wanted",
        ),
        (small(), {"rounding": "floor"}, "a: npu.conv2d: rounds by single_half_up, floor wanted"),
        (small(), {"weight_granularity": "tensor"}, "a: npu.conv2d: weights %w have 4 scales, one wanted"),
        (small(), at_8_bits(weight_dtypes=(DType.I4,), mac_turns=(1,)), "weights %w are not constants of type i4"),
        (
            small(),
            at_8_bits(activation_range=(-127, 127)),
            "b: npu.conv2d: clamp [-128, 127], within [-127, 127] wanted",
        ),
        (small(), {"table_sizes": (513,)}, "%d: npu.lut: a table of 256 entries, 513 wanted"),
        (with_number(small(), "a", 1, -128), {}, "a: npu.conv2d: weights in [-128, 127], within [-127, 127] wanted"),
        (with_number(small(), "a", 3, -1), {}, "npu.conv2d: multipliers in [-1, "),
        (with_number(small(), "a", 4, 30), {}, "a: npu.conv2d: shifts in [30, 40], within [31, 62] wanted"),
        (with_number(small(), "c", 3, 10), {}, "c: npu.add: shifts in [10, 10], within [11, 62] wanted"),
        (with_number(every_op(), "soft", 1, -1), {}, "npu.softmax: a table of exponentials with negative entries"),
        (
            wide_sum(),
            {},
            "%y: npu.add: operand %a of i32 is not clamped to [-524288, 524287]",
        ),
        (with_number(every_op(), "layer", 2, 1 << 60), {}, "%layer: npu.layer_norm: biases in ["),
        (with_quant(small(), "c", Quantization.per_tensor(0.5, 3)), {}, "%c has the zero point 3, 0 wanted"),
        (
            with_op(small(), "b.2", accumulator=(-(2**33), 2**33)),
            {},
            "b: npu.conv2d: sums of [-8589934592, 8589934592] leave the accumulator's [-2147483648, 2147483647]",
        ),
        (
            with_op(small(), "e", accumulator=(-9, 9)),
            {},
            "%e: npu.reduce_sum: accumulator [-9, 9] recorded, sums reach [-1143, 1143]; lower the graph again",
        ),
    ],
    ids=lambda value: value[:40] if isinstance(value, str) else "",
)
def test_each_limit_gives_its_reason(graph: Graph, target: dict[str, Any], reason: str) -> None:
    found = list(violations(graph, replace(NPU, **target)))
    assert any(reason in line for line in found), found


@pytest.mark.parametrize(
    ("make", "result", "operand", "reason"),
    [
        (small, "e", 1, "%e: npu.reduce_sum: multiplier %{} is computed, a constant wanted"),
        (every_op, "resized", 1, "%resized: npu.resize_linear: operand i16[4,3] is computed, a constant wanted"),
    ],
)
def test_constants_that_are_computed_are_refused(
    make: Callable[[], Graph], result: str, operand: int, reason: str
) -> None:
    graph = make()
    name = constant_of(graph, result, operand)
    constants = {key: constant for key, constant in graph.constants.items() if key != name}
    inputs = {**graph.inputs, name: graph.constants[name].type}
    computed = verify(replace(graph, constants=constants, inputs=inputs))
    assert reason.format(name) in list(violations(computed, NPU))


def test_every_rule_is_written_down_once() -> None:
    rules = [rule.__doc__ or "" for rule in CONSTRAINTS]
    assert all(rule.endswith(".") for rule in rules)
    assert len(set(rules)) == len(rules)


@pytest.mark.parametrize("make", [small, every_op])
def test_no_value_leaves_its_interval(make: Callable[[], Graph]) -> None:
    graph = make()
    known = value_bounds(graph)
    file = Program.make(graph, NPU).bytes
    for seed in range(6):
        for name, array in execute(file, inputs_of(graph, seed)).values.items():
            low, high = known[name]
            assert low <= array.min(), name
            assert array.max() <= high, name


def test_the_interval_of_a_convolution_is_reached_and_never_left() -> None:
    """The oracle's sums, of data that is extreme where the weights of one channel want it."""
    graph = every_op()
    node = graph.producers["spread"]
    needed = accumulator_needed(graph, node, value_bounds(graph))
    assert needed is not None
    w, bias = (graph.constants[operand].array.astype(np.int64) for operand in node.operands[1:3])
    attributes = {"expand": (1, 1), "padding": ((0, 0), (0, 0))}
    reached = [0, 0]
    for channel, sign in itertools.product(range(8), (1, -1)):
        x = np.where(sign * w[..., channel] > 0, 127, -128)[None]
        sums = conv2d_sums(attributes, x, w, bias)
        reached = [min(reached[0], int(sums.min())), max(reached[1], int(sums.max()))]
    assert needed[0] <= reached[0]
    assert reached[1] <= needed[1]
    assert reached[1] - reached[0] > 0.98 * (needed[1] - needed[0])
