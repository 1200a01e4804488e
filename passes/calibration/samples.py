"""Calibration data as single, checked samples, independent of their batches."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from tempfile import TemporaryFile
from typing import Any, cast

import numpy as np

from npuq.ir import Graph, Node, NpuqError, Shape, TensorType
from npuq.ir.ops.elementwise import Identity
from npuq.ir.ops.logic import Cast
from npuq.ir.ops.scatter import GatherNd, ScatterElements, ScatterNd
from npuq.ir.ops.shape import Gather, GatherElements, Reshape

Batch = Mapping[str, np.ndarray] | tuple[np.ndarray, ...] | list[np.ndarray] | np.ndarray
Data = Batch | Iterable[Batch]
Sample = tuple[np.ndarray, ...]
Source = Data | Callable[[], Iterator[Sample]]
"""Data that can be read again, or a function that yields all samples."""

UNCHANGED = (Identity, Cast, Reshape)
"""Ops that leave indices unchanged."""


def samples(graph: Graph, data: Data) -> Iterator[Sample]:
    """Yield the graph's inputs, in order, for one run after another.

    A batch is a mapping by input name, a tuple or list in the graph's order, or, for one input, an array; its leading
    axis is a multiple k of the graph's own, and it gives k samples. `data` is one mapping, one array, or an iterable of
    batches. A number without axes is a sample of its own, and a graph without inputs has one sample. Float data may be
    of any width; everything else must have the input's own dtype.
    Raises NpuqError for wrong names, shapes, dtypes, for NaN or infinity, for indices that a gather clamps, and where
    there is no sample at all.
    """
    count, rows = 0, rows_of(graph)
    for index, batch in enumerate(_batches(data)):
        place = f"{graph.name}: calibration batch {index}"
        arrays = _arrays(graph, batch, place)
        for run in range(_runs(graph, arrays, place)):
            inputs = zip(graph.inputs.items(), arrays, strict=True)
            sample = tuple(_finite(name, type_, _slice(array, type_, run), count) for (name, type_), array in inputs)
            for name, array in zip(graph.inputs, sample, strict=True):
                if name in rows:
                    require_rows(f"input {name!r}, sample {count}", array, rows[name])
            yield sample
            count += 1
    if count == 0:
        raise NpuqError(f"{graph.name}: no calibration data; at least one sample wanted")


def read(graph: Graph, source: Source) -> Iterator[Sample]:
    """Yield all samples of a source."""
    return source() if callable(source) else samples(graph, source)


@contextmanager
def replayable(graph: Graph, data: Data) -> Iterator[Callable[[], Iterator[Sample]]]:
    """Give a function that yields all samples, as often as it is called.

    An iterator is copied to a temporary file, so that memory does not grow.
    """
    if not isinstance(data, Iterator):
        yield lambda: samples(graph, data)
        return
    with TemporaryFile() as file:
        count = 0
        for sample in samples(graph, data):
            count += 1
            for array in sample:
                np.save(file, array, allow_pickle=False)

        def again() -> Iterator[Sample]:
            file.seek(0)
            for _ in range(count):
                yield tuple(np.load(file, allow_pickle=False) for _ in graph.inputs)

        yield again


class Reservoir:
    """The `count` samples of least SHA-256, each with a companion: the same few of a set in any order."""

    def __init__(self, count: int) -> None:
        self.count, self.found = count, dict[str, tuple[Sample, Any]]()

    def add(self, sample: Sample, beside: Any = None) -> None:
        digest = hashlib.sha256(b"".join(array.tobytes() for array in sample)).hexdigest()
        self.found[digest] = (sample, beside)
        if len(self.found) > self.count:
            del self.found[max(self.found)]

    def pass_on(self, source: Iterable[Sample]) -> Iterator[Sample]:
        """Yield all samples of a source, and add each."""
        for sample in source:
            self.add(sample)
            yield sample

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self.found[digest][0] for digest in sorted(self.found))

    @property
    def besides(self) -> tuple[Any, ...]:
        """The companion of each of `samples`."""
        return tuple(self.found[digest][1] for digest in sorted(self.found))


@dataclass
class DataDigest:
    """A digest of a multiset of samples: sums of SHA-256, so that order and batches do not matter."""

    total: int = 0

    def add(self, sample: Sample) -> int:
        """Add a sample and give the digest of it alone."""
        hash_ = hashlib.sha256()
        for array in sample:
            hash_.update(f"{array.dtype}{array.shape}".encode())
            hash_.update(np.ascontiguousarray(array).data)
        own = int.from_bytes(hash_.digest(), "big")
        self.total = (self.total + own) % (1 << 256)
        return own

    def merge(self, other: DataDigest) -> DataDigest:
        """The digest of both multisets."""
        return DataDigest((self.total + other.total) % (1 << 256))

    def hexdigest(self) -> str:
        return f"{self.total:064x}"


def digest_of(source: Iterable[Sample]) -> str:
    """The digest of a set of samples."""
    digest = DataDigest()
    for sample in source:
        digest.add(sample)
    return digest.hexdigest()


def _batches(data: Data) -> Iterator[Batch]:
    if isinstance(data, Mapping) or hasattr(data, "__array__"):
        yield cast(Batch, data)
        return
    if not isinstance(data, Iterable):
        raise NpuqError(f"calibration data of type {type(data).__name__}; arrays, or an iterable of batches, wanted")
    yield from data


def _arrays(graph: Graph, batch: Batch, place: str) -> list[np.ndarray]:
    wanted = ", ".join(f"{name}: {type_}" for name, type_ in graph.inputs.items())
    if isinstance(batch, Mapping):
        if set(batch) != set(graph.inputs):
            raise NpuqError(f"{place}: inputs {', '.join(map(str, batch)) or 'none'}; the graph wants {wanted}")
        given = [batch[name] for name in graph.inputs]
    else:
        given = list(batch) if isinstance(batch, tuple | list) else [batch]
        if len(given) != len(graph.inputs):
            raise NpuqError(f"{place}: {len(given)} arrays; the graph wants {wanted}")
    arrays = []
    for (name, type_), value in zip(graph.inputs.items(), given, strict=True):
        array = np.asarray(value)
        if array.dtype != type_.dtype.numpy and not (type_.dtype.is_float and array.dtype.kind == "f"):
            raise NpuqError(f"{place}: input {name!r} is {array.dtype}{list(array.shape)}; {type_} wanted")
        if array.ndim != type_.rank or array.shape[1:] != type_.shape[1:]:
            raise NpuqError(
                f"{place}: input {name!r} is {array.dtype}{list(array.shape)}; {type_} wanted, or a multiple on axis 0"
            )
        arrays.append(array)
    return arrays


def _runs(graph: Graph, arrays: list[np.ndarray], place: str) -> int:
    runs = set() if graph.inputs else {1}
    for (name, type_), array in zip(graph.inputs.items(), arrays, strict=True):
        if type_.rank == 0:
            runs.add(1)
            continue
        if type_.shape[0] == 0 or len(array) % type_.shape[0]:
            raise NpuqError(
                f"{place}: input {name!r} is {array.dtype}{list(array.shape)}; whole runs of {type_} wanted"
            )
        runs.add(len(array) // type_.shape[0])
    if len(runs) != 1:
        raise NpuqError(
            f"{place}: the inputs hold {' and '.join(map(str, sorted(runs)))} samples; the same number wanted"
        )
    return runs.pop()


def rows_of(graph: Graph) -> dict[str, int]:
    """The number of slices that the indices in an input select from, for each input that is read as indices.

    For indices of several axes it is the longest axis.
    """
    found: dict[str, int] = {}
    for node in graph.nodes:
        sizes = _named_sizes(graph, node)
        if not sizes:
            continue
        source = node.operands[1]
        while source in graph.producers and isinstance(graph.producers[source].op, UNCHANGED):
            source = graph.producers[source].operands[0]
        if source in graph.inputs and graph.inputs[source].dtype.is_integer:
            found[source] = min(max(sizes), found.get(source, max(sizes)))
    return found


def _named_sizes(graph: Graph, node: Node) -> Shape:
    """The sizes of the axes that a node's second operand indexes; none for other ops."""
    shape = graph.types[node.operands[0]].shape if len(node.operands) > 1 else ()
    match node.op:
        case Gather(axis=axis) | GatherElements(axis=axis) | ScatterElements(axis=axis):
            return shape[axis : axis + 1]
        case GatherNd() | ScatterNd():
            first = node.op.batch if isinstance(node.op, GatherNd) else 0
            return shape[first : first + graph.types[node.operands[1]].shape[-1]]
    return ()


