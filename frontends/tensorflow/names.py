"""The names of a model that tf2onnx wrote, as the user knows them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING

from ..onnx.functions import nodes_within, subgraphs

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto

CALLS = re.compile(r"(?<![^/])((Stateful)?PartitionedCall(_\d+)?/)+")
"""The scopes of functions that were inlined."""
NUMBERED = re.compile(r"__\d+$")
"""What tf2onnx puts behind the name of a node for which it makes another one."""

RAW = "_raw_output_"
"""What tf2onnx puts behind the name of an output's node."""


def shorten(model: ModelProto, *, keep_scopes: bool, layers: Collection[str] = ()) -> dict[str, str]:
    """Name nodes and values by TensorFlow's nodes: without calls and `:0`, and without scopes that all nodes share.

    Nodes that tf2onnx adds are called by the one they belong to and their operator, `conv/Conv2D.transpose`. With
    `keep_scopes` shared ones stay. `layers` are those of a Keras model, whose scopes may carry a number more. Gives
    the former name of every value.
    """
    graph = model.graph
    _name_outputs(graph)
    kept = {value.name for value in (*graph.input, *graph.output)}
    paths = [node.name for node in graph.node]
    scoped = [CALLS.sub("", path) for path in paths if "/" in path]
    short = "" if keep_scopes else _shared(scoped, layers)
    plain = _unnumbered([CALLS.sub("", path).removeprefix(short) for path in paths], layers)
    taken, renamed = kept | _inner(graph), {name: name for name in kept}

    def path(old: str) -> str:
        return plain(CALLS.sub("", old).removesuffix(":0").removeprefix(short))

    def name(old: str, kind: str) -> str:
        chosen = stem = NUMBERED.sub(f".{kind}", path(old)) if kind else path(old)
        number = 0
        while chosen in taken:
            number += 1
            chosen = f"{stem}.{number}"
        taken.add(chosen)
        return chosen

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
    """The names of the values of branches and loops."""
    branches = [branch for node in nodes_within(graph) for branch in subgraphs(node)]
    found = {value.name for branch in branches for value in (*branch.input, *branch.initializer)}
    return found.union(result for branch in branches for node in branch.node for result in node.output)


def _name_outputs(graph: GraphProto) -> None:
    """Let nodes make the outputs themselves, which tf2onnx copies where others read them or their name differs."""
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
    """The former names of values that are TensorFlow's own, not steps of an op that tf2onnx writes as several."""
    names = {result: former[result].removesuffix(":0") for node in model.graph.node for result in node.output if result}
    steps = {
        NUMBERED.sub("", names[result])
        for node in model.graph.node
        for result in node.output
        if result and node.op_type != "Transpose" and NUMBERED.search(names[result])
    }
    return {new: former[new] for new, name in names.items() if name not in steps and not NUMBERED.search(name)}


def _shared(paths: Iterable[str], layers: Collection[str]) -> str:
    """The scopes, with a slash behind, that all paths begin with; layers are not among them."""
    scopes = [path.split("/")[:-1] for path in paths]
    found = ""
    for parts in zip(*scopes, strict=False):
        if len(set(parts)) > 1 or {parts[0], parts[0].removesuffix("_1")}.intersection(layers):
            break
        found += f"{parts[0]}/"
    return found


def _unnumbered(paths: Iterable[str], layers: Collection[str]) -> Callable[[str], str]:
    """Takes `_1` off the scopes that are layers, where TensorFlow has put it behind each of them."""
    scopes = {scope for path in paths for scope in path.split("/")[:-1]}
    seen = {scope for scope in scopes if scope in layers or scope.removesuffix("_1") in layers}
    if not all(scope.endswith("_1") and scope.removesuffix("_1") in layers for scope in seen):
        seen = set()

    def plain(path: str) -> str:
        *before, last = path.split("/")
        return "/".join([*(scope.removesuffix("_1") if scope in seen else scope for scope in before), last])

    return plain
