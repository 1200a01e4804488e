"""The lowering, op by op: what the integers say is what the fake-quant graph says, to the last step of the scale."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

import numpy as np
import pytest

from npuq.backends.simulator import simulator
from npuq.ir import (
    Builder,
    DType,
    Graph,
    NpuqError,
    Op,
    PassError,
    TensorType,
    blobs,
    evaluate,
    parse,
    registry,
    to_text,
    verify,
)
from npuq.ir.ops import activation, conv, elementwise, norm, pool, recurrent, reduce, resize, scatter, shape
from npuq.ir.ops.npu.result import Requantized
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering import LOWERINGS, Kind
from npuq.passes.lowering.lower_to_integer import lower, lower_to_integer
from npuq.passes.lowering.plan import observed_values
from npuq.passes.pipeline import chain
from npuq.passes.quantize.insert_fake_quant import choose_scales, insert_fake_quant
from npuq.passes.target import load_target

TARGETS = ("npu", "npu-asym")
LISTED_BY_NONE = ("npu.cumsum",)
"""Integer ops that a target's own file must list: those that come with npuq do not."""

Make = Callable[[Builder, np.random.Generator], str]


def inputs(builder: Builder, *shapes: tuple[int, ...]) -> list[str]:
    return [builder.input(f"x{index}", TensorType(DType.F32, sizes)) for index, sizes in enumerate(shapes)]


def known(builder: Builder, random: np.random.Generator, *sizes: int, scale: float = 1.0) -> str:
    return builder.constant((random.normal(0, scale, sizes)).astype(np.float32), "k")


def window(rank: int = 2, **changed: object) -> dict[str, object]:
    return {"stride": (1,) * rank, "padding": ((1, 1),) * rank, "dilation": (1,) * rank} | changed


