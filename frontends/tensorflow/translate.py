"""Frozen graphs to ONNX by tf2onnx, and what they compute by TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npuq.ir import NpuqError, one_line

from .freeze import Frozen


def to_onnx(frozen: Frozen) -> bytes:
    """The model that tf2onnx writes; an op without translation stays under its own name."""
    import tensorflow as tf
    from tf2onnx import convert

    try:
        model, _ = convert.from_graph_def(
            tf.compat.v1.GraphDef.FromString(frozen.graph),
            name=frozen.name,
            input_names=[tensor for _, tensor in frozen.inputs],
            output_names=[tensor for _, tensor in frozen.outputs],
            tensors_to_rename={tensor: public for public, tensor in (*frozen.inputs, *frozen.outputs)},
        )
    except Exception as error:  # whatever its parts raise
        raise NpuqError(f"{frozen.name}: tf2onnx cannot translate it: {one_line(error)[:300]}") from None
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def run(frozen: Frozen, arrays: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """What TensorFlow gives for some of a graph's tensors."""
    import tensorflow as tf

    try:
        function = _function(frozen.graph).prune([tensor for _, tensor in frozen.inputs], list(wanted))
        results = function(*(tf.constant(arrays[public]) for public, _ in frozen.inputs))
    except Exception as error:  # TensorFlow's errors at run time are of many classes
        raise NpuqError(f"{frozen.name}: TensorFlow cannot run it: {one_line(error)[:300]}") from None
    return {tensor: result.numpy() for tensor, result in zip(wanted, results, strict=True)}


@functools.lru_cache(1)
def _function(graph: bytes) -> Any:
    import tensorflow as tf

    proto = tf.compat.v1.GraphDef.FromString(graph)
    return tf.compat.v1.wrap_function(lambda: tf.import_graph_def(proto, name=""), [])
