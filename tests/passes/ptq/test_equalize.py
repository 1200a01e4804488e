"""Equalization: the same function in float, like ranges per channel, less noise in the integers."""

from __future__ import annotations

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, Op, TensorType, evaluate
from npuq.ir.ops.activation import Clip, HardSigmoid, HardSwish, LeakyRelu, Relu, Silu
from npuq.ir.ops.conv import Conv, ConvTranspose, MatMul
from npuq.ir.ops.elementwise import Add, Mul
from npuq.ir.ops.norm import LayerNorm
from npuq.ir.ops.pool import MaxPool
from npuq.ir.ops.reduce import ReduceMean
from npuq.ir.ops.shape import Concat, Pad, Reshape, Slice
from npuq.passes.calibration.channel_sums import ChannelSums
from npuq.passes.calibration.observe import observe_channels
from npuq.passes.lowering.plan import Channels
from npuq.passes.precision import Precision
from npuq.passes.ptq.channel_ties import channel_ties
from npuq.passes.ptq.equalization_factors import Seen
from npuq.passes.ptq.equalize import by_source, equalizable, equalize, inherited
from npuq.passes.target import load_target
from npuq.quantization.calibrated import calibrate

TARGET = load_target("npu")
DATA = np.random.default_rng(0).normal(size=(8, 3, 12, 12)).astype(np.float32)
CHANNELS = 6


