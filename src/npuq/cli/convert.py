"""Commands that turn one file into another: format conversion, passes, and running programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Data, Opset, Out, Shapes, Target, samples_of, shapes_of
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
    from npuq.files.outputs import require_place
    from npuq.ir.errors import NpuqError

    files.require_graph_file(require_place(output))
    graph = model.load()
    samples = samples_of(data, graph)
    try:
        reference = model.original()
    except NpuqError as error:
        typer.echo(f"not compared with the original: {error}")
    else:
        for difference in verify_import.compare_with_original(graph, reference, samples):
            typer.echo(f"compared with {reference.framework}: {difference}")
    files.write_graph(output, graph)


def emit(
    graph: Annotated[
        Path,
        typer.Argument(help="A quantized graph: .ir text, .npuq program, or model with scales."),
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


@reads_model
def opt(
    model: Source,
    output: Out,
    passes: Annotated[
        str,
        typer.Option(metavar="TEXT", help="The passes, such as 'fold-constants | drop-identity'."),
    ],
    data: Data = None,
    dump: Annotated[Path | None, typer.Option(metavar="DIR", help="Write the graph after each pass there.")] = None,
    verify_each: Annotated[
        bool, typer.Option("--verify-each", help="Verify the graph after each pass, not only at the end.")
    ] = False,
) -> None:
    """Run passes over a network, or over a graph of any level as .ir text, and write the graph as .ir or .onnx.

    `npuq passes` lists the passes with their options, and `npuq passes --chain quantize` prints a whole chain. Passes
    that calibrate read --data.
    """
    from npuq.cli import tables as show
    from npuq.files.graphs import require_graph_file, write_graph
    from npuq.files.outputs import together
    from npuq.ir import Graph, NpuqError
    from npuq.passes.pipeline import Result, dump_to
    from npuq.passes.spec import parse

    require_graph_file(output)
    pipeline = parse(passes)
    with show.steps() as steps, together() as outputs:
        folder = dump and outputs.folder(dump)
        written = outputs.file(output)
        steps.start(f"reading {model.name}")
        graph = model.side()
        if not isinstance(graph, Graph):
            raise NpuqError(f"{model.path}: a dump; a graph wanted")
        samples = samples_of(data, graph)
        given = {} if samples is None else {"data": samples}
        steps.start("running the passes")
        state = Result(graph, {**given, "progress": steps.done})
        try:
            result = pipeline.run(state, after_pass=dump_to(folder) if folder else None, verify_each=verify_each)
        except NpuqError as error:
            (note, *_) = getattr(error, "__notes__", ("while writing the dump",))
            raise type(error)(f"{error} ({note.partition(', of: ')[0]})") from error
        write_graph(written, result.graph)


def run(
    program: Annotated[Path, typer.Argument(help="An .npuq file.")],
    data: Annotated[Path, typer.Option("--input", metavar="DIR|FILE", help="As --data of quantize.")],
    output: Out,
    raw: Annotated[bool, typer.Option("--raw", help="Write the integers instead of the numbers they mean.")] = False,
    verify: Annotated[bool, typer.Option("--verify", help="First check the program's known answers.")] = False,
) -> None:
    """Execute a program on data: one output to an .npy file, several to an .npz file."""
    from npuq.backends.npu import Program
    from npuq.backends.write_file import write_file
    from npuq.files.data import read_data
    from npuq.files.graphs import require_file
    from npuq.files.outputs import require_place
    from npuq.files.results import pack, require_result_file, run_batches

    loaded = Program.load(require_file(program))
    require_result_file(output, tuple(loaded.graph.outputs))
    require_place(output)
    if verify:
        loaded.verify()
    batches = read_data(data, loaded.graph.inputs)
    write_file(output, pack(run_batches(loaded, batches, raw=raw), output))
