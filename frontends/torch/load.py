"""Exported programs to float graphs: PyTorch writes ONNX, which the ONNX frontend reads."""

from __future__ import annotations

import ast
import logging
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from npuq.ir import NpuqError, one_line

from .. import onnx as onnx_frontend
from ..problem import Outcome
from ..reference import Arrays, Original
from ..specialize import Shapes
from .source import Source, program

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto


def to_graph(source: Any, shapes: Shapes | None = None, *, inputs: Any = None, weights: Any = None) -> Outcome:
    """Translate a module, an exported program, a .pt2 file, or an architecture's .py file to a float graph.

    `inputs` are example inputs of a module: one, a tuple in order, or a dict by name, of tensors or arrays; `shapes`
    are enough for float inputs. `weights` is a state dict or its .pth file. Modules are traced in evaluation mode;
    raises `NpuqError` for those that cannot be traced.
    """
    exported = program(source, shapes, inputs, weights)
    return onnx_frontend.to_graph(to_onnx(exported), exported.shapes)


def original(source: Any, shapes: Shapes | None = None, *, inputs: Any = None, weights: Any = None) -> Original:
    exported = program(source, shapes, inputs, weights)
    graph = to_onnx(exported).graph
    inputs_, outputs = ([value.name for value in values] for values in (graph.input, graph.output))
    call = exported.run

    def run(arrays: Arrays) -> Arrays:
        return dict(zip(outputs, call(*(arrays[name] for name in inputs_)), strict=True))

    return Original("PyTorch", run)


def to_onnx(source: Source) -> ModelProto:
    """Export with PyTorch, not optimized; name nodes and values by the paths of the user's modules."""
    import torch

    try:
        with _quiet():
            written = torch.onnx.export(source.program, dynamo=True, verbose=False, optimize=False)
    except Exception as error:  # the exporter's classes are not public
        reason = one_line(error.__cause__ or error)
        raise NpuqError(f"{source.name}: PyTorch cannot write it as ONNX: {reason[:300]}") from error
    model: ModelProto = written.model_proto
    model.graph.name = source.name
    _rename(model)
    return model


@contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's log messages and warnings."""
    disabled = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)


def _rename(model: ModelProto) -> None:
    """Name nodes and their results by their module; the last of a module has the bare path."""
    graph = model.graph
    used = {value.name for value in (*graph.input, *graph.output)} | {tensor.name for tensor in graph.initializer}
    paths = [_path(node) for node in graph.node]
    count, position = Counter(paths), Counter[str]()
    renamed: dict[str, str] = {}
    for node, path in zip(graph.node, paths, strict=True):
        if not path:
            continue
        position[path] += 1
        node.name = path if count[path] == position[path] else f"{path}.{node.op_type.lower()}"
        for name in node.output:
            if name and name not in used:
                new, number = node.name, 0
                while new in used:
                    number += 1
                    new = f"{node.name}.{number}"
                used.add(new)
                renamed[name] = new
    for node in graph.node:
        for names in (node.input, node.output):
            for index, name in enumerate(names):
                names[index] = renamed.get(name, name)
    del graph.value_info[:]


def _path(node: NodeProto) -> str:
    """The dotted path of the innermost module around a node, or ""."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            scopes = [str(scope) for scope in ast.literal_eval(entry.value)]
            return scopes[-2] if len(scopes) > 1 else ""
    return ""
