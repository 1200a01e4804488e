"""Bias correction: exact where inputs are constant per channel, unbiased on data, the same in any order."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, Op, PassError, TensorType, evaluate
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import Conv, ConvTranspose, MatMul
from npuq.passes.calibration.channel_sums import ChannelSums
from npuq.passes.calibration.observe import observe
from npuq.passes.calibration.statistics import Observed, load_observed
from npuq.passes.lowering.plan import observed_values, weighted_inputs
from npuq.passes.ptq.correct_bias import correct_bias, expected
from npuq.passes.quantize.insert_fake_quant import insert_fake_quant
from npuq.passes.target import load_target

PADS = ((1, 0), (2, 1))
OPS: dict[str, tuple[Op, tuple[int, ...], tuple[int, ...]]] = {
    "plain": (Conv(stride=(1, 1), padding=PADS, dilation=(1, 1)), (2, 3, 6, 7), (4, 3, 3, 2)),
    "strided": (Conv(stride=(2, 3), padding=PADS, dilation=(2, 1)), (1, 3, 9, 8), (4, 3, 3, 2)),
    "grouped": (Conv(stride=(1, 2), padding=PADS, dilation=(1, 2), groups=2), (1, 4, 6, 7), (6, 2, 2, 3)),
    "depthwise": (Conv(stride=(1, 1), padding=PADS, dilation=(1, 1), groups=3), (1, 3, 6, 7), (3, 1, 3, 3)),
    "1-D": (Conv(stride=(2,), padding=((1, 2),), dilation=(1,)), (1, 3, 9), (4, 3, 3)),
    "transposed": (
        ConvTranspose(stride=(2, 3), padding=PADS, dilation=(1, 2), groups=2, output_padding=(1, 0)),
        (1, 4, 5, 6),
        (4, 3, 3, 2),
    ),
    "product": (MatMul(), (2, 5, 3), (3, 4)),
}


@pytest.mark.parametrize("name", OPS)
def test_the_expected_result_is_that_of_a_constant_input(name: str) -> None:
    op, x_shape, w_shape = OPS[name]
    axis = len(x_shape) - 1 if isinstance(op, MatMul) else 1
    rng = np.random.default_rng(0)
    means, weights = rng.normal(size=x_shape[axis]), rng.normal(size=w_shape).astype(np.float32)
    along = [-1 if index == axis else 1 for index in range(len(x_shape))]
    x = np.broadcast_to(means.reshape(along), x_shape).astype(np.float32)
    y = np.asarray(op.evaluate(x, weights))
    wanted = y.mean(axis=tuple(index for index in range(y.ndim) if index != axis))
    types = (TensorType(DType.F32, x_shape), TensorType(DType.F32, y.shape))
    np.testing.assert_allclose(expected(op, *types, means, weights), wanted, rtol=1e-5, atol=1e-5)


def network(rng: np.random.Generator) -> Graph:
    """A convolution with a bias, a depthwise one without, a matmul."""

    def weights(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, (1, 3, 8, 8)))
    dense = Conv(stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1))
    depthwise = Conv(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=4)
    c = builder.add(dense, x, builder.constant(weights(4, 3, 3, 3), "w"), builder.constant(weights(4), "b"), name="c")
    r = builder.add(Relu(), c, name="r")
    d = builder.add(depthwise, r, builder.constant(weights(4, 1, 3, 3), "v"), name="d")
    m = builder.add(MatMul(), d, builder.constant(weights(6, 5), "u"), name="m")
    return builder.build({"y": m})


DATA = np.abs(np.random.default_rng(5).normal(size=(12, 3, 8, 8))).astype(np.float32)
TARGET = load_target("npu")


def calibrated(graph: Graph, data: np.ndarray) -> Observed:
    return observe(graph, data, observed_values(graph, TARGET), means=weighted_inputs(graph, TARGET))


def test_the_means_are_those_of_the_data() -> None:
    graph = network(np.random.default_rng(1))
    found = calibrated(graph, DATA).means
    assert list(found) == [("x", 1), ("r", 1), ("d", 3)]
    run = evaluate(graph, ["x", "r", "d"])
    values = [np.stack(parts) for parts in zip(*(run(sample[None]) for sample in DATA), strict=True)]
    for (key, means), value in zip(found.items(), values, strict=True):
        others = tuple(index for index in range(value.ndim) if index != key[1] + 1)
        np.testing.assert_allclose(means, value.mean(axis=others, dtype=np.float64), rtol=1e-5, err_msg=str(key))


def test_correction_takes_the_mean_error_away() -> None:
    graph = network(np.random.default_rng(1))
    statistics = calibrated(graph, DATA)
    ranges = {name: one.range for name, one in statistics.items()}
    corrected = correct_bias(ranges=ranges, means=statistics.means, target=TARGET)(graph)
    insert = insert_fake_quant(ranges=ranges, target=TARGET)
    assert [len(node.operands) for node in corrected.nodes] == [3, 1, 3, 3]

    def mean_error(fake: Graph, result: str) -> float:
        """Of the rounded weights alone, fed with the float input."""
        node = fake.producers[result]
        weights, bias = (np.asarray(evaluate(fake, [name])(DATA[:1])[0]) for name in node.operands[1:3])
        x = next(one for one in graph.nodes if one.result == result).operands[0]
        run = evaluate(graph, [x, result])
        errors = [np.asarray(node.op.evaluate(x, weights, bias)) - y for x, y in (run(sample[None]) for sample in DATA)]
        axis = 4 if result == "m" else 2
        stacked = np.stack(errors)
        return float(np.abs(stacked.mean(axis=tuple(i for i in range(stacked.ndim) if i != axis))).max())

    zero = {name: np.zeros_like(means) for name, means in statistics.means.items()}
    untouched = insert(correct_bias(ranges=ranges, means=zero, target=TARGET)(graph))
    for result in ("c", "d", "m"):
        assert mean_error(insert(corrected), result) < 0.3 * mean_error(untouched, result), result


def test_order_and_devices_do_not_matter() -> None:
    graph = network(np.random.default_rng(2))
    scaled = DATA * np.ldexp(1.0, np.arange(-30, 30, 5))[:, None, None, None].astype(np.float32)
    first = calibrated(graph, scaled).means
    for seed in range(3):
        shuffled = calibrated(graph, scaled[np.random.default_rng(seed).permutation(len(scaled))]).means
        assert all(np.array_equal(first[key], shuffled[key]) for key in first)


def test_sums_merge_in_any_order() -> None:
    rows = [np.random.default_rng(i).normal(size=(1, 3)) * 10.0 ** (7 * i - 20) for i in range(5)]
    found = set()
    for order in itertools.permutations(rows):
        left, right = ChannelSums(1), ChannelSums(1)
        for row in order[:2]:
            left.add(row)
        for row in order[2:]:
            right.add(row)
        found.add(left.merge(right).means().tobytes())
    assert len(found) == 1


def test_means_are_saved_and_loaded(tmp_path: object) -> None:
    graph = network(np.random.default_rng(3))
    statistics = calibrated(graph, DATA)
    statistics.save(f"{tmp_path}/s.npz")
    loaded = load_observed(f"{tmp_path}/s.npz", statistics.graph_digest)
    assert list(loaded.means) == list(statistics.means)
    assert all(np.array_equal(loaded.means[key], statistics.means[key]) for key in loaded.means)


def test_a_missing_mean_is_an_error() -> None:
    graph = network(np.random.default_rng(3))
    ranges = {name: one.range for name, one in calibrated(graph, DATA).items()}
    with pytest.raises(PassError, match="no mean of %x along axis 1; calibrate first"):
        correct_bias(ranges=ranges, means={}, target=TARGET)(graph)


def test_quantize_corrects() -> None:
    graph = network(np.random.default_rng(4))
    steps: list[str] = []
    npuq.quantize(graph, DATA, method="min_max", after_pass=lambda index, step, after: steps.append(step.name))
    assert steps[-3:] == ["correct-bias", "insert-fake-quant", "lower-to-integer"]