class Net:
    """A network under construction whose weights spread their channels over three orders of magnitude."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.builder = Builder("net")
        self.x = self.builder.input("x", TensorType(DType.F32, (1, 3, 12, 12)))

    def spread(self, *shape: int) -> str:
        weights = self.rng.normal(size=shape) * np.exp(self.rng.uniform(-3, 3, (shape[0],) + (1,) * (len(shape) - 1)))
        return self.builder.constant(weights.astype(np.float32), "w")

    def conv(self, x: str, groups: int = 1, pad: int = 1, kernel: int = 3, name: str = "") -> str:
        channels = self.builder.types[x].shape[1]
        op = Conv(stride=(1, 1), padding=((pad, pad),) * 2, dilation=(1, 1), groups=groups)
        bias = self.builder.constant(self.rng.normal(size=CHANNELS).astype(np.float32), "b")
        return self.builder.add(op, x, self.spread(CHANNELS, channels // groups, kernel, kernel), bias, name=name)

    def then(self, op: Op, *operands: str, name: str = "") -> str:
        return self.builder.add(op, *operands, name=name)

    def done(self, y: str) -> Graph:
        return self.builder.build({"y": y})


def residual(net: Net) -> str:
    first = net.conv(net.x)
    branch = net.conv(net.then(Relu(), net.conv(first, pad=0, kernel=1)), groups=CHANNELS)
    joined = net.then(Add(), first, net.then(LeakyRelu(alpha=0.1), branch))
    pooled = net.then(MaxPool(window=(2, 2), stride=(2, 2), padding=((0, 0),) * 2, dilation=(1, 1)), joined)
    return net.conv(pooled)


def tables(net: Net) -> str:
    first = net.then(HardSwish(), net.conv(net.x))
    offset = net.builder.constant(np.array([0.25], np.float32), "offset")
    second = net.then(Add(), net.then(Silu(), net.conv(first, groups=CHANNELS)), offset)
    return net.conv(second, pad=0, kernel=1)


def gated(net: Net) -> str:
    x = net.then(Relu(), net.conv(net.x))
    squeezed = net.then(Relu(), net.conv(net.then(ReduceMean(axes=(2, 3), keep=True), x), pad=0, kernel=1))
    gate = net.then(HardSigmoid(), net.conv(squeezed, pad=0, kernel=1))
    return net.conv(net.then(Mul(), x, gate))


def moved(net: Net) -> str:
    parts = net.then(Relu(), net.conv(net.x)), net.then(HardSwish(), net.conv(net.x))
    both = net.then(Concat(axis=1), *parts)
    part = net.then(Slice(starts=(0, 4, 0, 0), stops=(1, 10, 12, 12), steps=(1, 1, 1, 1)), both)
    up = ConvTranspose(stride=(2, 2), padding=((0, 0),) * 2, dilation=(1, 1), groups=2, output_padding=(0, 0))
    padded = net.then(Pad(padding=((0, 0), (0, 0), (1, 0), (0, 1)), mode="constant", value=0.0), part)
    widened = net.then(Relu(), net.then(up, padded, net.spread(CHANNELS, 3, 2, 2)))
    mean = net.then(ReduceMean(axes=(2, 3), keep=True), widened)
    return net.then(MatMul(), net.then(Reshape(shape=(1, CHANNELS)), mean), net.spread(CHANNELS, 4))


def normalized(net: Net) -> str:
    """A block of a transformer whose normalization has outliers in a few channels."""
    tokens = net.then(Reshape(shape=(1, 36, 12)), net.x)
    known = [net.builder.constant(np.exp(net.rng.uniform(-2, 2, 12)).astype(np.float32), "g") for _ in range(2)]
    normal = net.then(LayerNorm(axis=2, epsilon=1e-5), tokens, *known)
    weights = [net.builder.constant(net.rng.normal(size=(12, 8)).astype(np.float32), "u") for _ in range(2)]
    return net.then(Add(), *(net.then(MatMul(), normal, one) for one in weights))


NETS = {"normalized": normalized, "residual": residual, "tables": tables, "gated": gated, "moved": moved}


def network(name: str, seed: int = 0) -> Graph:
    net = Net(seed)
    return net.done(NETS[name](net))


def counted(graph: Graph, data: np.ndarray = DATA) -> dict[Channels, ChannelSums]:
    return observe_channels(graph, data, equalizable(graph, TARGET))


def equalized(graph: Graph) -> Graph:
    return equalize(channels=counted(graph), target=TARGET)(graph)


@pytest.mark.parametrize("name", NETS)
def test_the_function_stays_the_same(name: str) -> None:
    for seed in range(2):
        before = network(name, seed)
        after = equalized(before)
        assert any(".equalized" in node.result for node in after.nodes)
        # A saturating function's operand is cut where the calibration ended, so other data may differ there.
        cut = any(node.result.endswith(".cut") for node in after.nodes)
        for x in (DATA[:1], DATA[1:2] if cut else -3 * DATA[1:2]):
            (wanted,), (got,) = evaluate(before)(x), evaluate(after)(x)
            np.testing.assert_allclose(got, wanted, atol=2e-5 * np.abs(wanted).max())


def test_channels_come_to_like_ranges() -> None:
    before = network("tables")
    spreads = [
        [np.ptp(np.log(np.maximum(-sums.lows, sums.highs))) for sums in counted(graph).values()]
        for graph in (before, equalized(before))
    ]
    # A factor is at least 1/16: exp(-2.8).
    assert max(spreads[1]) < max(spreads[0]) - 2


@pytest.mark.parametrize(("name", "left"), [("normalized", 0.85), ("tables", 0.6), ("moved", 0.3)])
def test_integers_come_nearer_to_float_on_other_data(name: str, left: float) -> None:
    graph = network(name)
    random = np.random.default_rng(9)
    seen, unseen = (random.normal(size=(48, 3, 12, 12)).astype(np.float32) for _ in range(2))
    run = evaluate(graph)
    wanted = np.concatenate([np.asarray(run(sample[None])[0]) for sample in unseen])
    noise = [
        np.square(npuq.quantize(graph, seen, effort=effort, method="mse").simulate(unseen)[0] - wanted).sum()
        for effort in (0, 2)
    ]
    assert noise[1] < left * noise[0]


@pytest.mark.parametrize("count", [4, 64])
def test_what_further_data_clip_is_foreseen(count: int) -> None:
    random = np.random.default_rng(count)
    # Channels whose greatest elements have exponential excesses, 0.3 on average, above 1; many of them, for the mean.
    seen, further = (1.0 + random.exponential(0.3, (4000, size)) for size in (count, 200))
    peaks = seen.max(axis=1)
    for room in (1.0, 1.3):
        beyond = np.maximum(further - room * peaks[:, None], 0.0)
        foreseen = Seen(peaks, seen.mean(axis=1), np.ones(4000), count, 16).clipped(room * peaks).mean()
        assert foreseen == pytest.approx(np.square(beyond).mean() / 16, rel=0.5)


def test_channels_that_differ_by_chance_alone_are_left_alone() -> None:
    """Channels of one distribution have different peaks in few samples; factors would only bring clipping."""
    random = np.random.default_rng(3)
    net = Net(0)
    op = Conv(stride=(1, 1), padding=((0, 0),) * 2, dilation=(1, 1))
    weights = (
        net.builder.constant(random.choice([-1.0, 1.0], (6, size, 1, 1)).astype(np.float32), "w") for size in (3, 6)
    )
    inner = net.then(Relu(), net.then(op, net.x, next(weights)))
    graph = net.done(net.then(op, inner, next(weights)))
    few = random.exponential(size=(4, 3, 12, 12)).astype(np.float32)
    assert not any(
        ".equalized" in node.result for node in equalize(channels=counted(graph, few), target=TARGET)(graph).nodes
    )


def test_clips_gates_inputs_and_outputs_keep_their_scale() -> None:
    net = Net(0)
    clipped = net.then(Clip(low=0.0, high=6.0), net.conv(net.x), name="clipped")
    y = net.conv(clipped, name="y")
    ties = channel_ties(net.done(y), TARGET)
    assert "x" not in ties.ids
    assert not ties.free()[ties.roots("y")].any()
    assert "clipped" not in ties.ids
    ties = channel_ties(network("gated"), TARGET)
    assert not ties.free()[ties.roots("hard_sigmoid")].any()


def test_a_clip_is_left_alone() -> None:
    net = Net(0)
    graph = net.done(net.conv(net.then(Clip(low=0.0, high=6.0), net.conv(net.x))))
    assert equalized(graph) == graph


def test_order_does_not_matter() -> None:
    graph = network("tables")
    after = [
        equalize(channels=counted(graph, DATA[order]), target=TARGET)(graph)
        for order in (slice(None), slice(None, None, -1), np.random.default_rng(1).permutation(len(DATA)))
    ]
    assert after[0] == after[1] == after[2]


def test_data_that_can_be_read_once_are_enough() -> None:
    graph = network("tables")
    once = npuq.quantize(graph, (sample[None] for sample in DATA), effort=2)
    assert once.graph == npuq.quantize(graph, DATA, effort=2).graph


def test_what_stands_around_a_node_has_its_precision() -> None:
    before = network("tables")
    after = equalized(before)
    wide = Precision(bits=16)
    found = inherited({"hard_swish": wide}, before, after)
    assert set(found) == {"hard_swish", "hard_swish.equalized", "conv.restored"}
    assert set(found.values()) == {wide}
    assert by_source(found, before) == {"hard_swish": wide}
    assert {"conv.equalized", "conv.equalized.cut"} <= set(inherited({"conv": wide}, before, after))


def test_ops_of_an_equalized_net_can_be_raised_to_16_bits() -> None:
    graph = network("tables")
    calibrated = calibrate(graph, DATA, target=TARGET, effort=2)
    wide = calibrated.quantize({node.result: Precision(bits=16) for node in graph.nodes})
    assert not [node.host for node in wide.graph.nodes if node.host]
    assert {str(node.type.dtype) for node in wide.graph.nodes} == {"i16"}
    (wanted,), (got,) = evaluate(graph)(DATA[:1]), wide.simulate(DATA[:1])
    assert np.square(got - wanted).sum() < 1e-6 * np.square(wanted).sum()
