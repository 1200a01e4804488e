"""The part of a TensorFlow graph between given tensors, with fixed input shapes."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from npuq.ir import NpuqError, one_line

from .freeze import Frozen

VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
FORMAL = ("Const", "NoOp", "Assert", "Placeholder", "SaveV2", "RestoreV2", "ReadVariableOp", "AssignVariableOp")
"""Ops whose results are not outputs."""


def cut(
    frozen: Frozen,
    starts: Sequence[str] | None,
    ends: Sequence[str] | None,
    shapes: Mapping[str, Sequence[int]] | None,
) -> Frozen:
    """Return the part of a graph from the start nodes to the end nodes.

    Without start nodes the inputs are the graph's. A graph that does not name its outputs needs end nodes. Sizes in
    `shapes`, and 1 for an open batch, are written into the graph.
    """
    import tensorflow as tf

    graph = tf.compat.v1.GraphDef.FromString(frozen.graph)
    nodes = {node.name: node for node in graph.node}
    try:
        with tf.Graph().as_default() as whole:
            tf.import_graph_def(graph, name="")
    except Exception as error:  # TensorFlow's checks raise errors of many classes
        raise NpuqError(f"{frozen.name}: TensorFlow cannot read this graph: {one_line(error)[:300]}") from None
    outputs = _tensors(frozen, whole, ends) if ends else frozen.outputs
    if not outputs:
        likely = ", ".join(list(_ends(nodes))[-5:]) or "none"
        raise NpuqError(
            f"{frozen.name}: its end nodes are not known; name them: --end-nodes A,B; without users are {likely}"
        )
    inputs = _tensors(frozen, whole, starts) if starts else frozen.inputs or _placeholders(nodes)
    fed = {tensor: False for _, tensor in inputs}
    needed = _needed(nodes, [tensor for _, tensor in outputs], fed)
    if not starts and (ends or not frozen.inputs):
        inputs = tuple((public, tensor) for public, tensor in inputs if fed[tensor])
    _require_known(frozen.name, [nodes[name] for name in needed])

    part = tf.compat.v1.GraphDef(versions=graph.versions, library=graph.library)
    renamed: dict[str, str] = {}
    for public, tensor in inputs:
        known = whole.get_tensor_by_name(tensor)
        name = _fresh(tensor, needed)
        renamed[tensor] = f"{name}:0"
        node = part.node.add(name=name, op="Placeholder")
        node.attr["dtype"].type = known.dtype.as_datatype_enum
        shape = _fixed(f"{frozen.name}: input {public}", known.shape, (shapes or {}).get(public))
        node.attr["shape"].shape.CopyFrom(shape.as_proto())
    for name in sorted(needed, key=list(nodes).index):
        _copy(nodes[name], part.node.add(), renamed)
    return replace(
        frozen,
        graph=part.SerializeToString(deterministic=True),
        inputs=tuple((public, renamed[tensor]) for public, tensor in inputs),
        outputs=tuple((public, renamed.get(tensor, tensor)) for public, tensor in outputs),
    )


def _tensors(frozen: Frozen, whole: Any, names: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the tensors of node names, `scope/node` or `scope/node:1`."""
    found = []
    for name in names:
        tensor = name if ":" in name else f"{name}:0"
        try:
            whole.get_tensor_by_name(tensor)
        except (KeyError, ValueError):
            known = [node.name for node in whole.get_operations() if node.outputs]
            last = [one for one in known if one.endswith(f"/{name}")]
            within = [one for one in known if name in one]
            near = last[:3] or difflib.get_close_matches(name, known, 3, 0.5) or within[-3:]
            listed = f"; near it: {', '.join(near)}" if near else ""
            raise NpuqError(f"{frozen.name}: there is no node {name!r}{listed}") from None
        found.append((name.removesuffix(":0"), tensor))
    return tuple(found)


def _placeholders(nodes: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    return tuple((name, f"{name}:0") for name, node in nodes.items() if node.op == "Placeholder")


def _ends(nodes: Mapping[str, Any]) -> Iterator[str]:
    used = {_tensor(operand).rpartition(":")[0] for node in nodes.values() for operand in node.input}
    return (name for name, node in nodes.items() if name not in used and node.op not in FORMAL)


def _tensor(operand: str) -> str:
    """Return the full name of a tensor that a node lists as its operand."""
    return operand if ":" in operand else f"{operand}:0"


def _needed(nodes: Mapping[str, Any], tensors: Sequence[str], fed: dict[str, bool]) -> set[str]:
    """Return the names of all nodes that compute tensors from fed ones, and mark in `fed` which of those are read.

    Control dependencies are ignored.
    """
    needed: set[str] = set()
    pending = list(tensors)
    while pending:
        tensor = pending.pop()
        name = tensor.rpartition(":")[0]
        if tensor in fed:
            fed[tensor] = True
        elif name in nodes and name not in needed:
            needed.add(name)
            pending.extend(_tensor(one) for one in nodes[name].input if not one.startswith("^"))
    return needed


def _require_known(place: str, nodes: Sequence[Any]) -> None:
    """Refuse nodes whose values are not in the graph."""
    for node in nodes:
        if node.op == "Placeholder":
            raise NpuqError(f"{place}: the end nodes need placeholder {node.name!r} too; add it to the start nodes")
        if node.op in VARIABLES:
            raise NpuqError(
                f"{place}: not frozen: {node.name!r} is a variable; freeze the graph, or load the SavedModel's folder"
            )


def _fresh(tensor: str, used: set[str]) -> str:
    """Return a name for the placeholder of a tensor: its node's, unless the graph still needs that node."""
    node, _, port = tensor.rpartition(":")
    name = node if port == "0" else f"{node}_{port}"
    while name in used:
        name += "_"
    return name


def _fixed(place: str, declared: Any, sizes: Sequence[int] | None) -> Any:
    """Return the shape of an input: the user's, or the declared one with a batch of 1 if that is open."""
    import tensorflow as tf

    if sizes is not None:
        shape = tf.TensorShape(list(sizes))
        if not declared.is_compatible_with(shape):
            texts = (",".join("?" if size is None else str(size) for size in one) for one in (shape, declared))
            raise NpuqError("{}: shape {} given, {} declared".format(place, *texts))
        return shape
    if declared.rank is not None and declared.rank > 1 and declared[0] is None:
        return tf.TensorShape([1, *declared[1:]])
    return declared


def _copy(node: Any, copied: Any, renamed: Mapping[str, str]) -> None:
    """Copy a node onto the new inputs, without control dependencies and recorded shapes."""
    copied.CopyFrom(node)
    del copied.input[:]
    copied.input.extend(
        renamed.get(_tensor(name), name).removesuffix(":0") for name in node.input if not name.startswith("^")
    )
    copied.attr.pop("_output_shapes", None)
    if node.op == "PlaceholderWithDefault":
        copied.op = "Identity"
        copied.attr["T"].type = node.attr["dtype"].type
        for name in ("dtype", "shape"):
            copied.attr.pop(name, None)
