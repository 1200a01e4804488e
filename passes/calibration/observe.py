"""Calibration: every sample runs once, and every wanted value is counted exactly."""

from __future__ import annotations

import ctypes
import math
import os
import sys
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from functools import lru_cache, reduce

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir import DType, Graph, NpuqError, RuleError, compiler_options, function, text_digest
from npuq.ir.errors import require
from npuq.ir.ops.conv import Conv

from ..lowering.plan import Channels
from .channel_sums import ChannelSums
from .samples import Data, DataDigest, Reservoir, Sample, samples
from .statistics import TINY, Observed, Statistics, coarsened
from .thresholds import CANDIDATES, Histogram, thresholds

PIECE = 1 << 16
"""The elements that are counted at a time: few enough to stay in a core's cache, with their cells."""

LEAST_EXPONENT = -126
"""The finest cell is 2^-126, the smallest normal float32, so that 2^-exponent is a float32 too."""

MOST_PARTS = 256
"""The most parts that samples fall into: each has a histogram of every value."""

RELEASE = 8
"""The samples after which memory that was freed goes back to the system."""


class Observer:
    """Runs a float graph one sample at a time and keeps the statistics of `values`, by default of all f32 values.

    The statistics depend on the set of samples, not on their order. `means` names (value, axis) whose means per channel
    are kept too. The samples fall into `parts` by their content, which `converged` compares by the ranges of `method`.
    `few` keeps `keep` samples. Raises NpuqError for values that the graph lacks.
    """

    def __init__(
        self,
        graph: Graph,
        values: Iterable[str] | None = None,
        *,
        bins: int = 2048,
        means: Iterable[Channels] = (),
        all_sums: bool = False,
        parts: int = 4,
        method: str = "kl_v2",
        keep: int = 0,
        devices: Sequence[jax.Device] | None = None,
    ) -> None:
        f32 = (name for name, type_ in graph.types.items() if type_.dtype is DType.F32 and name not in graph.constants)
        names = tuple(dict.fromkeys(f32 if values is None else values))
        _check(graph, names, bins)
        if not isinstance(parts, int) or not 1 <= parts <= MOST_PARTS:
            raise NpuqError(f"calibration: {parts!r} parts; a whole number from 1 to {MOST_PARTS} wanted")
        self.devices = tuple(jax.local_devices() if devices is None else devices)
        if not self.devices:
            raise NpuqError("calibration: no devices; at least one wanted")
        self.graph, self.bins, self.method = graph, bins, method
        self.sums = {one: ChannelSums(one[1], all_=all_sums) for one in means}
        self.parts = [{name: _Tally(bins) for name in names} for _ in range(parts)]
        self.digest, self.count, self.few = DataDigest(), 0, Reservoir(keep)
        self.counted = tuple(dict.fromkeys((*names, *(name for name, _ in self.sums))))
        self.computed = tuple(dict.fromkeys((*self.counted, *graph.outputs.values())))
        self._run = _forward(graph, self.computed, self.devices[0].platform)
        self._parameters = {device: _placed(graph, device) for device in self.devices}

    def add(self, *batch: np.ndarray) -> tuple[np.ndarray, ...]:
        """Count one sample, or a batch of several along the first axis, and give the float outputs.

        Raises NpuqError for arrays that do not fit, and for NaN or infinity in an input or a counted value; the sample
        is then not counted.
        """
        found = [self._add(sample) for sample in samples(self.graph, [batch])]
        return tuple(np.concatenate(parts) if parts[0].ndim else parts[-1] for parts in zip(*found, strict=True))

    def _add(self, sample: Sample) -> list[np.ndarray]:
        found = self._start(sample, self.devices[0])
        outputs = [np.asarray(found[name]) for name in self.graph.outputs.values()]
        for name in self.counted:
            _extremes(self.count, name, np.asarray(found[name]))
        self._count(self.count, sample, dict(found))
        self._sum(found)
        return [np.moveaxis(value, -1, 1) if value.ndim == 4 else value for value in outputs]

    def add_all(self, data: Data, progress: Callable[[int], None] | None = None) -> Observer:
        """Count all samples of `data`: a thread counts, another one sums, and the devices compute the next samples."""
        done = 0
        pending: deque[tuple[Future[None], Future[None]]] = deque()

        def finish(limit: int) -> None:
            nonlocal done
            while len(pending) > limit:
                for future in pending.popleft():
                    future.result()
                done += 1
                if progress is not None:
                    progress(done)

        with ThreadPoolExecutor(1) as counter, ThreadPoolExecutor(1) as adder:
            for index, sample in enumerate(samples(self.graph, data)):
                found = self._start(sample, self.devices[index % len(self.devices)])
                parts = counter.submit(self._count, index, sample, dict(found)), adder.submit(self._sum, found)
                pending.append(parts)
                del found
                finish(len(self.devices))
                if index % RELEASE == 0:
                    _release_memory()
            finish(0)
        _release_memory()
        return self

    def _start(self, sample: Sample, device: jax.Device) -> dict[str, jax.Array]:
        """The values of a sample by name; the device may still compute them."""
        with jax.enable_x64(True):
            arrays = jax.device_put(sample, device)
            return dict(zip(self.computed, self._run(self._parameters[device], arrays), strict=True))

    def _count(self, index: int, sample: Sample, found: dict[str, jax.Array]) -> None:
        """Count a sample's values, and drop each then; errors call the sample by its index."""
        part = self.parts[self.digest.add(sample) % len(self.parts)]
        for name in self.counted:
            value = np.asarray(found.pop(name)).reshape(-1)
            extremes = _extremes(index, name, value)
            if name in part:
                part[name].add(value, *extremes)
        if self.few.count:
            self.few.add(sample)
        self.count += 1

    def _sum(self, found: dict[str, jax.Array]) -> None:
        """Add a sample's values to the sums of their channels, and drop each then."""
        with np.errstate(invalid="ignore"):
            for name in self.computed:
                value = np.asarray(found.pop(name))
                for (summed, _), sums in self.sums.items():
                    if summed == name:
                        sums.add(value)

    def merge(self, other: Observer) -> Observer:
        """The observer of both sets of samples; NpuqError where the graphs, values, parts or methods differ."""
        if not isinstance(other, Observer):
            raise NpuqError(f"{self.graph.name}: an observer merges with observers, not with {type(other).__name__}")
        kinds = [
            (text_digest(one.graph), one.bins, len(one.parts), tuple(one.parts[0]), tuple(one.sums), one.method)
            for one in (self, other)
        ]
        if kinds[0] != kinds[1]:
            raise NpuqError(f"{self.graph.name}: observers of other graphs, values, parts or methods cannot merge")
        merged = copy(self)
        merged.parts = [{name: _Tally(self.bins) for name in part} for part in self.parts]
        for part, *both in zip(merged.parts, self.parts, other.parts, strict=True):
            for name, tally in part.items():
                for one in both:
                    tally.merge(one[name])
        merged.sums = {one: sums.merge(other.sums[one]) for one, sums in self.sums.items()}
        merged.digest = self.digest.merge(other.digest)
        merged.count, merged.few = self.count + other.count, Reservoir(self.few.count)
        for sample in (*self.few.samples, *other.few.samples):
            merged.few.add(sample)
        return merged

    def result(self) -> Observed:
        """The statistics of all samples so far; NpuqError where there was none."""
        if self.count == 0:
            raise NpuqError(f"{self.graph.name}: no calibration data; at least one sample wanted")
        means = {one: sums.means() for one, sums in self.sums.items()}
        statistics = {name: self._statistics(name) for name in self.parts[0]}
        return Observed(statistics, text_digest(self.graph), self.digest.hexdigest(), self.count, means)

    @property
    def converged(self) -> bool:
        """Whether no range rests on one part of the samples.

        For each value, the range of `method` at 8 bits from all samples and the range without one of the parts differ
        by less than half a step of the search's grid at either end, whichever part is left out. So a third as much
        data again, like those that were seen, would have moved no range by half a step. The answer depends on the set
        of samples alone, since a sample's part depends on its content.
        """
        return self.count >= len(self.parts) > 1 and all(map(self._rests, self.parts[0]))

    def _rests(self, name: str) -> bool:
        """Whether each part can be left out without a change of a value's range."""
        every = self._statistics(name)
        low, high = thresholds(every, self.method)
        step = max(len(Histogram.of(every, symmetric=True).counts) / CANDIDATES, 1.0) * every.width
        for left_out in range(len(self.parts)):
            fewer = self._statistics(name, left_out)
            if not fewer.count:
                return False
            ends = thresholds(fewer, self.method)
            if max(abs(ends[0] - low), abs(ends[1] - high)) >= step / 2:
                return False
        return True

    def _statistics(self, name: str, left_out: int | None = None) -> Statistics:
        parts = (part[name].result() for index, part in enumerate(self.parts) if index != left_out)
        return reduce(Statistics.merge, parts)


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

    Each sample runs alone, at the graph's own batch size, on one thread of one device; only exact integers add up.
    So the same samples in any order, in any batches, on any number of devices give the same result, bit for bit.
    `data` is read once, as `samples` describes; memory does not grow with its length. `means` names (value, axis) whose
    means per channel are wanted too. `progress` is called with the number of finished samples. Raises NpuqError for
    data that do not fit, for NaN or infinity in the data or in a wanted value, and for values that the graph lacks.
    """
    return Observer(graph, values, bins=bins, means=means, parts=1, devices=devices).add_all(data, progress).result()


def observe_channels(
    graph: Graph,
    data: Data,
    channels: Iterable[Channels],
    *,
    devices: Sequence[jax.Device] | None = None,
    progress: Callable[[int], None] | None = None,
) -> dict[Channels, ChannelSums]:
    """Run every sample as `observe` does; give means, mean squares and extremes of the channels of wanted values."""
    first = Observer(graph, (), means=channels, all_sums=True, parts=1, devices=devices)
    return first.add_all(data, progress).sums


def _release_memory() -> None:
    """Give freed memory back to the system, which the C library otherwise holds for each thread."""
    if sys.platform == "linux":
        getattr(ctypes.CDLL(None), "malloc_trim", int)(0)


def _placed(graph: Graph, device: jax.Device) -> dict[str, jax.Array]:
    """The constants on a device, windows channels last: a forward would transpose them for every sample."""
    arrays = {name: constant.array for name, constant in graph.constants.items()}
    arrays |= {name: np.moveaxis(arrays[name], (1, 0), (-2, -1)) for name in _windows(graph)}
    with jax.enable_x64(True):
        placed: dict[str, jax.Array] = jax.device_put(arrays, device)
        return placed


def _windows(graph: Graph) -> list[str]:
    """The constant weights of convolutions, in the graph's order: XLA's cache would miss a forward of another order."""
    weights = {node.operands[1] for node in graph.nodes if isinstance(node.op, Conv)}
    return [name for name in graph.constants if name in weights]


@lru_cache(maxsize=2)
def _forward(graph: Graph, names: tuple[str, ...], platform: str) -> Callable[..., list[jax.Array]]:
    """The jitted forward of `_placed` constants, kept for calibrating the same graph again.

    Values of rank 4 come back channels last, as XLA computes them: statistics ask for no order.
    """
    run, windows = function(graph, names), _windows(graph)

    def forward(placed: dict[str, jax.Array], inputs: Sequence[jax.Array]) -> list[jax.Array]:
        parameters = placed | {name: jnp.moveaxis(placed[name], (-2, -1), (1, 0)) for name in windows}
        return [jnp.moveaxis(value, 1, -1) if value.ndim == 4 else value for value in run(parameters, inputs)]

    return jax.jit(forward, compiler_options=compiler_options(platform, one_thread=True))


class _Tally:
    """The running statistics of one value."""

    def __init__(self, bins: int) -> None:
        self.minimum, self.maximum = math.inf, -math.inf
        self.zeros, self.exponent = 0, LEAST_EXPONENT
        self.counts = np.zeros(4 * bins, np.int64)

    def add(self, x: np.ndarray, low: float, high: float) -> None:
        """Count elements whose extremes are `low` and `high`; the cells widen until they hold them."""
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        exponent = least_exponent(max(-low, high), len(self.counts) // 4)
        if exponent > self.exponent:
            self.counts[:] = coarsened(self.counts, exponent - self.exponent)
            self.exponent = exponent
        self.zeros += x.size - int(np.count_nonzero(x >= TINY))
        first = 0 if low < 0 else len(self.counts) // 2
        for at in range(0, x.size, PIECE):
            piece = x[at : at + PIECE]
            # The product with a power of two is exact, or less than one cell.
            cells = (piece * np.float32(2.0**-self.exponent)).astype(np.intp)
            if low < 0:
                negative = piece <= -TINY
                self.zeros -= int(np.count_nonzero(negative))
                cells += len(self.counts) // 2 - negative
            found = np.bincount(cells)
            self.counts[first : first + len(found)] += found

    def merge(self, other: _Tally) -> None:
        """Add the counts of another tally."""
        both = self.result().merge(other.result())
        (self.minimum, self.maximum), self.zeros = both.range, both.zeros
        self.exponent, self.counts = both.exponent, both.counts.copy()

    def result(self) -> Statistics:
        return Statistics(self.minimum, self.maximum, self.zeros, self.exponent, self.counts)


def _extremes(index: int, name: str, x: np.ndarray) -> tuple[float, float]:
    """The least and the greatest element of a value of a sample; NpuqError where an element is not finite."""
    low, high = (_flushed(float(extreme)) for extreme in (x.min(), x.max()))
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = x.size - int(np.count_nonzero(np.isfinite(x)))
        raise NpuqError(
            f"%{name}, sample {index}: {bad} of {x.size} numbers are NaN or infinite; "
            "check the model and the range of its input"
        )
    return low, high


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


def cpu_workers() -> int:
    """How many threads run samples on the CPU, at most 4, since each holds the values of one sample."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, 4)
