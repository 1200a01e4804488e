"""The user's names for the nodes and values of a model that tf2onnx wrote."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ..onnx.functions import nodes_within, subgraphs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

CALLS = re.compile(r"(?<![^/])((Stateful)?PartitionedCall(_\d+)?/)+")
"""The scopes of inlined functions."""
NUMBERED = re.compile(r"__\d+$")
"""The suffix of a node that tf2onnx adds for another node."""

RAW = "_raw_output_"
"""The suffix of an output's node in tf2onnx."""


def shorten(model: ModelProto, *, keep_scopes: bool, layers: Collection[str] = ()) -> dict[str, str]:
    """Name nodes and values by TensorFlow's nodes: without calls and `:0`, and without scopes that all nodes share.

    A node that tf2onnx adds is named after its node and its operator, `conv/Conv2D.transpose`. With `keep_scopes`
    shared scopes stay. `layers` are those of a Keras model, whose scopes may have a number appended. Returns the former
    name of every value.
    """
    graph = model.graph
    _name_outputs(graph)
    public = {value.name for value in (*graph.input, *graph.output)}
    paths = [node.name for node in graph.node]
    scoped = [CALLS.sub("", path) for path in paths if "/" in path]
    short = "" if keep_scopes else _shared(scoped, layers)
    plain = _unnumbered([CALLS.sub("", path).removeprefix(short) for path in paths], layers)
    used, renamed = public | _inner(graph), {name: name for name in public}

    def path(old: str) -> str:
        return plain(CALLS.sub("", old).removesuffix(":0").removeprefix(short))

    def name(old: str, kind: str) -> str:
        new = stem = NUMBERED.sub(f".{kind}", path(old)) if kind else path(old)
        number = 0
        while new in used:
            number += 1
            new = f"{stem}.{number}"
        used.add(new)
        return new

    for node in graph.node:
        for result in node.output:
            if result and result not in renamed:
                renamed[result] = name(result, node.op_type.lower())
    for tensor in graph.initializer:
        if tensor.name not in renamed:
            renamed[tensor.name] = name(tensor.name, "")
        tensor.name = renamed[tensor.name]
    for node in nodes_within(graph):
        for names in (node.input, node.output):
            names[:] = [renamed.get(old, old) for old in names]
        for value in (value for branch in subgraphs(node) for value in branch.output):
            value.name = renamed.get(value.name, value.name)
    for node in graph.node:
        node.name = NUMBERED.sub(f".{node.op_type.lower()}", path(node.name))
    del graph.value_info[:]
    return {new: old for old, new in renamed.items()}


def _inner(graph: GraphProto) -> set[str]:
    branches = [branch for node in nodes_within(graph) for branch in subgraphs(node)]
    found = {value.name for branch in branches for value in (*branch.input, *branch.initializer)}
    return found.union(result for branch in branches for node in branch.node for result in node.output)


def _name_outputs(graph: GraphProto) -> None:
    """Replace tf2onnx's copies of outputs, made for other readers or names, by the outputs' own nodes."""
    outputs = {value.name for value in graph.output}
    copies = [node for node in graph.node if node.op_type == "Identity" and node.output[0] in outputs]
    named = {node.input[0]: node.output[0] for node in copies if RAW in node.input[0]}
    for node in copies:
        if named.get(node.input[0]) == node.output[0]:
            graph.node.remove(node)
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [named.get(name, name) for name in names]


def unchanged(model: ModelProto, former: Mapping[str, str]) -> dict[str, str]:
    """Return the former names of TensorFlow's values, without the steps of ops that tf2onnx expands."""
    names = {result: former[result].removesuffix(":0") for node in model.graph.node for result in node.output if result}
    steps = {
        NUMBERED.sub("", names[result])
        for node in model.graph.node
        for result in node.output
        if result and node.op_type != "Transpose" and NUMBERED.search(names[result])
    }
    return {new: former[new] for new, name in names.items() if name not in steps and not NUMBERED.search(name)}


def _shared(paths: Iterable[str], layers: Collection[str]) -> str:
    """Return the scopes that all paths begin with, except layers, with a final slash."""
    scopes = [path.split("/")[:-1] for path in paths]
    found = ""
    for parts in zip(*scopes, strict=False):
        if len(set(parts)) > 1 or {parts[0], parts[0].removesuffix("_1")}.intersection(layers):
            break
        found += f"{parts[0]}/"
    return found


def _unnumbered(paths: Iterable[str], layers: Collection[str]) -> Callable[[str], str]:
    """Return a function that removes `_1` from layers' scopes, if TensorFlow appended it to all of them."""
    scopes = {scope for path in paths for scope in path.split("/")[:-1]}
    numbered = {scope for scope in scopes if scope in layers or scope.removesuffix("_1") in layers}
    if not all(scope.endswith("_1") and scope.removesuffix("_1") in layers for scope in numbered):
        numbered = set()

    def plain(path: str) -> str:
        *before, last = path.split("/")
        return "/".join([*(scope.removesuffix("_1") if scope in numbered else scope for scope in before), last])

    return plain
