"""Foreign models to float graphs, one folder per format."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from npuq.ir import Graph, NpuqError

if TYPE_CHECKING:
    from .judge import Original
    from .onnx import Problem

Shapes = Mapping[str, Sequence[int]]

SUFFIXES = {
    ".onnx": "onnx",
    ".prototxt": "caffe",
    ".caffemodel": "caffe",
    ".pt2": "torch",
    ".py": "torch",
    ".pth": "torch",
    ".pt": "torch",
}
"""The framework that writes files of each kind."""

PACKAGES = {"onnx": "onnx", "flax": "jax", "jax": "jax", "jaxlib": "jax", "torch": "torch"}
"""The framework that objects of each package belong to."""

TAKES: Mapping[str, tuple[str, ...]] = {
    "onnx": (),
    "caffe": ("weights",),
    "jax": ("weights", "inputs"),
    "torch": ("weights", "inputs"),
}
"""Every framework, and what it takes besides a source and shapes."""


def load(
    source: Any,
    shapes: Shapes | None = None,
    *,
    weights: Any = None,
    inputs: Any = None,
    framework: str | None = None,
) -> Graph:
    """Read a trained network as a float graph; `shapes` gives the input sizes that its file leaves open.

    `framework` is recognised from the file's suffix or the object's type where it is not named. `weights` and
    example `inputs` go to the frontends that take them.
    """
    module, options = _chosen(source, framework, weights=weights, inputs=inputs)
    graph: Graph = module.load(source, shapes, **options)
    return graph


def check(
    source: Any,
    shapes: Shapes | None = None,
    *,
    weights: Any = None,
    inputs: Any = None,
    framework: str | None = None,
) -> list[Problem]:
    """All problems that keep a network from being read, at once."""
    module, options = _chosen(source, framework, weights=weights, inputs=inputs)
    found: list[Problem] = module.check(source, shapes, **options)
    return found


def original(
    source: Any,
    shapes: Shapes | None = None,
    *,
    weights: Any = None,
    inputs: Any = None,
    framework: str | None = None,
) -> Original:
    """The network as its own framework runs it, or the best judge that there is."""
    module, options = _chosen(source, framework, weights=weights, inputs=inputs)
    found: Original = module.original(source, shapes, **options)
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
        if callable(source):
            return "jax"
        kind = f"objects of type {type(source).__name__}"
    raise NpuqError(f"{kind} are not read; wanted is one of {', '.join(SUFFIXES)}")


def _chosen(source: Any, framework: str | None, **options: Any) -> tuple[Any, dict[str, Any]]:
    """The frontend for a source, and the options that were given."""
    name = framework or recognise(source)
    if name not in TAKES:
        raise NpuqError(f"there is no framework {name!r}; there are {', '.join(TAKES)}")
    given = {option: value for option, value in options.items() if value is not None}
    for option in given:
        if option not in TAKES[name]:
            raise NpuqError(f"{name} models are read without {option} of their own")
    return importlib.import_module(f".{name}", __name__), given
