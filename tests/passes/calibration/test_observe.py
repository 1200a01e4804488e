"""Calibration is exact: statistics equal direct counts, and nothing depends on order, batches or devices."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from npuq.ir import Builder, DType, Graph, NpuqError, TensorType, evaluate, text_digest
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import Conv
from npuq.passes.calibration.observe import PIECE, observe
from npuq.passes.calibration.samples import digest_of, samples
from npuq.passes.calibration.statistics import Observed, Statistics, load_observed

SHAPE = (1, 3, 9, 11)
VALUES = ("x", "c", "r", "d")


def network(rng: np.random.Generator, whole: bool = False) -> Graph:
    """A dense and a depthwise convolution with a Relu between; `whole` weights make every sum exact."""

    def weights(*shape: int) -> np.ndarray:
        drawn = rng.integers(-9, 10, shape) if whole else rng.normal(size=shape)
        return drawn.astype(np.float32)

    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, SHAPE))
    dense = Conv(stride=(2, 1), padding=((1, 0), (1, 2)), dilation=(1, 2))
    depthwise = Conv(stride=(1, 2), padding=((1, 1), (0, 1)), dilation=(2, 1), groups=4)
    c = builder.add(dense, x, builder.constant(weights(4, 3, 3, 3), "w"), builder.constant(weights(4), "b"), name="c")
    r = builder.add(Relu(), c, name="r")
    d = builder.add(depthwise, r, builder.constant(weights(8, 1, 2, 3), "w"), name="d")
    return builder.build({"y": d})


def direct(values: np.ndarray, bins: int) -> Statistics:
    """The same statistics by NumPy in float64 over all elements at once."""
    x = values.astype(np.float64).ravel()
    x[np.abs(x) < 2.0**-126] = 0.0
    exponent = -126
    while np.abs(x).max() >= 2 * bins * 2.0**exponent:
        exponent += 1
    index = np.trunc(np.abs(x) / 2.0**exponent)
    index = np.where(x < 0, -1 - index, index)
    counts, _ = np.histogram(index, bins=np.arange(-2 * bins, 2 * bins + 1) - 0.5)
    return Statistics(float(x.min()), float(x.max()), int((x == 0).sum()), exponent, counts)


def identity_graph(size: int) -> Graph:
    builder = Builder("g")
    x = builder.input("x", TensorType(DType.F32, (1, size)))
    return builder.build({"y": x})


TINY = np.float32(2.0**-126)
EXTREMES: dict[str, Callable[[np.random.Generator], np.ndarray]] = {
    "normal": lambda rng: rng.normal(size=(5, 300)),
    "growing": lambda rng: rng.normal(size=(5, 300)) * 10.0 ** np.arange(-4, 6, 2)[:, None],
    "shrinking": lambda rng: rng.normal(size=(5, 300)) * 10.0 ** np.arange(6, -4, -2)[:, None],
    "one-sided": lambda rng: np.maximum(rng.normal(size=(5, 300)), 0),
    "negative": lambda rng: -np.abs(rng.normal(size=(5, 300))),
    "zeros": lambda rng: np.where(rng.random((5, 300)) < 0.5, 0.0, -0.0),
    "constant": lambda rng: np.full((5, 300), 3.7),
    "subnormal": lambda rng: rng.normal(size=(5, 300)) * 1e-39,
    "tiny": lambda rng: rng.normal(size=(5, 300)) * float(TINY) * 5,
    "outlier": lambda rng: np.concatenate([rng.normal(size=(4, 300)), np.full((1, 300), -3e38)]),
    "two values": lambda rng: np.where(rng.random((5, 300)) < 0.5, -1.0, 4.0),
    "powers of two": lambda rng: np.ldexp(rng.choice([-1.0, 1.0], (5, 300)), rng.integers(-20, 20, (5, 300))),
    "mixed magnitudes": lambda rng: rng.choice([-1e-44, 1e-44, 1e-30, -1e-30, 1e30, -0.0, 0.0], (5, 300)),
}


@pytest.mark.parametrize("name", EXTREMES)
@pytest.mark.parametrize("bins", [2, 64, 2048])
def test_statistics_equal_a_direct_count(name: str, bins: int) -> None:
    data = EXTREMES[name](np.random.default_rng(1)).astype(np.float32)
    assert observe(identity_graph(300), data, ["x"], bins=bins)["x"] == direct(data, bins)


def test_fast_convolutions_equal_the_ops() -> None:
    graph = network(np.random.default_rng(5), whole=True)
    data = np.random.default_rng(6).integers(-9, 10, (2, *SHAPE[1:])).astype(np.float32)
    found = observe(graph, data, VALUES)
    run = evaluate(graph, VALUES)
    every = [np.concatenate(parts) for parts in zip(*(run(sample) for sample in data[:, None]), strict=True)]
    for value, elements in zip(VALUES, every, strict=True):
        assert found[value] == direct(elements, 2048)


def test_merging_is_associative_and_commutative() -> None:
    rng = np.random.default_rng(7)
    parts = [rng.normal(size=50).astype(np.float32) * np.float32(scale) for scale in (1, 1e3, 1e-3, 0, 1e20)]
    every = [direct(part, 32) for part in parts]
    for order in ([0, 1, 2, 3, 4], [4, 3, 2, 1, 0], [2, 0, 4, 1, 3]):
        left = every[order[0]]
        for index in order[1:]:
            left = left.merge(every[index])
        right = (
            every[order[0]].merge(every[order[1]]).merge(every[order[2]].merge(every[order[3]].merge(every[order[4]])))
        )
        assert left == right == direct(np.concatenate(parts), 32)


def test_statistics_of_other_resolution_do_not_merge() -> None:
    one = direct(np.ones(3, np.float32), 4)
    with pytest.raises(NpuqError, match="statistics of 16 and 32 cells cannot merge"):
        one.merge(direct(np.ones(3, np.float32), 8))


@pytest.mark.parametrize("size", [1, PIECE, PIECE + 1, 3 * PIECE - 1])
def test_long_values_are_counted_piece_by_piece(size: int) -> None:
    data = (np.random.default_rng(8).normal(size=(2, size)) * np.linspace(1, 9, size)).astype(np.float32)
    assert observe(identity_graph(size), data, ["x"])["x"] == direct(data, 2048)


SHUFFLED = """
import hashlib, json, sys
import jax, numpy as np
from tests.passes.calibration.test_observe import VALUES, network, observe
graph = network(np.random.default_rng(9))
data = np.random.default_rng(10).normal(size=(24, 3, 9, 11)) * np.arange(1, 25)[:, None, None, None]
digests = set()
for seed in range(20):
    shuffled = np.random.default_rng(seed).permutation(data.astype(np.float32))
    size = (1, 3, 8)[seed % 3]
    batches = [shuffled[at : at + size] for at in range(0, len(data), size)]
    for devices in ([None] if len(jax.devices()) == 1 else [jax.devices()[:count] for count in (1, 2, 8)]):
        found = observe(graph, iter(batches), VALUES, devices=devices)
        hash_ = hashlib.sha256(found.data_digest.encode())
        for value in VALUES:
            hash_.update(repr(found[value]._scalars).encode() + found[value].counts.tobytes())
        digests.add(hash_.hexdigest())
