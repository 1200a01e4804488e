"""Files of graphs of any level, by their suffix."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from npuq.backends.formats import FORMATS, PROGRAMS, Format, Network, Settings
from npuq.backends.write_file import write_file
from npuq.ir.errors import NpuqError, ParseError, one_line
from npuq.ir.graph import Constant, Graph
from npuq.ir.types import DType

if TYPE_CHECKING:
    from npuq.comparison.dump import Dump

Shapes = Mapping[str, Sequence[int]]


def read_graph(path: str | Path, shapes: Shapes | None = None) -> Graph:
    """Read the graph of a model's file, an .ir text or a .npuq program.

    Raises `NpuqError` in one line for files that are missing, damaged or of another kind.
    """
    path = require_file(path)
    if shapes and not is_model(path):
        raise NpuqError(f"{path}: shapes given, but those of {path.suffix} files are fixed; leave them out (--shape)")
    if path.suffix in PROGRAMS:
        return PROGRAMS[path.suffix](path).graph
    if path.suffix == ".ir":
        return load_text(path)
    from npuq.frontends import SUFFIXES, load

    if path.suffix in SUFFIXES:
        return load(path, shapes)
    kinds = ", ".join((*SUFFIXES, ".ir"))
    raise NpuqError(f"{path}: {path.suffix!r} files cannot be read; supported are {kinds} or {', '.join(PROGRAMS)}")


def write_graph(path: str | Path, graph: Graph) -> None:
    """Write a float or fake-quant graph as an .onnx model, or any graph as .ir text with its arrays in `blobs/`."""
    path = Path(path)
    format_ = require_graph_file(path)
    if format_ is not None:
        write_file(path, format_.emit(Network(graph), Settings()))
        return
    from npuq.passes.pipeline import save_text

    try:
        save_text(graph, path)
    except OSError as error:
        raise NpuqError(f"{path}: not written: {error.strerror or error}") from None


def require_graph_file(path: Path) -> Format | None:
    """The format in which `write_graph` writes a file, None for .ir text; raises `NpuqError` for other suffixes."""
    known = {one.suffix: one for one in FORMATS if one.level == "fake-quant"}
    if path.suffix not in (*known, ".ir"):
        kinds = " or ".join((*known, ".ir"))
        raise NpuqError(f"{path}: {path.suffix!r} files cannot be written; supported are {kinds}")
    return known.get(path.suffix)


def read_side(path: str | Path, shapes: Shapes | None = None) -> Graph | Dump:
    """Read a graph from a file, or a dump from a folder; `shapes` are those of a framework's model."""
    from npuq.comparison.dump import read_dump
    from npuq.frontends import load

    path = Path(path)
    if path.is_dir():
        return load(path, shapes) if is_model(path) else read_dump(path)
    return read_graph(path, shapes if is_model(path) else None)


def is_model(path: Path) -> bool:
    """Whether a file or folder is a framework's model rather than an IR text, a program or a dump."""
    from npuq.frontends import FOLDERS

    if path.is_dir():
        return any((path / name).is_file() for name in FOLDERS)
    return path.suffix not in (*PROGRAMS, ".ir")


def require_path(path: str | Path) -> Path:
    """The path of a file or folder that exists."""
    path = Path(path)
    if not path.exists():
        raise NpuqError(f"{path}: there is no such file")
    return path


def require_file(path: str | Path) -> Path:
    """The path of a file that exists."""
    path = require_path(path)
    if path.is_dir():
        raise NpuqError(f"{path}: a folder, a file wanted")
    return path


def read_text(path: str | Path) -> str:
    """The text of a file."""
    path = require_file(path)
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise NpuqError(f"{path}: cannot be read: {one_line(error)}") from None


def load_text(path: str | Path) -> Graph:
    """Read a graph that `npuq.passes.pipeline.save_text` wrote, with the arrays in `blobs/` beside it."""
    from npuq.ir.parser import parse
    from npuq.ir.verify import verify

    path = Path(path)
    text = read_text(path)
    try:
        return verify(parse(text, _Blobs(path.parent / "blobs"), source=str(path)))
    except NpuqError as error:
        message = str(error)
        raise type(error)(message if message.startswith(str(path)) else f"{path}: {message}") from None


class _Blobs(Mapping[str, np.ndarray]):
    """The arrays of a folder by the digest of their content, which is checked as they are read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __contains__(self, digest: object) -> bool:
        return self._file(str(digest)).is_file()

    def __getitem__(self, digest: str) -> np.ndarray:
        file = self._file(digest)
        try:
            array: np.ndarray = np.load(file, allow_pickle=False)
        except (OSError, ValueError, EOFError, MemoryError) as error:
            raise ParseError(f"{file}: not a NumPy file that can be read: {one_line(error)}") from None
        # Four-bit numbers are stored as bytes, since NumPy's format does not know them.
        for stored in (array, array.astype(DType.I4.numpy)) if array.dtype == np.int8 else (array,):
            if Constant.of(stored).digest == digest:
                return stored
        raise ParseError(f"{file}: damaged: its content does not match its name")

    def __iter__(self) -> Iterator[str]:
        return (file.stem for file in sorted(self.folder.glob("*.npy")))

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def _file(self, digest: str) -> Path:
        # A name from inside a file must not lead out of the folder.
        return self.folder / f"{digest if digest.isalnum() else ''}.npy"
