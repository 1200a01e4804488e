"""The part of a TensorFlow graph between some tensors and others, with the shapes of its inputs fixed."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from npuq.ir import NpuqError, one_line

from .freeze import Frozen

VARIABLES = ("Variable", "VariableV2", "VarHandleOp")
FORMAL = ("Const", "NoOp", "Assert", "Placeholder", "SaveV2", "RestoreV2", "ReadVariableOp", "AssignVariableOp")
"""Ops whose results nobody would call an output."""


def cut(
    frozen: Frozen,
    starts: Sequence[str] | None,
    ends: Sequence[str] | None,
    shapes: Mapping[str, Sequence[int]] | None,
) -> Frozen:
    """What the end nodes need of a graph, down to the start nodes, as a graph of its own.

    Without start nodes the inputs are the graph's own; a graph that does not name its outputs must be given end nodes.
    Sizes in `shapes` are written into the graph, and 1 for an open batch.
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
    """The tensors that users mean by names of nodes, `scope/node` or `scope/node:1`."""
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
    """Nodes whose results nobody uses."""
    used = {_tensor(given).rpartition(":")[0] for node in nodes.values() for given in node.input}
    return (name for name, node in nodes.items() if name not in used and node.op not in FORMAL)


def _tensor(given: str) -> str:
    """A node's operand, as the graph spells it, as a tensor's full name."""
    return given if ":" in given else f"{given}:0"


def _needed(nodes: Mapping[str, Any], tensors: Sequence[str], fed: dict[str, bool]) -> set[str]:
    """The names of all nodes that compute some tensors from those that are fed; notes which of these are read.

    The order of effects does not count.
    """
    needed: set[str] = set()
    left = list(tensors)
    while left:
        tensor = left.pop()
        name = tensor.rpartition(":")[0]
        if tensor in fed:
            fed[tensor] = True
        elif name in nodes and name not in needed:
            needed.add(name)
            left.extend(_tensor(one) for one in nodes[name].input if not one.startswith("^"))
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


def _fresh(tensor: str, taken: set[str]) -> str:
    """A placeholder's name: that of the node that it stands for where this one is not needed itself."""
    node, _, port = tensor.rpartition(":")
    name = node if port == "0" else f"{node}_{port}"
    while name in taken:
        name += "_"
    return name


def _fixed(place: str, known: Any, given: Sequence[int] | None) -> Any:
    """An input's shape as it was given, or with a batch of 1 where that is open."""
    import tensorflow as tf

    if given is not None:
        shape = tf.TensorShape(list(given))
        if not known.is_compatible_with(shape):
            sizes = (",".join("?" if size is None else str(size) for size in one) for one in (shape, known))
            raise NpuqError("{}: shape {} given, {} declared".format(place, *sizes))
        return shape
    if known.rank is not None and known.rank > 1 and known[0] is None:
        return tf.TensorShape([1, *known[1:]])
    return known


def _copy(node: Any, copied: Any, renamed: Mapping[str, str]) -> None:
    """A node over the new inputs, without what it must wait for and what was once known of its shapes."""
    copied.CopyFrom(node)
    del copied.input[:]
    copied.input.extend(
        renamed.get(_tensor(given), given).removesuffix(":0") for given in node.input if not given.startswith("^")
    )
    copied.attr.pop("_output_shapes", None)
    if node.op == "PlaceholderWithDefault":
        copied.op = "Identity"
        copied.attr["T"].type = node.attr["dtype"].type
        for name in ("dtype", "shape"):
            copied.attr.pop(name, None)