print(json.dumps([len(jax.devices()), sorted(digests)]))
"""


def test_order_batches_and_devices_change_no_bit() -> None:
    digests = set()
    for count in (1, 8):
        environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
        environment["XLA_FLAGS"] = f"--xla_force_host_platform_device_count={count}"
        root = Path(__file__).parents[3]
        done = subprocess.run(
            [sys.executable, "-c", SHUFFLED], cwd=root, env=environment, capture_output=True, text=True, check=True
        )
        devices, found = json.loads(done.stdout)
        assert devices == count
        digests.update(found)
    assert len(digests) == 1


def test_progress_counts_the_samples() -> None:
    seen: list[int] = []
    observe(identity_graph(4), np.ones((5, 4), np.float32), ["x"], progress=seen.append)
    assert seen == [1, 2, 3, 4, 5]


@pytest.fixture
def observed() -> tuple[Graph, np.ndarray, Observed]:
    graph, data = identity_graph(6), np.random.default_rng(11).normal(size=(4, 6)).astype(np.float32)
    return graph, data, observe(graph, data, ["x"], bins=8)


def test_saved_statistics_come_back(tmp_path: Path, observed: tuple[Graph, np.ndarray, Observed]) -> None:
    graph, data, found = observed
    found.save(tmp_path / "a.npz")
    loaded = load_observed(tmp_path / "a.npz", text_digest(graph), digest_of(samples(graph, [data[2:], data[:2]])))
    assert dict(loaded) == dict(found)
    assert loaded.samples == 4
    found.save(tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_saved_statistics_of_other_origin_are_refused(
    tmp_path: Path, observed: tuple[Graph, np.ndarray, Observed]
) -> None:
    graph, data, found = observed
    path = tmp_path / "a.npz"
    found.save(path)
    with pytest.raises(NpuqError, match=r"a\.npz: statistics of another graph: \w{12} seen, \w{12} wanted; calibrate"):
        load_observed(path, text_digest(identity_graph(7)))
    with pytest.raises(NpuqError, match="statistics of another data"):
        load_observed(path, text_digest(graph), digest_of(samples(graph, data[:3])))


def test_damaged_statistics_are_refused(tmp_path: Path, observed: tuple[Graph, np.ndarray, Observed]) -> None:
    graph, _, found = observed
    path = tmp_path / "a.npz"
    with pytest.raises(NpuqError, match=r"a\.npz: cannot read statistics: No such file"):
        load_observed(path, text_digest(graph))
    found.save(path)
    good = path.read_bytes()
    rng = np.random.default_rng(12)
    for _ in range(60):
        bad = bytearray(good)
        bad[rng.integers(len(bad))] ^= 1 << int(rng.integers(8))
        path.write_bytes(bad if rng.random() < 0.7 else bad[: rng.integers(len(bad))])
        loaded: Observed | None = None
        with contextlib.suppress(NpuqError):
            loaded = load_observed(path, text_digest(graph))
        assert loaded is None or dict(loaded) == dict(found)
