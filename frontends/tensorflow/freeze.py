"""TensorFlow and Keras models of every form to a frozen graph with named inputs and outputs.

This runs where TensorFlow may be imported: in a child process, or in the user's process for a model in memory.
"""

from __future__ import annotations

import contextlib
import json
import re
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from npuq.ir import NpuqError, one_line

Names = tuple[tuple[str, str], ...]
"""Pairs of a name and its tensor in the frozen graph."""

DEFAULT = "serving_default"
UNKNOWN = re.compile(r"(?:Could not locate class|Unknown layer:?) '?([^\s'.]+)'?")
"""Keras's messages about an unknown layer."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """A GraphDef without variables, its inputs and outputs, whether its scopes are the user's, and Keras's layers."""

    name: str
    graph: bytes
    inputs: Names
    outputs: Names
    own_names: bool = False
    layers: frozenset[str] = frozenset()


def read(path: Path, signature: str | None) -> Frozen:
    if path.is_dir():
        return read_saved_model(path, signature)
    if signature:
        raise NpuqError(f"{path.name}: only SavedModel folders have signatures")
    return read_keras(path) if path.suffix != ".pb" else read_graph(path)


def read_graph(path: Path) -> Frozen:
    """Read a frozen GraphDef; its inputs and outputs are not named yet."""
    import tensorflow as tf

    data = path.read_bytes()
    graph = tf.compat.v1.GraphDef()
    try:
        graph.ParseFromString(data)
    except Exception:  # protobuf's own classes, another one in each of its implementations
        raise NpuqError(f"{path.name}: these {len(data)} bytes are not a TensorFlow graph") from None
    if not graph.node or not all(node.op for node in graph.node):
        raise NpuqError(f"{path.name}: these {len(data)} bytes hold no TensorFlow graph")
    return Frozen(path.stem, data, (), (), own_names=True)


def read_saved_model(path: Path, signature: str | None) -> Frozen:
    """Freeze a SavedModel's signature: the named one, the default one, or the only one."""
    import tensorflow as tf

    try:
        model = tf.saved_model.load(str(path))
    except Exception as error:  # damaged folders raise errors of many classes
        raise NpuqError(f"{path.name}: not a SavedModel that TensorFlow reads: {one_line(error)[:200]}") from None
    known = list(model.signatures)
    key = signature or (DEFAULT if DEFAULT in known else known[0] if len(known) == 1 else None)
    if key not in known:
        listed = ", ".join(known) or "none"
        problem = f"there is no signature {key!r}" if key else "name a signature: --signature"
        raise NpuqError(f"{path.name}: {problem}; the signatures are {listed}")
    function = model.signatures[key]
    inputs, outputs = function.structured_input_signature[1], function.structured_outputs
    return freeze(path.name, function, sorted(inputs), sorted(outputs))


def read_keras(path: Path) -> Frozen:
    """Freeze a .keras or .h5 file; Keras 2 reads its own files if it is installed."""
    if path.suffix == ".keras" and not zipfile.is_zipfile(path):
        raise NpuqError(f"{path.name}: damaged: a .keras file is a zip archive")
    old = path.suffix != ".keras" and _version(path).startswith(("1.", "2."))
    readers = _readers(old)
    failures: list[str] = []
    for keras in readers:
        try:
            model = keras.models.load_model(path, compile=False)
        except Exception as error:  # damaged archives and unknown layers raise errors of many classes
            failures.append(str(error))
        else:
            return of_keras(model, path.stem)
    unknown = UNKNOWN.search(failures[0])
    if unknown:
        raise NpuqError(
            f"{path.name}: the file lacks the code of its layers of class {unknown[1]!r}; where the code is available, "
            "call model.export('folder') and load the folder"
        )
    remedy = "; files of Keras 2 may need it: pip install tf_keras" if old and len(readers) == 1 else ""
    raise NpuqError(f"{path.name}: Keras cannot load it: {' '.join(failures[0].split())[:200]}{remedy}")


