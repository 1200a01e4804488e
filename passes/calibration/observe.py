"""Calibration: every sample runs once, and every wanted value is counted exactly."""

from __future__ import annotations

import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache, reduce
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from npuq.ir import Graph, NpuqError, RuleError, compiler_options, function, results_of, text_digest
from npuq.ir.ops.observe import LEAST_EXPONENT, Observe, cells, flushed

from ..lowering.plan import Channels
from .channel_sums import ChannelSums
from .samples import Data, DataDigest, Sample, samples
from .statistics import TINY, Observed, Statistics

CHUNKS = (1 << 17, 1 << 14)
"""The only sizes that counting is compiled for: few, since each costs a compilation, and one small, for the rests."""

FLUSH = 1 << 30
"""The elements after which 32-bit counts move to 64 bits."""

SINKS = 8
"""The cells that take exact zeros in turn: adding to one cell again and again waits for the sum before."""

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
    return Observed(_gathered(names, lanes), text_digest(graph), digest, done, found)


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
        _Lane(names, computed, run, placed[device], device, bins, {one: replace(empty) for one, empty in sums.items()})
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


@dataclass
class _Tally:
    """The running counts of one value on one lane; `counts` has `SINKS` more cells, for exact zeros."""

    exponent: int
    counts: Any
    minimum: float = math.inf
    maximum: float = -math.inf
    elements: int = 0
    padding: int = 0


@dataclass
class _Lane:
    """One thread's share of the work: its device, and what it has counted."""

    names: tuple[str, ...]
    computed: tuple[str, ...]
    run: Callable[..., list[jax.Array]]
    parameters: dict[str, jax.Array]
    device: jax.Device
    bins: int
    sums: dict[Channels, ChannelSums]
    tallies: dict[str, _Tally] = field(default_factory=dict)
    finished: dict[str, Statistics] = field(default_factory=dict)

    def add(self, index: int, sample: Sample) -> None:
        """Run one sample and count its values."""
        with jax.enable_x64(True):
            arrays = [jax.device_put(array, self.device) for array in sample]
            found = self.run(self.parameters, arrays)
        values = {name: np.asarray(value) for name, value in zip(self.computed, found, strict=True)}
        for name in self.names:
            self._count(index, name, values[name].reshape(-1))
        for name in values.keys() - set(self.names):
            _extremes(index, name, values[name])
        for (name, _), sums in self.sums.items():
            sums.add(values[name])

    def _count(self, index: int, name: str, value: np.ndarray) -> None:
        """Count one value at the least exponent that holds everything so far."""
        low, high = _extremes(index, name, value)
        exponent = least_exponent(max(-low, high), self.bins)
        tally = self.tallies.get(name)
        if tally is None or exponent > tally.exponent or tally.elements + value.size > FLUSH:
            self._flush(name)
            least = tally.exponent if tally is not None else exponent
            tally = self.tallies[name] = _Tally(max(exponent, least), _no_counts(self.bins))
        tally.minimum, tally.maximum = min(tally.minimum, low), max(tally.maximum, high)
        tally.elements += value.size
        for at, size in pieces(value.size):
            piece = value[at : at + size]
            if piece.size < size:
                tally.padding += size - piece.size
                piece = np.pad(piece, (0, size - piece.size))
            tally.counts = _counting(self.bins)(tally.counts, piece, np.int32(tally.exponent))

    def _flush(self, name: str) -> None:
        """Merge a value's running counts into what is finished."""
        tally = self.tallies.pop(name, None)
        if tally is None:
            return
        counts = np.asarray(tally.counts).astype(np.int64)
        zeros = int(counts[-SINKS:].sum()) - tally.padding
        counts = counts[:-SINKS]
        counts[2 * self.bins] += zeros
        found = Statistics(tally.minimum, tally.maximum, zeros, tally.exponent, counts)
        self.finished[name] = self.finished[name].merge(found) if name in self.finished else found

    def result(self) -> dict[str, Statistics]:
        for name in self.names:
            self._flush(name)
        return self.finished


def _extremes(index: int, name: str, value: np.ndarray) -> tuple[float, float]:
    """The least and the greatest element of a sample's value; an error where one is not finite."""
    low, high = (_flushed(float(extreme)) for extreme in (value.min(), value.max()))
    if not (math.isfinite(low) and math.isfinite(high)):
        bad = value.size - int(np.count_nonzero(np.isfinite(value)))
        raise NpuqError(
            f"%{name}, sample {index}: {bad} of {value.size} numbers are NaN or infinite; "
            "check the model and the range of its input"
        )
    return low, high


def pieces(size: int) -> list[tuple[int, int]]:
    """Cut `size` elements into chunks of the compiled sizes: (start, chunk size); the last may reach past the end."""
    large, small = CHUNKS
    found = []
    at = 0
    while at < size:
        # Six small calls cost about as much as one large one.
        chunk = large if size - at > 6 * small else small
        found.append((at, chunk))
        at += chunk
    return found


def least_exponent(magnitude: float, bins: int) -> int:
    """The least e with magnitude < 2 * bins * 2^e, as the op `observe` finds it."""
    above = math.frexp(magnitude)[1] if magnitude else LEAST_EXPONENT
    return max(above - bins.bit_length(), LEAST_EXPONENT)


@cache
def _counting(bins: int) -> Callable[..., jax.Array]:
    """Add a chunk to the counts, and exact zeros to the cells after them."""

    def count(counts: jax.Array, x: jax.Array, exponent: jax.Array) -> jax.Array:
        x = flushed(x)
        sinks = 4 * bins + lax.iota(jnp.int32, x.size) % SINKS
        index = jnp.where(x == 0, sinks, cells(x, exponent, bins))
        return counts.at[index].add(1, mode="promise_in_bounds")

    compiled: Callable[..., jax.Array] = jax.jit(count, compiler_options=compiler_options("cpu", one_thread=True))
    return compiled


def _no_counts(bins: int) -> jax.Array:
    """Empty counts on the host, where the values lie as well; what is added to them runs there."""
    host = jax.local_devices(backend="cpu")[0]
    empty: jax.Array = jax.device_put(np.zeros(4 * bins + SINKS, np.int32), host)
    return empty


def _flushed(number: float) -> float:
    return 0.0 if abs(number) < TINY else number


def _check(graph: Graph, names: tuple[str, ...], bins: int) -> None:
    for name in names:
        if name not in graph.types:
            raise NpuqError(f"{graph.name}: there is no value %{name} to observe")
        try:
            results_of(Observe(bins=bins), (graph.types[name],))
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


def _gathered(names: tuple[str, ...], lanes: list[_Lane]) -> dict[str, Statistics]:
    gathered: dict[str, Statistics] = {}
    for lane in lanes:
        for name, found in lane.result().items():
            gathered[name] = gathered[name].merge(found) if name in gathered else found
    return {name: gathered[name] for name in names}


def _sums(lanes: list[_Lane]) -> dict[Channels, ChannelSums]:
    first, *others = lanes
    return {
        one: reduce(ChannelSums.merge, (lane.sums[one] for lane in others), sums) for one, sums in first.sums.items()
    }
