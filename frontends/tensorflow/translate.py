"""Translate frozen graphs with tf2onnx, and run them with TensorFlow."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from npuq.ir import NpuqError, one_line

from .freeze import Frozen


def _erfc(graph: Any, node: Any, name: str, arguments: Any) -> None:
    """Write 1 - erf(x), a part of Keras's GELU that tf2onnx lacks."""
    dtype = graph.get_dtype(node.output[0])
    (x,), results, shape = node.input, list(node.output), graph.get_shape(node.output[0])
    graph.remove_node(name)
    erf = graph.make_node("Erf", [x], name=f"{name}/erf", shapes=[shape], dtypes=[dtype])
    one = graph.make_const(f"{name}/one", np.ones((), np.float32))
    graph.make_node("Sub", [one.output[0], erf.output[0]], name=name, outputs=results, shapes=[shape], dtypes=[dtype])


HANDLERS: dict[str, Any] = {"Erfc": (_erfc, [])}
"""Handlers of ops that tf2onnx lacks."""


def to_onnx(frozen: Frozen) -> bytes:
    """Return tf2onnx's model, not optimized; an op that it does not translate keeps its name."""
    import tensorflow as tf
    from tf2onnx import tf_loader, tfonnx

    inputs, outputs = ([tensor for _, tensor in pairs] for pairs in (frozen.inputs, frozen.outputs))
    graph = tf.compat.v1.GraphDef.FromString(frozen.graph)
    # These marks, which Keras puts on grouped and channels-first convolutions, prevent inlining.
    for marked in (*graph.node, *graph.library.function, *(n for f in graph.library.function for n in f.node_def)):
        for mark in ("_XlaMustCompile", "_noinline"):
            marked.attr.pop(mark, None)
    try:
        with tf.Graph().as_default():
            tf.import_graph_def(graph, name="")
            folded = tf_loader.tf_optimize(inputs, outputs, graph)
        with tf.Graph().as_default() as loaded:
            tf.import_graph_def(folded, name="")
            translated = tfonnx.process_tf_graph(
                loaded,
                continue_on_error=True,
                input_names=inputs,
                output_names=outputs,
                custom_op_handlers=HANDLERS,
                tensors_to_rename={tensor: public for public, tensor in (*frozen.inputs, *frozen.outputs)},
            )
        translated.topological_sort(translated.get_nodes())
        model = translated.make_model(frozen.name)
    except Exception as error:  # tf2onnx raises errors of many classes
        raise NpuqError(f"{frozen.name}: tf2onnx cannot translate it: {one_line(error)[:300]}") from None
    written: bytes = model.SerializeToString(deterministic=True)
    return written


def run(frozen: Frozen, arrays: Mapping[str, np.ndarray], wanted: Sequence[str]) -> dict[str, np.ndarray]:
    """Run a graph in TensorFlow; return those of the tensors that it has."""
    import tensorflow as tf

    function = _function(frozen.graph)
    known = {f"{node.name}:{index}" for node in function.graph.get_operations() for index in range(len(node.outputs))}
    fetched = [tensor for tensor in wanted if tensor in known]
    try:
        pruned = function.prune([tensor for _, tensor in frozen.inputs], fetched)
        results = pruned(*(tf.constant(arrays[public]) for public, _ in frozen.inputs))
    except Exception as error:  # TensorFlow's errors at run time are of many classes
        raise NpuqError(f"{frozen.name}: TensorFlow cannot run it: {one_line(error)[:300]}") from None
    return {tensor: result.numpy() for tensor, result in zip(fetched, results, strict=True)}


@functools.lru_cache(1)
def _function(graph: bytes) -> Any:
    import tensorflow as tf

    proto = tf.compat.v1.GraphDef.FromString(graph)
    return tf.compat.v1.wrap_function(lambda: tf.import_graph_def(proto, name=""), [])
