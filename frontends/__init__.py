"""Models of each framework to float graphs, one folder per format."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, Unpack

from npuq.ir import Graph, NpuqError

from .problem import Outcome, Problem
from .specialize import Shapes, Values, fixed_inputs, specialize

if TYPE_CHECKING:
    from .reference import Original

SUFFIXES = {
    ".onnx": "onnx",
    ".tflite": "tflite",
    ".prototxt": "caffe",
    ".caffemodel": "caffe",
    ".pt2": "torch",
    ".py": "torch",
    ".pth": "torch",
    ".pt": "torch",
    ".pb": "tensorflow",
    ".keras": "tensorflow",
    ".h5": "tensorflow",
    ".hdf5": "tensorflow",
    ".pdmodel": "paddle",
    ".pdiparams": "paddle",
    ".json": "paddle",
}
"""The framework that writes files of each kind."""

FOLDERS = {"saved_model.pb": "tensorflow", "inference.pdmodel": "paddle", "inference.json": "paddle"}
"""The framework of a folder by a file inside."""

PACKAGES = {"onnx": "onnx", "flax": "jax", "jax": "jax", "jaxlib": "jax", "torch": "torch"} | dict.fromkeys(
    ("keras", "tf_keras", "tensorflow"), "tensorflow"
)
"""The framework that objects of each package belong to."""

TAKES: Mapping[str, tuple[str, ...]] = {
    "onnx": ("values", "outputs"),
    "tflite": (),
    "caffe": ("weights",),
    "jax": ("weights", "inputs"),
    "torch": ("weights", "inputs"),
    "tensorflow": ("start_nodes", "end_nodes", "signature"),
    "paddle": ("weights",),
}
"""Every framework, and the options of its frontend besides source and shapes."""


class Options(TypedDict, total=False):
    """The options of a source; None is the same as no option.

    The default `framework` is recognized by the file's suffix or the object's type. `weights` is the second file of
    formats that have one, or a Flax module's variables. `inputs` are example inputs, one, a tuple or a dict by name,
    for traced sources: PyTorch modules and JAX functions. `start_nodes` and `end_nodes` cut a TensorFlow model;
    `signature` selects one of a SavedModel's. `values` fixes inputs by name; `outputs` selects other values as outputs.
    """

    framework: str | None
    weights: Any
    inputs: Any
    start_nodes: Sequence[str] | None
    end_nodes: Sequence[str] | None
    signature: str | None
    values: Values | None
    outputs: Sequence[str] | None


def load(source: Any, shapes: Shapes | None = None, **options: Unpack[Options]) -> Graph:
    """Read a trained network as a float graph; `shapes` gives the input sizes that its file leaves open."""
    module, own, (values, outputs) = _frontend(source, **options)
    return specialize(_loaded(module.to_graph(source, shapes, **own)), values, outputs)


def check(source: Any, shapes: Shapes | None = None, **options: Unpack[Options]) -> list[Problem]:
    """List every problem that prevents the import of a network."""
    module, own, _ = _frontend(source, **options)
    outcome: Outcome = module.to_graph(source, shapes, **own)
    return outcome[0].listed()


def original(source: Any, shapes: Shapes | None = None, **options: Unpack[Options]) -> Original:
    """Return the reference of an import: the network in its own framework or the nearest one.

    Other outputs than the network's need a framework that exposes its layers; otherwise raises `NpuqError`.
    """
    module, own, (values, outputs) = _frontend(source, **options)
    found: Original = module.original(source, shapes, **own)
    if not values and not outputs:
        return found
    graph = _loaded(module.to_graph(source, shapes, **own))
    if found.inside is None and not set(outputs or ()) <= set(graph.outputs):
        raise NpuqError(f"{found.framework} does not show its layers, so that other outputs have no reference")
    return found.with_inputs(fixed_inputs(graph, values or {}))


def recognize(source: Any) -> str:
    """Return the framework of a file or an object; raises `NpuqError` with the known ones."""
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.is_dir():
            for name, framework in FOLDERS.items():
                if (path / name).is_file():
                    return framework
            raise NpuqError(f"{source}: a folder without {' or '.join(FOLDERS)}, which is no model")
        suffix = path.suffix
        if suffix in SUFFIXES:
            return SUFFIXES[suffix]
        kind = f"{source}: {suffix!r} files"
    else:
        for cls in type(source).__mro__:
            package = cls.__module__.partition(".")[0]
            if package in PACKAGES:
                return PACKAGES[package]
        if callable(source):
            return "jax"
        kind = f"objects of type {type(source).__name__}"
    raise NpuqError(f"{kind} cannot be read; supported are {', '.join(SUFFIXES)}")


def _loaded(outcome: Outcome) -> Graph:
    problems, graph = outcome
    if graph is None:
        raise problems.error() from problems.cause
    return graph


def _frontend(
    source: Any, framework: str | None = None, **options: Any
) -> tuple[Any, dict[str, Any], tuple[Values | None, Sequence[str] | None]]:
    """Return the frontend of a source, its options, and the options for `specialize`."""
    name = framework or recognize(source)
    if name not in TAKES:
        raise NpuqError(f"there is no framework {name!r}; there are {', '.join(TAKES)}")
    own = {option: value for option, value in options.items() if value is not None}
    common = [own.pop(option, None) if option not in TAKES[name] else None for option in ("values", "outputs")]
    for option in own:
        if option not in TAKES[name]:
            raise NpuqError(f"{name} models are read without {option} of their own")
    return importlib.import_module(f".{name}", __name__), own, (common[0], common[1])
