"""Dumps: every value of a network on a few samples, an .npy file each, and an index of their names and types."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npuq.backends.simulator import to_edge
from npuq.ir import DType, Graph, NpuqError, Quantization, TensorType, evaluate_by_node, one_line

INDEX = "index.json"
FORMAT = 1
DAMAGE = (OSError, ValueError, KeyError, TypeError, EOFError, MemoryError, NpuqError)


@dataclass(frozen=True)
class Dumped:
    """One value: its file, which holds [samples, *shape], its location and its type, None where there is no index."""

    name: str
    op: str
    place: str
    file: Path
    type: TensorType | None

    def read(self) -> np.ndarray:
        """The whole array, from the disk as it is used."""
        try:
            array: np.ndarray = np.load(self.file, mmap_mode="r", allow_pickle=False)
        except DAMAGE as error:
            raise NpuqError(f"{self.file}: not an array that can be read: {one_line(error)}") from None
        wanted = self.type
        if wanted is not None and (array.dtype != _stored(wanted.dtype) or array.shape[1:] != wanted.shape):
            raise NpuqError(f"{self.file}: {array.dtype}{list(array.shape)}, the index says samples of {wanted}")
        return array


@dataclass(frozen=True)
class Dump:
    """A folder of dumped values in the order of the program."""

    name: str
    folder: Path
    inputs: Mapping[str, Dumped]
    results: Mapping[str, Dumped]

    @property
    def types(self) -> Mapping[str, TensorType]:
        """The types of the results that have one."""
        return {name: value.type for name, value in self.results.items() if value.type is not None}


def write_dump(graph: Graph, batches: Iterable[Sequence[np.ndarray]], folder: str | Path) -> None:
    """Run a graph of any level and write its inputs and all its results, in its types and layout, to a new folder.

    Batches are arrays in the order of the inputs, floats or the graph's own types; they are written unchanged.
    """
    folder = Path(folder)
    runs = [run for batch in batches for run in _runs(graph, batch)]
    if not runs:
        raise NpuqError(f"{graph.name}: no samples to dump; at least one wanted")
    nodes = {name: node for node in graph.nodes for name in node.results}
    rows = [
        _row(name, "input", f"%{name}", TensorType(DType.of(array.dtype), array.shape))
        for name, array in zip(graph.inputs, runs[0][0], strict=True)
    ]
    rows += [_row(name, node.op.name, node.place, graph.types[name]) for name, node in nodes.items()]
    run = evaluate_by_node(graph, list(nodes))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        arrays = []
        for index, row in enumerate(rows):
            # The index makes the file's name unique, the value's name makes it readable.
            row["file"] = f"{index:04d}-{re.sub(r'[^A-Za-z0-9_.-]+', '_', row['name'])[:80]}.npy"
            shape = (len(runs), *row["shape"])
            dtype = _stored(DType(row["dtype"]))
            arrays.append(np.lib.format.open_memmap(folder / row["file"], mode="w+", dtype=dtype, shape=shape))
        for index, (given, typed) in enumerate(runs):
            for array, values in zip(arrays, (*given, *run(typed)), strict=True):
                array[index] = np.asarray(values)
        for array in arrays:
            array.flush()
        head = {"format": FORMAT, "graph": graph.name, "samples": len(runs), "values": rows}
        (folder / INDEX).write_text(json.dumps(head, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise NpuqError(f"{folder}: not written: {error.strerror or error}") from None


def read_dump(folder: str | Path) -> Dump:
    """Open a folder that `write_dump` wrote, or one of .npy files named like the values; raises `NpuqError`."""
    folder = Path(folder)
    if not folder.is_dir():
        raise NpuqError(f"{folder}: there is no such folder")
    if not (folder / INDEX).exists():
        files = sorted(folder.glob("*.npy"))
        if not files:
            raise NpuqError(f"{folder}: no dump: neither {INDEX} nor .npy files in it")
        return Dump(folder.name, folder, {}, {file.stem: Dumped(file.stem, "", "", file, None) for file in files})
    try:
        head = json.loads((folder / INDEX).read_text(encoding="utf-8"))
        if head["format"] != FORMAT:
            raise ValueError(f"format {head['format']}, {FORMAT} wanted")
        values = [_dumped(folder, row) for row in head["values"]]
        name = str(head["graph"])
    except DAMAGE as error:
        raise NpuqError(f"{folder / INDEX}: damaged: {one_line(error)}; dump again") from None
    sides = ({value.name: value for value in values if (value.op == "input") is wanted} for wanted in (True, False))
    return Dump(name, folder, *sides)


def _runs(graph: Graph, batch: Sequence[np.ndarray]) -> Iterator[tuple[list[np.ndarray], list[np.ndarray]]]:
    """The inputs of each run of a batch, unchanged and as the graph takes them."""
    typed, count = to_edge(graph, batch)
    for index in range(count):
        yield (part(graph, [np.asarray(array) for array in batch], index), part(graph, typed, index))


def part(graph: Graph, inputs: Sequence[np.ndarray], index: int) -> list[np.ndarray]:
    """The inputs of one of several runs."""
    return [
        array[index * type_.shape[0] : (index + 1) * type_.shape[0]] if type_.rank else array
        for array, type_ in zip(inputs, graph.input_types, strict=True)
    ]


def _stored(dtype: DType) -> np.dtype[np.generic]:
    """The element type of a file: NumPy's format has no four-bit integers."""
    return np.dtype(np.int8) if dtype is DType.I4 else dtype.numpy


def _row(name: str, op: str, place: str, type_: TensorType) -> dict[str, Any]:
    row = {"name": name, "op": op, "place": place, "file": "", "dtype": str(type_.dtype), "shape": list(type_.shape)}
    quant = type_.quant
    if quant is None:
        return row
    return row | {"scales": list(quant.scales), "zero_points": list(quant.zero_points), "axis": quant.axis}


def _dumped(folder: Path, row: Mapping[str, Any]) -> Dumped:
    quant = None
    if "scales" in row:
        quant = Quantization(tuple(map(float, row["scales"])), tuple(map(int, row["zero_points"])), row["axis"])
    file = str(row["file"])
    if Path(file).name != file:
        raise ValueError(f"file {file!r} is not in the folder")
    type_ = TensorType(DType(row["dtype"]), tuple(map(int, row["shape"])), quant)
    return Dumped(str(row["name"]), str(row["op"]), str(row["place"]), folder / file, type_)
