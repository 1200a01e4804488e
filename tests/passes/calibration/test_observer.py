"""Calibration by pushing samples: the same statistics as by pulling them, whatever the order."""

from __future__ import annotations

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, NpuqError, TensorType, evaluate
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import Conv, MatMul
from npuq.ir.ops.elementwise import Log
from npuq.ir.ops.shape import Reshape
from npuq.passes.calibration.observe import Observer, observe

RANDOM = np.random.default_rng(0)
DATA = RANDOM.normal(size=(64, 2, 4, 4)).astype(np.float32)
MEANS = (("c", 1),)


def net() -> Graph:
    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, (1, 2, 4, 4)))
    weights = np.random.default_rng(1)
    w, v = (builder.constant(weights.normal(size=size).astype(np.float32), "w") for size in ((3, 2, 3, 3), (12, 2)))
    conv = Conv(stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1))
    r = builder.add(Relu(), builder.add(conv, x, w, name="c"), name="r")
    y = builder.add(MatMul(), builder.add(Reshape(shape=(1, 12)), r, name="f"), v, name="y")
    return builder.build({"y": y, "map": r})


def pushed(data: np.ndarray, parts: int = 4) -> Observer:
    observer = Observer(net(), means=MEANS, parts=parts)
    for sample in data:
        observer.add(sample[None])
    return observer


def test_pushing_gives_what_pulling_gives() -> None:
    observer = pushed(DATA[:16])
    found, pulled = observer.result(), observe(net(), DATA[:16], observer.parts[0], means=MEANS)
    assert dict(found) == dict(pulled)
    assert list(found) == ["x", "c", "r", "f", "y"]
    assert (found.graph_digest, found.data_digest, found.samples) == (pulled.graph_digest, pulled.data_digest, 16)
    np.testing.assert_array_equal(found.means["c", 1], pulled.means["c", 1])


def test_adding_gives_the_float_outputs_of_one_sample_or_many() -> None:
    observer, run = Observer(net()), evaluate(net())
    for got, wanted in zip(observer.add(DATA[:1]), run(DATA[:1]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-6)
    logits, maps = observer.add(DATA[1:6])
    assert (logits.shape, maps.shape, observer.count) == ((5, 2), (5, 3, 2, 2), 6)
    np.testing.assert_allclose(logits[3:4], run(DATA[4:5])[0], rtol=1e-5, atol=1e-6)


def test_merging_is_seeing_both() -> None:
    both = pushed(DATA[:5]).merge(pushed(DATA[5:12]))
    assert dict(both.result()) == dict(pushed(DATA[:12]).result())
    assert both.result().data_digest == pushed(DATA[:12][::-1]).result().data_digest
    with pytest.raises(NpuqError, match="net: observers of other graphs, values, parts or methods cannot merge"):
        both.merge(Observer(net(), ["x"]))


@pytest.mark.parametrize("count", [3, 8, 64])
def test_convergence_depends_on_the_set_of_samples_alone(count: int) -> None:
    repeated = np.concatenate([DATA[:8]] * 8)[:count] if count == 64 else DATA[:count]
    orders = [repeated, repeated[::-1], RANDOM.permutation(repeated)]
    assert len({pushed(order).converged for order in orders}) == 1


def test_ranges_that_rest_on_a_part_have_not_converged() -> None:
    alike = (DATA[:1] * (1 + 1e-6 * np.arange(32).reshape(-1, 1, 1, 1))).astype(np.float32)
    assert pushed(alike).converged
    outlier = np.concatenate([alike, 100 * alike[:1]])
    assert not pushed(outlier).converged
    assert not pushed(alike[:3]).converged
    assert not pushed(alike, parts=1).converged


def test_what_cannot_be_counted_is_refused() -> None:
    observer = Observer(net())
    with pytest.raises(NpuqError, match="net: no calibration data; at least one sample wanted"):
        observer.result()
    with pytest.raises(NpuqError, match="1 of 32 numbers are NaN or infinite"):
        observer.add(np.where(np.arange(32).reshape(1, 2, 4, 4) == 3, np.nan, DATA[:1]).astype(np.float32))
    with pytest.raises(NpuqError, match=r"input 'x' is float32\[1, 2, 3\]"):
        observer.add(np.zeros((1, 2, 3), np.float32))
    with np.errstate(over="ignore"), pytest.raises(NpuqError, match=r"%c, sample 0: .* NaN or infinite"):
        observer.add(np.float32(3e38) * np.sign(DATA[:1]))
    assert observer.count == 0
    for sample in DATA[:3]:
        observer.add(sample[None])
    assert (dict(observer.result()), observer.result().data_digest) == (
        dict(pushed(DATA[:3]).result()),
        pushed(DATA[:3]).result().data_digest,
    )
    for parts in (0, -1, 2.5, None, 1000):
        with pytest.raises(NpuqError, match=f"{parts} parts; a whole number from 1 to 256 wanted"):
            Observer(net(), parts=parts)  # type: ignore[arg-type]
    with pytest.raises(NpuqError, match="methods cannot merge"):
        observer.merge(Observer(net(), method="min_max"))
    with pytest.raises(NpuqError, match="an observer merges with observers, not with int"):
        observer.merge(3)  # type: ignore[arg-type]
    with pytest.raises(NpuqError, match="there is no value %z to observe"):
        Observer(net(), ["z"])


@pytest.mark.parametrize("options", [{}, {"bits": 16}, {"target": "npu-asym", "method": "mse"}])
def test_an_observer_calibrates_in_the_place_of_its_data(options: dict[str, str]) -> None:
    observer = npuq.Observer(net(), **options)  # type: ignore[arg-type]
    for sample in DATA[:12]:
        observer.add(sample[None])
    wanted = npuq.quantize(net(), DATA[:12], **options)  # type: ignore[arg-type]
    assert npuq.quantize(net(), observer, **options).program.bytes == wanted.program.bytes  # type: ignore[arg-type]
    with pytest.raises(NpuqError, match="effort high reads each sample twice; give data, or another effort"):
        npuq.Observer(net(), effort="high")
    with pytest.raises(NpuqError, match="the observer: statistics of another graph; calibrate again"):
        npuq.quantize(net(), observer, mean=1.0)


def test_an_output_that_nobody_counts_may_be_infinite() -> None:
    builder = Builder("host")
    x = builder.input("x", TensorType(DType.F32, (1, 2)))
    graph = builder.build({"y": builder.add(Log(), x, name="y")})
    data = np.array([[0.0, 1.0]], np.float32)
    observer = Observer(graph, ["x"])
    assert observer.add(data)[0].tolist() == [[-np.inf, 0.0]]
    assert dict(observe(graph, data, ["x"])) == dict(observer.result())
    with pytest.raises(NpuqError, match="%y, sample 0: 1 of 2 numbers are NaN or infinite"):
        observe(graph, data, ["y"])
