"""Conversion of networks and programs to other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Opset, Out, Shapes, Target, shapes_of
from .source import Source, reads_model


@reads_model
def convert(
    model: Source,
    output: Out,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR|FILE", help="The inputs to compare on; by default random numbers.")
    ] = None,
) -> None:
    """Write a network of any framework as float ONNX (.onnx) or as the IR's text with its arrays beside it (.ir).

    Its results are compared with the framework's; if they differ, nothing is written.
    """
    from npuq.comparison import verify_import
    from npuq.files import graphs as files
    from npuq.files.data import read_data
    from npuq.files.outputs import require_place
    from npuq.ir.errors import NpuqError

    files.require_graph_file(require_place(output))
    graph = model.load()
    samples = None if data is None else read_data(data, graph.inputs)
    try:
        reference = model.original(graph)
    except NpuqError as error:
        typer.echo(f"not compared with the original: {error}")
    else:
        for difference in verify_import.compare_with_original(graph, reference, samples):
            typer.echo(f"compared with {reference.framework}: {difference}")
    files.write_graph(output, graph)


def emit(
    graph: Annotated[
        Path, typer.Argument(help="A quantized graph: .ir text, QDQ .onnx file or .npuq program.", show_default=False)
    ],
    output: Out,
    format_: Annotated[
        str | None, typer.Option("--format", help="npu, exact-onnx or qdq-onnx.", show_default="as the suffix says")
    ] = None,
    target: Target = "npu",
    shape: Shapes = None,
    interface: Annotated[
        str, typer.Option(help="Of exact-onnx: integer, fixed (floats in, integers in float out) or float.")
    ] = "fixed",
    opset: Opset = 21,
) -> None:
    """Write a graph that is quantized already as a program, .npuq, or as an ONNX model of the same integers, .onnx.

    --format qdq-onnx writes a fake-quant graph as a QDQ model instead.
    """
    from npuq.backends.exact_onnx import as_interface
    from npuq.backends.formats import Network, Settings, find_format
    from npuq.backends.qdq import require_opset
    from npuq.backends.write_file import write_file
    from npuq.files.graphs import read_graph
    from npuq.files.outputs import require_place

    chosen, settings = find_format(output, format_), Settings(as_interface(interface), opset)
    require_opset(opset)
    require_place(output)
    write_file(output, chosen.emit(Network(read_graph(graph, shapes_of(shape)), target), settings))
