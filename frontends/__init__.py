"""Foreign models to float graphs, one folder per format."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npuq.ir import Graph, NpuqError

if TYPE_CHECKING:
    from .onnx import Problem

Shapes = Mapping[str, Sequence[int]]

SUFFIXES = {".onnx": "onnx", ".prototxt": "caffe", ".caffemodel": "caffe"}
"""The framework that writes files of each kind."""

PACKAGES = {"onnx": "onnx"}
"""The framework that objects of each package belong to."""

FRAMEWORKS = ("onnx", "caffe")


def load(
    source: Any,
    shapes: Shapes | None = None,
    *,
    weights: str | Path | None = None,
    framework: str | None = None,
) -> Graph:
    """Read a trained network as a float graph; `shapes` gives the input sizes that its file leaves open.

    `framework` is recognised from the file's suffix or the object's type where it is not named. `weights` is the
    second file of the formats that have one.
    """
    chosen = framework or recognise(source)
    graph: Graph = _module(chosen).load(*_arguments(chosen, source, weights), shapes)
    return graph


def check(
    source: str | Path,
    shapes: Shapes | None = None,
    *,
    weights: str | Path | None = None,
    framework: str | None = None,
) -> list[Problem]:
    """All problems that keep a network from being read, at once."""
    chosen = framework or recognise(source)
    found: list[Problem] = _module(chosen).check(*_arguments(chosen, source, weights), shapes)
    return found


def recognise(source: Any) -> str:
    """The framework of a file or an object; raises `NpuqError` that lists what is known."""
    if isinstance(source, (str, Path)):
        suffix = Path(source).suffix
        if suffix in SUFFIXES:
            return SUFFIXES[suffix]
        if Path(source).is_dir():
            raise NpuqError(f"{source}: cannot be read: a folder, a file wanted")
        kind = f"{source}: files of kind {suffix!r}"
    else:
        for cls in type(source).__mro__:
            package = cls.__module__.partition(".")[0]
            if package in PACKAGES:
                return PACKAGES[package]
        kind = f"objects of type {type(source).__name__}"
    raise NpuqError(f"{kind} are not read; wanted is one of {', '.join(SUFFIXES)}")


def _module(framework: str) -> Any:
    """The frontend of a framework."""
    if framework not in FRAMEWORKS:
        raise NpuqError(f"there is no framework {framework!r}; there are {', '.join(FRAMEWORKS)}")
    return importlib.import_module(f".{framework}", __name__)


def _arguments(framework: str, source: Any, weights: str | Path | None) -> tuple[Any, ...]:
    """What a frontend takes before the shapes."""
    if framework == "caffe":
        return Path(source), None if weights is None else Path(weights)
    if weights is not None:
        raise NpuqError(f"{weights}: {framework} models come in one file, without weights of their own")
    return (source,)