def require_all_rows(rows: Mapping[str, int], inputs: Mapping[str, Any]) -> None:
    """Refuse inputs, by name, that hold indices beyond their table; `rows` are those of the graph."""
    for name, size in rows.items():
        if name in inputs:
            require_rows(f"input {name!r}", np.asarray(inputs[name]), size)


def require_rows(place: str, array: np.ndarray, rows: int) -> None:
    """Refuse indices out of bounds: programs clamp them (rule C1), but data of this network contain none."""
    least, greatest = int(array.min(initial=0)), int(array.max(initial=0))
    if least < -rows or greatest >= rows:
        found = greatest if greatest >= rows else least
        raise NpuqError(f"{place}: index {found} for {rows} rows, {-rows} to {rows - 1} wanted")


def _slice(array: np.ndarray, type_: TensorType, run: int) -> np.ndarray:
    return array[run * type_.shape[0] : (run + 1) * type_.shape[0]] if type_.rank else array


def _finite(name: str, type_: TensorType, array: np.ndarray, sample: int) -> np.ndarray:
    with np.errstate(over="ignore"):
        array = np.asarray(array, type_.dtype.numpy, order="C")
    if type_.dtype.is_float:
        bad = array.size - int(np.count_nonzero(np.isfinite(array.astype(np.float32, copy=False))))
        if bad:
            raise NpuqError(f"input {name!r}, sample {sample}: {bad} of {array.size} numbers are NaN or infinite")
    return array
