"""The content of a file in a few lines: an ONNX model, an IR text or a program."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

from npuq.backends.formats import PROGRAMS
from npuq.files.graphs import load_text, require_file
from npuq.ir.errors import NpuqError, one_line
from npuq.ir.graph import Graph


def describe(path: str | Path) -> str:
    """Describe a file by its suffix: .onnx, .ir or .npuq.

    Raises `NpuqError` in one line for what is missing, damaged or of another kind.
    """
    path = require_file(path)
    if path.suffix == ".onnx":
        return describe_onnx(path)
    if path.suffix == ".ir":
        return describe_graph(load_text(path))
    if path.suffix in PROGRAMS:
        program = PROGRAMS[path.suffix](path)
        return f"{program.disassemble()}\n{program.cost()}"
    kinds = f".onnx, .ir or {', '.join(PROGRAMS)}"
    raise NpuqError(f"{path}: {path.suffix!r} files cannot be read; supported are {kinds}")


def describe_graph(graph: Graph) -> str:
    """The interface of a graph, its ops and its constants."""
    types = [constant.type for constant in graph.constants.values()]
    lines = [
        f"graph {graph.name}",
        *(f"input {name}: {type_}" for name, type_ in graph.inputs.items()),
        *(f"output {name}: {graph.types[value]}" for name, value in graph.outputs.items()),
        _constants([type_.size for type_ in types], sum(type_.bytes for type_ in types)),
        f"{len(graph.nodes)} ops: {_counted(Counter(node.op.name for node in graph.nodes))}",
        *(f"host {node.place}: {node.op.name}: {node.host}" for node in graph.nodes if node.host),
    ]
    return "\n".join(lines) + "\n"


def describe_onnx(path: Path) -> str:
    """The interface of an ONNX model, its operators and weights."""
    from npuq.frontends.onnx.functions import nodes_within
    from npuq.frontends.onnx.read import opsets, read_model
    from npuq.frontends.onnx.signature import inputs
    from npuq.frontends.problem import DAMAGE

    try:
        model = read_model(path)
        graph = model.graph
        stored = list(graph.initializer)
        stored += [
            attribute.t for node in nodes_within(graph) for attribute in node.attribute if attribute.HasField("t")
        ]
        sizes = [math.prod(tensor.dims) for tensor in stored]
        lines = [
            f"model {graph.name or path.stem}, opset {opsets(model)['']}"
            + (f", made by {model.producer_name} {model.producer_version}".rstrip() if model.producer_name else ""),
            *(f"input {declared}" for declared in inputs(graph)),
            *(f"output {output.name}" for output in graph.output),
            *(f"{entry.key} {entry.value}" for entry in model.metadata_props if entry.key.startswith("npuq.")),
            _constants(sizes, sum(size * _width(tensor.data_type) for size, tensor in zip(sizes, stored, strict=True))),
        ]
        operators = Counter(node.op_type for node in nodes_within(graph))
    except NpuqError as error:
        message = str(error)
        raise type(error)(message if message.startswith(str(path)) else f"{path}: {message}") from None
    except DAMAGE as error:
        raise NpuqError(f"{path}: damaged: {one_line(error)}") from None
    lines.append(f"{operators.total()} operators: {_counted(operators)}")
    return "\n".join(lines) + "\n"


def _constants(sizes: list[int], bytes_: int) -> str:
    return f"{len(sizes)} constants: {sum(sizes):,} numbers, {bytes_:,} bytes"


def _counted(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in counts.most_common())


def _width(data_type: int) -> int:
    """The bytes of one number of an ONNX element type."""
    from onnx import helper

    return int(helper.tensor_dtype_to_np_dtype(data_type).itemsize)


def passes() -> list[tuple[str, str, str]]:
    """The name of every pass, the first sentence of its documentation, and its options with types and defaults."""
    from npuq.passes.pipeline import CATALOGUE
    from npuq.passes.spec import load_all, options

    load_all()
    found = []
    for name, factory in sorted(CATALOGUE.items()):
        known = (f"{key}: {kind}" + (default and f" = {default}") for key, (kind, default) in options(factory).items())
        found.append((name, (factory.__doc__ or "").partition("\n")[0], "\n".join(known)))
    return found