def convolution(groups: int = 1, rank: int = 2, bias: bool = True, **changed: object) -> Make:
    def make(builder: Builder, random: np.random.Generator) -> str:
        (x,) = inputs(builder, (1, 4, *(9, 7)[:rank]))
        w = known(builder, random, 6 if groups < 4 else 8, 4 // groups, *(3, 3)[:rank], scale=0.3)
        operands = (x, w, known(builder, random, 6 if groups < 4 else 8)) if bias else (x, w)
        return builder.add(conv.Conv(**window(rank, **changed), groups=groups), *operands)  # type: ignore[arg-type]  # given by the cases

    return make


def transposed(groups: int = 1, **changed: object) -> Make:
    def make(builder: Builder, random: np.random.Generator) -> str:
        (x,) = inputs(builder, (1, 4, 5, 6))
        w = known(builder, random, 4, 3, 3, 3, scale=0.3)
        op = conv.ConvTranspose(**window(**({"output_padding": (0, 0)} | changed)), groups=groups)  # type: ignore[arg-type]  # given by the cases
        return builder.add(op, x, w, known(builder, random, 3 * groups))

    return make


def unary(op: Op, *sizes: int) -> Make:
    def make(builder: Builder, random: np.random.Generator) -> str:
        return builder.add(op, *inputs(builder, sizes or (1, 3, 5, 4)))

    return make


def binary(op: Op, first: tuple[int, ...], second: tuple[int, ...]) -> Make:
    return lambda builder, random: builder.add(op, *inputs(builder, first, second))


def with_known(op: Op, *sizes: int, swapped: bool = False) -> Make:
    def make(builder: Builder, random: np.random.Generator) -> str:
        (x,) = inputs(builder, (1, 3, 5, 4))
        operands = [x, known(builder, random, *sizes)]
        return builder.add(op, *(reversed(operands) if swapped else operands))

    return make


def after_convolution(*ops: Op) -> Make:
    """Channels last is at hand: the ops must follow it or turn it back."""

    def make(builder: Builder, random: np.random.Generator) -> str:
        y = convolution()(builder, random)
        for op in ops:
            y = builder.add(op, y)
        return y

    return make


def two_branches(builder: Builder, random: np.random.Generator) -> str:
    y = convolution()(builder, random)
    wide = builder.add(conv.Conv(**window()), y, known(builder, random, 6, 6, 3, 3, scale=2.0))  # type: ignore[arg-type]  # a window
    gate = builder.add(activation.Sigmoid(), builder.add(reduce.ReduceMean(axes=(2, 3), keep=True), y))
    both = builder.add(shape.Concat(axis=1), wide, builder.add(elementwise.Mul(), y, gate))
    return builder.add(activation.Relu(), builder.add(elementwise.Add(), both, both))


def linear(builder: Builder, random: np.random.Generator) -> str:
    (x,) = inputs(builder, (3, 10))
    return builder.add(conv.MatMul(), x, known(builder, random, 10, 6), known(builder, random, 6))


def known_first(builder: Builder, random: np.random.Generator) -> str:
    (x,) = inputs(builder, (2, 4, 5))
    return builder.add(conv.MatMul(), known(builder, random, 3, 4), x)


def prelu(builder: Builder, random: np.random.Generator) -> str:
    (x,) = inputs(builder, (1, 3, 5, 4))
    return builder.add(activation.PRelu(), x, known(builder, random, 3, 1, 1))


def gather(builder: Builder, random: np.random.Generator) -> str:
    y = convolution()(builder, random)
    return builder.add(shape.Gather(axis=1), y, builder.constant(np.array([2, 0, -1], np.int64)))


def placed(op: Op, indices: np.ndarray, update: tuple[int, ...] = ()) -> Make:
    """Elements at known places behind a convolution, [1,6,9,7]; `update` is the shape of what is written there."""

    def make(builder: Builder, random: np.random.Generator) -> str:
        y = convolution()(builder, random)
        updates = [builder.add(activation.Relu(), known(builder, random, *update))] if update else []
        return builder.add(op, y, builder.constant(indices.astype(np.int64), "places"), *updates)

    return make


def squared(builder: Builder, random: np.random.Generator) -> str:
    (x,) = inputs(builder, (1, 3, 5, 4))
    return builder.add(elementwise.Mul(), x, x)


def normalized(op: Op, *shape: int, factors: int = 2) -> Make:
    def make(builder: Builder, random: np.random.Generator) -> str:
        y = convolution()(builder, random)
        return builder.add(op, y, *(known(builder, random, *shape) for _ in range(factors)))

    return make


def divided(builder: Builder, random: np.random.Generator) -> str:
    x, y = inputs(builder, (1, 3, 5, 4), (1, 3, 1, 1))
    return builder.add(elementwise.Div(), x, builder.add(activation.Clip(low=0.5, high=4.0), y))


def recurrence(op: recurrent.Recurrent, results: tuple[int, ...] = (0,)) -> Make:
    """A recurrent layer with states of its own as inputs; all wanted results are joined."""

    def make(builder: Builder, random: np.random.Generator) -> str:
        d, rows, kind = op.directions, op.gates * 6, op.name
        x, *states = inputs(builder, (5, 2, 4), *((d, 2, 6),) * (2 if kind == "lstm" else 1))
        weights = [known(builder, random, d, rows, size, scale=0.4) for size in (4, 6)]
        biases = [known(builder, random, d, rows, scale=0.4) for _ in range(2 if kind == "gru" else 1)]
        found = builder.add_all(op, x, *weights, *biases, *states)
        flat = [
            builder.add(shape.Reshape(shape=(builder.types[found[place]].size,)), found[place]) for place in results
        ]
        return builder.add(shape.Concat(axis=0), *flat) if len(flat) > 1 else flat[0]

    return make


CASES: dict[str, Make] = {
    "conv": convolution(),
    "conv strided, uneven padding": convolution(stride=(2, 3), padding=((0, 1), (2, 1))),
    "conv dilated": convolution(dilation=(2, 1)),
    "conv without bias": convolution(bias=False),
    "conv grouped": convolution(groups=2),
    "conv depthwise": convolution(groups=4),
    "conv 1-d": convolution(rank=1),
    "conv clamped": after_convolution(activation.Clip(low=-0.5, high=1.0)),
    "conv, relu": after_convolution(activation.Relu()),
    "conv, relu, exp": after_convolution(activation.Relu(), elementwise.Exp()),
    "conv transposed": transposed(),
    "conv transposed strided": transposed(stride=(2, 3), output_padding=(1, 0)),
    "conv transposed grouped": transposed(groups=2, stride=(2, 2)),
    "linear": linear,
    "matmul of activations": binary(conv.MatMul(), (2, 3, 4), (2, 4, 5)),
    "matmul, known first": known_first,
    "add": binary(elementwise.Add(), (1, 3, 5, 4), (1, 3, 5, 4)),
    "add broadcast": binary(elementwise.Add(), (1, 3, 5, 4), (3, 1, 1)),
    "sub": binary(elementwise.Sub(), (1, 3, 5, 4), (1, 1, 5, 1)),
    "mul": binary(elementwise.Mul(), (1, 3, 5, 4), (1, 3, 1, 1)),
    "square": squared,
    "add known tensor": with_known(elementwise.Add(), 1, 3, 5, 4),
    "add known channels": with_known(elementwise.Add(), 3, 1, 1),
    "known number less x": with_known(elementwise.Sub(), swapped=True),
    "known over x": with_known(elementwise.Div(), swapped=True),
    "maximum": binary(elementwise.Maximum(), (1, 3, 5, 4), (1, 3, 5, 4)),
    "minimum with a number": with_known(elementwise.Minimum(), 1),
    "prelu": prelu,
    "max pool": unary(pool.MaxPool(**window(window=(3, 2), stride=(2, 2)))),  # type: ignore[arg-type]  # a window
    "average pool": unary(pool.AveragePool(**window(window=(3, 3)))),  # type: ignore[arg-type]  # a window
    "average pool 1-d": unary(pool.AveragePool(**window(1, window=(3,), count_padding=True)), 1, 3, 8),  # type: ignore[arg-type]  # a window
    "mean of planes": after_convolution(reduce.ReduceMean(axes=(2, 3), keep=True)),
    "mean of planes, dropped": after_convolution(reduce.ReduceMean(axes=(2, 3))),
    "mean of channels": after_convolution(reduce.ReduceMean(axes=(1,))),
    "sum": unary(reduce.ReduceSum(axes=(1,)), 2, 5),
    "cumsum": unary(reduce.CumSum(axis=1, reverse=True), 2, 5, 3),
    "cumsum of channels": after_convolution(reduce.CumSum(axis=1, exclusive=True)),
    "greatest": after_convolution(reduce.ReduceMax(axes=(3,))),
    "least": after_convolution(reduce.ReduceMin(axes=(1,), keep=True)),
    "softmax": unary(reduce.Softmax(axis=1), 2, 9),
    "softmax of channels": after_convolution(reduce.Softmax(axis=1)),
    "softmax, reshape": after_convolution(reduce.Softmax(axis=1), shape.Reshape(shape=(6, 63))),
    "layer norm": normalized(norm.LayerNorm(), 7),
    "layer norm of planes": normalized(norm.LayerNorm(axis=2, epsilon=0.1), 9, 7, factors=1),
    "rms norm": normalized(norm.RmsNorm(axis=1), 6, 9, 7, factors=1),
    "div": divided,
    "hypot": binary(elementwise.Hypot(), (1, 3, 5, 4), (1, 1, 5, 4)),
    "lstm": recurrence(recurrent.Lstm(direction="bidirectional"), (0, 1, 2)),
    "lstm, last cell": recurrence(recurrent.Lstm(direction="reverse", clip=2.0), (2,)),
    "gru": recurrence(recurrent.Gru(direction="reverse", activations=("HardSigmoid", "ScaledTanh(0.9, 1.5)"))),
    "gru, reset behind": recurrence(recurrent.Gru(direction="bidirectional", linear_before_reset=True), (1,)),
    "rnn": recurrence(recurrent.Rnn()),
    "nearest": after_convolution(resize.Resize(shape=(1, 6, 18, 14), scales=(1.0, 1.0, 2.0, 2.0))),
    "linear resize": after_convolution(
        resize.Resize(shape=(1, 6, 13, 9), scales=(1.0, 1.0, 13 / 9, 9 / 7), mode="linear")
    ),
    "reshape": after_convolution(shape.Reshape(shape=(6, 63))),
    "transpose": after_convolution(shape.Transpose(order=(0, 3, 1, 2))),
    "slice": after_convolution(shape.Slice(starts=(0, 1, 8, 0), stops=(1, 5, 1, 7), steps=(1, 2, -3, 1))),
    "pad": after_convolution(shape.Pad(padding=((0, 0), (1, 0), (0, 2), (1, 1)), value=0.5)),
    "pad mirrored": after_convolution(shape.Pad(padding=((0, 0), (0, 0), (1, 2), (1, 1)), mode="reflect")),
    "tile": after_convolution(shape.Tile(repeats=(1, 2, 1, 3))),
    "expand": unary(shape.Expand(shape=(4, 3, 5, 2)), 3, 1, 2),
    "gather": gather,
    "gather_elements": placed(shape.GatherElements(axis=1), np.array([5, 0, -2]).reshape(1, 3, 1, 1)),
    "gather_nd": placed(scatter.GatherNd(batch=1), np.array([[[5, 0], [-1, 8]]])),
    "scatter_nd": placed(scatter.ScatterNd(), np.array([[0, 2], [0, -1]]), (2, 9, 7)),
    "scatter_elements": placed(scatter.ScatterElements(axis=2), np.array([8, 0]).reshape(1, 1, 2, 1), (1, 1, 2, 1)),
    "branches": two_branches,
}
CASES |= {
    op.name: unary(op)
    for op in (
        activation.LeakyRelu(alpha=0.1),
        activation.Sigmoid(),
        activation.Tanh(),
        activation.HardSigmoid(),
        activation.HardSwish(),
        activation.Elu(),
        activation.Gelu(),
        activation.Softplus(),
        elementwise.Exp(),
        elementwise.Log(),
        elementwise.Sqrt(),
        elementwise.Abs(),
        elementwise.Neg(),
        elementwise.Sin(),
        elementwise.Floor(),
    )
}


def float_graph(name: str) -> Graph:
    builder, random = Builder("net"), np.random.default_rng(1)
    y = CASES[name](builder, random)
    return canonicalize()(builder.build({"y": y}))


def samples(graph: Graph, count: int = 3) -> list[list[np.ndarray]]:
    random = np.random.default_rng(2)
    drawn = [
        [random.normal(0, 1.5, type_.shape).astype(np.float32) for type_ in graph.input_types] for _ in range(count)
    ]
    positive = any(node.op.name in ("log", "sqrt") for node in graph.nodes)
    return [[np.abs(array) for array in sample] for sample in drawn] if positive else drawn


def exact_ranges(graph: Graph, names: tuple[str, ...]) -> dict[str, tuple[float, float]]:
    """The extremes of values over the samples, finite."""
    found = extremes(graph)
    return {name: found[name] for name in names}


@lru_cache(maxsize=1)
def extremes(graph: Graph) -> dict[str, tuple[float, float]]:
    """Those of all float values, computed once for all targets."""
    names = [name for name, type_ in graph.types.items() if type_.dtype is DType.F32 and name not in graph.constants]
    run = evaluate(graph, names)
    found = [[np.asarray(value) for value in run(*sample)] for sample in samples(graph)]
    finite = [np.concatenate([np.nan_to_num(row[i]).ravel() for row in found]) for i in range(len(names))]
    return {name: (float(values.min()), float(values.max())) for name, values in zip(names, finite, strict=True)}


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize("name", CASES)
def test_integers_are_what_fake_quant_says(name: str, target: str) -> None:
    chosen = load_target(target)
    chosen = replace(chosen, integer_ops=(*chosen.integer_ops, *LISTED_BY_NONE))
    graph = float_graph(name)
    ranges = exact_ranges(graph, observed_values(graph, chosen))
    fake = insert_fake_quant(ranges=ranges, target=chosen)(graph)
    integer = lower_to_integer(target=chosen)(fake)
    assert parse(to_text(fake), blobs(fake)) == fake
    assert parse(to_text(integer), blobs(integer)) == verify(integer)
    assert not [node for node in integer.nodes if node.host]
    run, reference = simulator(integer), evaluate(fake)
    quant = integer.output_types[0].quant
    assert quant is not None
    unequal = total = 0
    for sample in samples(graph):
        (given,), (wanted,) = run(*sample), reference(*sample)
        steps = np.abs(given.astype(np.float64) - np.asarray(wanted, np.float64)) / quant.scale
        # A softmax has a table of exponentials of its own, and an interpolation weights of 11 bits: one step more.
        # A recurrent layer quantizes its weights and the state of every step in the integers only.
        recurs = name.startswith(("lstm", "gru", "rnn"))
        most = 4.01 if recurs else 2.01 if name.startswith(("softmax", "linear resize")) else 1.01
        assert steps.max() <= most, steps.max()
        unequal, total = unequal + int((steps > 0.01).sum()), total + steps.size
    assert recurs or unequal <= max(1, 0.06 * total), f"{unequal} of {total} integers differ"


def test_every_lowering_has_a_case() -> None:
    """A new lowering fails here until a case shows it; pointwise ones share theirs."""
    shown = {type(node.op) for name in CASES for node in float_graph(name).nodes}
    pointwise = {op for op, lowering in LOWERINGS.items() if lowering.kind is Kind.POINTWISE}
    assert {op.name for op in LOWERINGS if op not in shown | pointwise} == {"argmax", "argmin"}


@pytest.mark.parametrize("name", CASES)
def test_an_op_that_requantizes_its_sums_has_a_gain(name: str) -> None:
    """Without it no repair keeps its shift within the target's field."""
    graph = float_graph(name)
    for node in graph.nodes:
        lowering = LOWERINGS.get(type(node.op))
        if lowering is not None and lowering.kind_of(graph, node) is Kind.COMPUTE:
            integer = registry()[lowering.integer_op(graph, node)]
            requantizes = issubclass(integer, Requantized) and not integer.pre_shifts
            assert (lowering.gain is not None) == requantizes, node


def test_clamps_and_tables_cost_no_op() -> None:
    """A relu behind a convolution is its clamp; pointwise ops in a row are one table."""
    graph = float_graph("conv, relu, exp")
    chosen = load_target("npu")
    fake = insert_fake_quant(ranges=exact_ranges(graph, observed_values(graph, chosen)), target=chosen)(graph)
    ops = [node.op.name for node in lower(fake, chosen).graph.nodes]
    assert ops == ["transpose", "npu.conv2d", "npu.lut", "transpose"]


def test_what_the_target_lacks_runs_on_the_host_and_says_why() -> None:
    builder = Builder("net")
    (x,) = inputs(builder, (1, 4, 9, 7))
    y = convolution_of(builder, x)
    z = builder.add(reduce.LogSoftmax(axis=1), y, name="z", loc="net.onnx:z")
    builder.add(conv.Conv(**window()), z, builder.constant(np.ones((2, 6, 3, 3), np.float32)), name="last")  # type: ignore[arg-type]  # a window
    graph = builder.build({"last": "last"})
    chosen = load_target("npu")
    fake = insert_fake_quant(ranges=exact_ranges(graph, observed_values(graph, chosen)), target=chosen)(graph)
    integer = lower_to_integer(target=chosen)(fake)
    hosts = [(node.op.name, node.host) for node in integer.nodes if node.host]
    assert hosts == [
        ("dequantize", "at the edge of a host segment"),
        ("log_softmax", "there is no integer form of log_softmax"),
        ("quantize", "at the edge of a host segment"),
    ]
    (sample,) = samples(graph, 1)
    (given,), (wanted,) = simulator(integer)(*sample), evaluate(fake)(*sample)
    quant = integer.output_types[0].quant
    assert quant is not None
    assert np.abs(given - np.asarray(wanted)).max() <= 1.01 * quant.scale


def convolution_of(builder: Builder, x: str) -> str:
    random = np.random.default_rng(3)
    return builder.add(conv.Conv(**window()), x, known(builder, random, 6, 4, 3, 3), name="c")  # type: ignore[arg-type]  # a window


def test_argmax_reads_integers() -> None:
    builder = Builder("net")
    (x,) = inputs(builder, (1, 4, 9, 7))
    graph = builder.build({"best": builder.add(reduce.ArgMax(axis=1), convolution_of(builder, x))})
    chosen = load_target("npu")
    fake = insert_fake_quant(ranges=exact_ranges(graph, observed_values(graph, chosen)), target=chosen)(graph)
    integer = lower_to_integer(target=chosen)(fake)
    (sample,) = samples(graph, 1)
    assert not [node for node in integer.nodes if node.host]
    (given,), (wanted,) = simulator(integer)(*sample), evaluate(fake)(*sample)
    assert given.dtype == np.int64
    assert (given == np.asarray(wanted)).mean() > 0.95


def test_a_scale_beyond_the_shifts_is_raised_and_noted() -> None:
    """A result range far below what the sums can reach would want a left shift."""
    builder = Builder("net")
    (x,) = inputs(builder, (1, 4, 9, 7))
    graph = builder.build({"y": convolution_of(builder, x)})
    chosen = load_target("npu")
    scales = choose_scales(graph, {"x0": (-1.0, 1.0), "c": (-3e-4, 3e-4)}, chosen)
    assert [place for place, note in scales.notes if "raised" in note] == ["%c"]
    assert not [node for node in lower(scales.insert(), chosen).graph.nodes if node.host]


def test_a_scale_that_leaves_nothing_is_an_error() -> None:
    builder = Builder("net")
    (x,) = inputs(builder, (1, 4, 9, 7))
    graph = builder.build({"y": convolution_of(builder, x)})
    rule = (
        r"%c: conv: %c reaches 1\.01e-09, less than half of the step .* shift, 31, allows: all its integers would be 0"
    )
    with pytest.raises(PassError, match=rule):
        choose_scales(graph, {"x0": (-1.0, 1.0), "c": (-1e-9, 1e-9)}, load_target("npu"))
    choose_scales(graph, {"x0": (-1.0, 1.0), "c": (0.0, 0.0)}, load_target("npu"))


def test_a_great_bias_raises_its_weight_scale() -> None:
    """A bias of a million steps of the sum would not fit 32 bits: the weights of its channel get a greater scale."""
    builder = Builder("net")
    (x,) = inputs(builder, (1, 2))
    w = builder.constant(np.array([[1e-9, 1.0], [1e-9, 1.0]], np.float32))
    b = builder.constant(np.array([100.0, 1.0], np.float32))
    graph = builder.build({"y": builder.add(conv.MatMul(), x, w, b, name="y")})
    chosen = load_target("npu")
    fake = insert_fake_quant(ranges={"x0": (-1.0, 1.0), "y": (-101.0, 101.0)}, target=chosen)(graph)
    integer = lower_to_integer(target=chosen)(fake)
    (y,) = simulator(integer)(np.array([[0.5, 0.5]], np.float32))
    assert np.abs(y - [[100.0, 2.0]]).max() <= 101 / 127


def test_missing_ranges_are_named() -> None:
    graph = float_graph("conv")
    with pytest.raises(NpuqError, match=r"net: no range for %x0, %conv; calibrate first"):
        insert_fake_quant(ranges={}, target=load_target("npu"))(graph)


def test_shared_scales_of_moved_values() -> None:
    """Concat and its operands share one scale, so that moving is free."""
    graph = float_graph("branches")
    chosen = load_target("npu")
    pipeline = chain(insert_fake_quant(ranges=exact_ranges(graph, observed_values(graph, chosen)), target=chosen))
    integer = lower_to_integer(target=chosen)(pipeline(graph))
    assert [node.op.name for node in integer.nodes if node.op.name == "npu.requantize"] == []
