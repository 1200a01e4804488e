"""The names of a model that tf2onnx wrote, as the user knows them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from onnx import ModelProto

CALLS = re.compile(r"^((Stateful)?PartitionedCall(_\d+)?/)+")
"""The scopes of functions that were inlined."""
NUMBERED = re.compile(r"__\d+$")
"""What tf2onnx puts behind the name of a node for which it makes another one."""


def shorten(model: ModelProto, *, scopes: bool) -> None:
    """Name nodes and values by TensorFlow's nodes: without calls and `:0`, and without scopes that all nodes share.

    Nodes that tf2onnx adds are called by the one they belong to and their operator, `conv/Conv2D.transpose`. With
    `scopes` the shared ones stay.
    """
    graph = model.graph
    kept = {value.name for value in (*graph.input, *graph.output)}
    paths = [CALLS.sub("", node.name) for node in graph.node]
    shared = "" if scopes else _shared([path for path in paths if "/" in path])
    taken = set(kept)
    renamed: dict[str, str] = {}

    def name(old: str, kind: str) -> None:
        bare = CALLS.sub("", old).removesuffix(":0").removeprefix(shared)
        chosen = stem = NUMBERED.sub(f".{kind}", bare) if kind else bare
        number = 0
        while chosen in taken:
            number += 1
            chosen = f"{stem}.{number}"
        taken.add(chosen)
        renamed[old] = chosen

    for node in graph.node:
        for result in node.output:
            if result and result not in kept:
                name(result, node.op_type.lower())
    for tensor in graph.initializer:
        if tensor.name not in kept:
            name(tensor.name, "")
        tensor.name = renamed.get(tensor.name, tensor.name)
    for node, path in zip(graph.node, paths, strict=True):
        node.name = NUMBERED.sub(f".{node.op_type.lower()}", path.removeprefix(shared))
        for names in (node.input, node.output):
            for index, old in enumerate(names):
                names[index] = renamed.get(old, old)
    del graph.value_info[:]


def _shared(paths: list[str]) -> str:
    """The scopes, with a slash behind, that all paths begin with."""
    if not paths:
        return ""
    first, last = min(paths).split("/")[:-1], max(paths).split("/")[:-1]
    count = next((i for i, (one, two) in enumerate(zip(first, last, strict=False)) if one != two), None)
    parts = first[: min(len(first), len(last)) if count is None else count]
    return "".join(f"{part}/" for part in parts)
