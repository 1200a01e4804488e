"""The exact integer statistics of a value that merge in any order, saved with their origin."""

from __future__ import annotations

import io
import json
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np

from npuq.ir import NpuqError, one_line

from ..lowering.plan import Channels

TINY = float(np.finfo(np.float32).tiny)
FORMAT = 2
DAMAGE = (
    OSError,
    ValueError,
    LookupError,
    TypeError,
    EOFError,
    OverflowError,
    MemoryError,
    RuntimeError,
    zlib.error,
    BadZipFile,
)
"""What reading an npz file raises where its bytes are not what they claim to be."""


@dataclass(frozen=True, eq=False)
class Statistics:
    """Extremes, zeros and a histogram with cells of width 2^exponent, the least at which all elements fit.

    `counts` (int64, 4 * bins) starts at cell `first`: cell i >= 0 covers [i, i + 1) * 2^exponent, cell i < 0 mirrors
    cell -1 - i. Exact zeros are counted in cell 0 and apart in `zeros`.
    """

    minimum: float
    maximum: float
    zeros: int
    exponent: int
    counts: np.ndarray

    def __post_init__(self) -> None:
        counts = np.array(self.counts, np.int64)
        counts.flags.writeable = False
        object.__setattr__(self, "counts", counts)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Statistics):
            return NotImplemented
        return self._scalars == other._scalars and np.array_equal(self.counts, other.counts)

    def __hash__(self) -> int:
        return hash(self._scalars)

    @property
    def _scalars(self) -> tuple[float, float, int, int]:
        return self.minimum, self.maximum, self.zeros, self.exponent

    @property
    def range(self) -> tuple[float, float]:
        """The least and the greatest element."""
        return self.minimum, self.maximum

    @property
    def first(self) -> int:
        """The cell that `counts[0]` counts."""
        return -(len(self.counts) // 2)

    @property
    def width(self) -> float:
        """The width of a cell."""
        return float(2.0**self.exponent)

    @property
    def count(self) -> int:
        """The number of elements seen."""
        return int(self.counts.sum())

    def merge(self, other: Statistics) -> Statistics:
        """The statistics of both sets of elements together: exact, associative and commutative."""
        if len(self.counts) != len(other.counts):
            raise NpuqError(
                f"statistics of {len(self.counts)} and {len(other.counts)} cells cannot merge; observe again"
            )
        exponent = max(self.exponent, other.exponent)
        return Statistics(
            min(self.minimum, other.minimum),
            max(self.maximum, other.maximum),
            self.zeros + other.zeros,
            exponent,
            coarsened(self.counts, exponent - self.exponent) + coarsened(other.counts, exponent - other.exponent),
        )


def coarsened(counts: np.ndarray, steps: int) -> np.ndarray:
    """The histogram with cells 2^steps times as wide: whole pairs around zero add up."""
    half = len(counts) // 2
    for _ in range(min(steps, half.bit_length())):
        pairs = counts.reshape(-1, 2).sum(axis=1)
        counts = np.zeros_like(counts)
        counts[half // 2 : half // 2 + half] = pairs
    return counts


@dataclass(frozen=True, eq=False)
class Observed(Mapping[str, Statistics]):
    """Statistics by value name, with the digests of the graph and of the data that they come from.

    The data's digest is the same for the same samples in any order and in any batches. `means` holds f64[channels] by
    value name and axis of the channels, for the values whose means were wanted.
    """

    statistics: Mapping[str, Statistics]
    graph_digest: str
    data_digest: str
    samples: int
    means: Mapping[Channels, np.ndarray] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Statistics:
        return self.statistics[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.statistics)

    def __len__(self) -> int:
        return len(self.statistics)

    def save(self, path: str | Path) -> None:
        """Write all to one npz file; the same statistics give the same bytes."""
        path = Path(path)
        names = list(self)
        head = {
            "format": FORMAT,
            "graph": self.graph_digest,
            "data": self.data_digest,
            "samples": self.samples,
            "values": [[name, *map(_exact, self[name]._scalars)] for name in names],
            "means": [[name, axis, len(means)] for (name, axis), means in self.means.items()],
        }
        text = np.frombuffer(json.dumps(head).encode(), np.uint8)
        counts = np.stack([self[name].counts for name in names]) if names else np.zeros((0, 8), np.int64)
        means = np.concatenate([np.zeros(0), *self.means.values()])
        partial = path.with_name(path.name + ".partial")
        try:
            with partial.open("wb") as file:
                np.savez_compressed(file, head=text, counts=counts, means=means)
            partial.replace(path)
        except OSError as error:
            raise NpuqError(f"{path}: not written: {error.strerror or error}") from None


def load_observed(path: str | Path, graph_digest: str, data_digest: str | None = None) -> Observed:
    """Read saved statistics; refuse those of another graph or, where its digest is given, of other data."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise NpuqError(f"{path}: cannot read statistics: {error.strerror or error}") from None
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            observed = _observed(json.loads(file["head"].tobytes().decode()), file["counts"], file["means"])
    except DAMAGE as error:
        raise NpuqError(f"{path}: no statistics file or a damaged one ({one_line(error)}); calibrate again") from None
    for kind, seen, wanted in (
        ("graph", observed.graph_digest, graph_digest),
        ("data", observed.data_digest, data_digest),
    ):
        if wanted is not None and seen != wanted:
            raise NpuqError(
                f"{path}: statistics of another {kind}: {seen[:12]} seen, {wanted[:12]} wanted; calibrate again"
            )
    return observed


def _exact(number: float) -> int | str:
    return number if isinstance(number, int) else number.hex()


def _observed(head: dict[str, Any], counts: np.ndarray, means: np.ndarray) -> Observed:
    if head["format"] != FORMAT or counts.dtype != np.int64 or counts.ndim != 2 or len(counts) != len(head["values"]):
        raise ValueError(f"format {head['format']}, counts {counts.dtype}{list(counts.shape)}")
    statistics = {
        str(name): Statistics(float.fromhex(low), float.fromhex(high), int(zeros), int(exponent), row)
        for (name, low, high, zeros, exponent), row in zip(head["values"], counts, strict=True)
    }
    sizes = [int(size) for _, _, size in head["means"]]
    if means.dtype != np.float64 or means.shape != (sum(sizes),) or min(sizes, default=0) < 0:
        raise ValueError(f"means {means.dtype}{list(means.shape)}")
    parts = np.split(means, np.cumsum(sizes)[:-1]) if sizes else []
    named = {(str(name), int(axis)): part for (name, axis, _), part in zip(head["means"], parts, strict=True)}
    return Observed(statistics, str(head["graph"]), str(head["data"]), int(head["samples"]), named)
