"""Calibration: every sample runs once, and every wanted value is counted exactly."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir import DType, Graph, NpuqError, RuleError, compiler_options, function, text_digest
from npuq.ir.errors import require

from ..lowering.plan import Channels
from .channel_sums import ChannelSums
from .samples import Data, DataDigest, Sample, samples
from .statistics import TINY, Observed, Statistics, coarsened

PIECE = 1 << 15
"""The elements that are counted at a time: few enough to stay in a core's cache, with their cells."""

LEAST_EXPONENT = -126
"""The finest cell is 2^-126, the smallest normal float32, so that 2^-exponent is a float32 too."""

MOST_WORKERS = 4
"""Threads on one CPU; each holds the values of one sample."""


def observe(
    graph: Graph,
    data: Data,
    values: Iterable[str],
    *,
    bins: int = 2048,
    means: Iterable[Channels] = (),
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Observed:
    """Run every sample of `data` through the float graph and give the statistics of each value in `values`.

    Each sample runs alone, at the graph's own batch size, on one thread of one device; only exact integers are merged.
    So the same samples in any order, in any batches, on any number of devices give the same result, bit for bit.
    `data` is read once, as `samples` describes; memory does not grow with its length. `means` names (value, axis) whose
    means per channel are wanted too. `progress` is called with the number of finished samples. Raises NpuqError for
    data that do not fit, for NaN or infinity in the data or in a wanted value, and for values that the graph lacks.
    """
    names = tuple(dict.fromkeys(values))
    _check(graph, names, bins)
    sums = {one: ChannelSums(one[1]) for one in means}
    lanes, digest, done = _run(graph, data, names, bins, sums, devices, progress)
    found = {one: gathered.means() for one, gathered in _sums(lanes).items()}
    statistics = {name: reduce(Statistics.merge, (lane.tallies[name].result() for lane in lanes)) for name in names}
    return Observed(statistics, text_digest(graph), digest, done, found)


def observe_channels(
    graph: Graph,
    data: Data,
    channels: Iterable[Channels],
    *,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[Channels, ChannelSums]:
    """Run every sample as `observe` does; give means, mean squares and extremes of the channels of wanted values."""
    sums = {one: ChannelSums(one[1], all_=True) for one in channels}
    lanes, *_ = _run(graph, data, (), 2, sums, devices, progress)
    return _sums(lanes)


def _run(
    graph: Graph,
    data: Data,
    names: tuple[str, ...],
    bins: int,
    sums: Mapping[Channels, ChannelSums],
    devices: Sequence[jax.Device] | None,
    progress: Callable[[int], None] | None,
) -> tuple[list[_Lane], str, int]:
    """Let lanes count histograms of `names` and the wanted sums; also the data's digest and number of samples."""
    workers = _workers(devices)
    computed = tuple(dict.fromkeys((*names, *(name for name, _ in sums))))
    run = _forward(graph, computed, workers[0].platform)
    with jax.enable_x64(True):
        known = {name: constant.array for name, constant in graph.constants.items()}
        placed = {device: jax.device_put(known, device) for device in dict.fromkeys(workers)}
    lanes = [
        _Lane(
            computed,
            run,
            placed[device],
            device,
            {one: replace(empty) for one, empty in sums.items()},
            {name: _Tally(bins) for name in names},
        )
        for device in workers
    ]
    digest = DataDigest()
    done = 0
    pending: deque[Future[None]] = deque()
    pools = [ThreadPoolExecutor(1) for _ in lanes]
    try:
        for index, sample in enumerate(samples(graph, data)):
            turn = index % len(lanes)
            digest.add(sample)
            pending.append(pools[turn].submit(lanes[turn].add, index, sample))
            while len(pending) > 2 * len(lanes):
                pending.popleft().result()
                done += 1
                if progress is not None:
                    progress(done)
        while pending:
            pending.popleft().result()
            done += 1
            if progress is not None:
                progress(done)
    finally:
        for pool in pools:
            pool.shutdown(cancel_futures=True)
    return lanes, digest.hexdigest(), done


@lru_cache(maxsize=2)
def _forward(graph: Graph, names: tuple[str, ...], platform: str) -> Callable[..., list[jax.Array]]:
    """The jitted forward, kept so that the same graph calibrates again without another compilation.

    Values of rank 4 come back channels last, as XLA computes them: statistics ask for no order.
    """
    run = function(graph, names)

    def forward(parameters: dict[str, jax.Array], inputs: Sequence[jax.Array]) -> list[jax.Array]:
        return [jnp.moveaxis(value, 1, -1) if value.ndim == 4 else value for value in run(parameters, inputs)]

    return jax.jit(forward, compiler_options=compiler_options(platform, one_thread=True))


class _Tally:
    """The running statistics of one value on one lane."""

    def __init__(self, bins: int) -> None:
        self.minimum, self.maximum = math.inf, -math.inf
        self.zeros, self.exponent = 0, LEAST_EXPONENT
        self.counts = np.zeros(4 * bins, np.int64)

    def add(self, x: np.ndarray, low: float, high: float) -> None:
        """Count elements whose extremes are `low` and `high`; the cells widen until they hold them."""
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        exponent = least_exponent(max(-low, high), len(self.counts) // 4)
        if exponent > self.exponent:
            self.counts = coarsened(self.counts, exponent - self.exponent)
            self.exponent = exponent
        # The product with a power of two is exact, or less than one cell.
        cells = (x * np.float32(2.0**-self.exponent)).astype(np.intp)
        self.zeros += x.size - int(np.count_nonzero(x >= TINY))
        first = len(self.counts) // 2
        if low < 0:
            negative = x <= -TINY
            self.zeros -= int(np.count_nonzero(negative))
            cells += first - negative
            first = 0
        found = np.bincount(cells)
        self.counts[first : first + len(found)] += found

    def result(self) -> Statistics:
        return Statistics(self.minimum, self.maximum, self.zeros, self.exponent, self.counts)


@dataclass
class _Lane:
    """One thread's share of the work: its device, and what it has counted."""

    computed: tuple[str, ...]
    run: Callable[..., list[jax.Array]]
    parameters: dict[str, jax.Array]
    device: jax.Device
    sums: dict[Channels, ChannelSums]
    tallies: dict[str, _Tally]

    def add(self, index: int, sample: Sample) -> None:
        """Run one sample and count its values."""
        with jax.enable_x64(True):
            arrays = [jax.device_put(array, self.device) for array in sample]
            found = self.run(self.parameters, arrays)
        values = {name: np.asarray(value) for name, value in zip(self.computed, found, strict=True)}
        for name, value in values.items():
            _count(index, name, value.reshape(-1), self.tallies.get(name))
        for (name, _), sums in self.sums.items():
            sums.add(values[name])


def _count(index: int, name: str, value: np.ndarray, tally: _Tally | None) -> None:
    """Count one value of a sample, unless only its sums are wanted; an error where an element is not finite."""
    for at in range(0, value.size, PIECE):
        piece = value[at : at + PIECE]
        low, high = (_flushed(float(extreme)) for extreme in (piece.min(), piece.max()))
        if not (math.isfinite(low) and math.isfinite(high)):
            bad = value.size - int(np.count_nonzero(np.isfinite(value)))
            raise NpuqError(
                f"%{name}, sample {index}: {bad} of {value.size} numbers are NaN or infinite; "
                "check the model and the range of its input"
            )
        if tally is not None:
            tally.add(piece, low, high)


def least_exponent(magnitude: float, bins: int) -> int:
    """The least e of a normal number with magnitude < 2 * bins * 2^e."""
    above = math.frexp(magnitude)[1] if magnitude else LEAST_EXPONENT
    return max(above - bins.bit_length(), LEAST_EXPONENT)


def _flushed(number: float) -> float:
    return 0.0 if abs(number) < TINY else number


def _check(graph: Graph, names: tuple[str, ...], bins: int) -> None:
    for name in names:
        if name not in graph.types:
            raise NpuqError(f"{graph.name}: there is no value %{name} to observe")
        type_ = graph.types[name]
        try:
            require(type_.dtype is DType.F32, f"{type_.dtype} operand, f32 wanted")
            require(type_.size > 0, "nothing to observe in an empty operand")
            require(2 <= bins <= 1 << 20, f"{bins} bins, 2 to {1 << 20} wanted")
            require(bins & (bins - 1) == 0, f"{bins} bins, a power of two wanted")
        except RuleError as error:
            raise NpuqError(f"{graph.name}: cannot observe %{name}: {error}") from None


def _workers(devices: Sequence[jax.Device] | None) -> list[Any]:
    """The device of each worker: one per device, or several threads where a CPU is all there is."""
    if devices is not None:
        if not devices:
            raise NpuqError("calibration: no devices; at least one wanted")
        return list(devices)
    local: list[Any] = jax.local_devices()
    if len(local) == 1 and local[0].platform == "cpu":
        return local * min(_cores(), MOST_WORKERS)
    return local


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _sums(lanes: list[_Lane]) -> dict[Channels, ChannelSums]:
    first, *others = lanes
    return {
        one: reduce(ChannelSums.merge, (lane.sums[one] for lane in others), sums) for one, sums in first.sums.items()
    }