def _version(path: Path) -> str:
    """Return the Keras version of an .h5 file; refuse a file with code, since old readers run it."""
    import h5py

    try:
        with h5py.File(path) as file:
            if "model_config" not in file.attrs:
                raise NpuqError(f"{path.name}: weights without a model; save the whole model: model.save(path)")
            if _holds_code(json.loads(file.attrs["model_config"])):
                raise NpuqError(
                    f"{path.name}: loading its Lambda layer would run code; if you trust it, "
                    "call model.export('folder') and load the folder"
                )
            return str(file.attrs.get("keras_version", ""))
    except OSError as error:
        raise NpuqError(f"{path.name}: not an HDF5 file: {one_line(error)[:200]}") from None
    except ValueError as error:
        raise NpuqError(f"{path.name}: damaged: {one_line(error)[:200]}") from None


def _holds_code(part: Any) -> bool:
    """Whether a part of a model's description contains code."""
    if isinstance(part, dict):
        return part.get("class_name") in ("Lambda", "__lambda__") or any(map(_holds_code, part.values()))
    return isinstance(part, list) and any(map(_holds_code, part))


def _readers(old: bool) -> list[Any]:
    import keras

    if not old:
        return [keras]
    try:
        import tf_keras
    except ImportError:
        return [keras]
    return [tf_keras, keras]


def of_keras(model: Any, name: str | None = None) -> Frozen:
    """Freeze a Keras model of either generation for inference; inputs and outputs get their layers' names."""
    import tensorflow as tf

    name = name or model.name
    structure, outputs = _sides(name, model)
    inputs = tf.nest.flatten(structure)

    @tf.function(  # type: ignore[untyped-decorator]  # TensorFlow is untyped
        input_signature=[tf.TensorSpec(one.shape, one.dtype, _layer(one)) for one in inputs]
    )
    def call(*arrays: Any) -> Any:
        return tf.nest.flatten(model(tf.nest.pack_sequence_as(structure, arrays), training=False))

    function = call.get_concrete_function()
    frozen = freeze(name, function, _names(structure), _names(outputs))
    return replace(frozen, layers=frozenset(layer.name for layer in model._flatten_layers(include_self=False)))


def _sides(name: str, model: Any) -> tuple[Any, Any]:
    """Return the symbolic inputs and outputs of a model, in the structure of its call."""
    for inputs, outputs in (("input", "output"), ("inputs", "outputs")):
        # An attribute that Keras does not know yet is None or raises one of these.
        with contextlib.suppress(AttributeError, ValueError):
            if getattr(model, inputs) is not None:
                return getattr(model, inputs), getattr(model, outputs)
    raise NpuqError(
        f"{name}: {type(model).__name__} has no inputs of its own; call it once, export it with "
        "model.export(folder), and load the folder"
    )


def _names(structure: Any) -> list[str]:
    """Return the names of a model's inputs or outputs: a dict's keys, else the names of their layers."""
    import tensorflow as tf

    if isinstance(structure, Mapping) and not any(map(tf.nest.is_nested, structure.values())):
        return sorted(structure)
    return [_layer(tensor) for tensor in tf.nest.flatten(structure)]


def _layer(tensor: Any) -> str:
    """Return the name of a symbolic tensor's layer; further outputs of a layer get a number."""
    layer, _, index = tensor._keras_history
    return f"{layer.name}.{index}" if index else str(layer.name)


def freeze(name: str, function: Any, inputs: Sequence[str], outputs: Sequence[str]) -> Frozen:
    """Turn a function's variables into constants; names are in the order of its flat arguments and results."""
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

    frozen = convert_variables_to_constants_v2(function, lower_control_flow=False)
    graph = frozen.graph.as_graph_def()
    results = [tensor.name for tensor in frozen.outputs]
    return Frozen(
        name,
        graph.SerializeToString(deterministic=True),
        tuple(zip(_distinct(inputs), (tensor.name for tensor in frozen.inputs), strict=True)),
        tuple(zip(_distinct(outputs), results, strict=True)),
    )


def _distinct(names: Sequence[str]) -> list[str]:
    found: list[str] = []
    for name in names:
        number, new = 0, name
        while new in found:
            number += 1
            new = f"{name}.{number}"
        found.append(new)
    return found
