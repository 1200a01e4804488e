"""Pass pipelines over graphs of any level."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Data, Out
from .source import Source, reads_model


@reads_model
def opt(
    model: Source,
    output: Out,
    passes: Annotated[
        str,
        typer.Option(metavar="TEXT", help="The passes, such as 'fold-constants | drop-identity'.", show_default=False),
    ],
    data: Data = None,
    dump: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write the graph after each pass there.", show_default=False)
    ] = None,
    verify_each: Annotated[
        bool, typer.Option("--verify-each", help="Verify the graph after each pass, not only at the end.")
    ] = False,
) -> None:
    """Run passes over a network, or over a graph of any level as .ir text, and write the graph as .ir or .onnx.

    `npuq passes` lists the passes with their options, and `npuq passes --chain quantize` prints a whole chain. Passes
    that calibrate read --data.
    """
    from npuq.cli import tables as show
    from npuq.files.data import read_data
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
        samples = {} if data is None else {"data": read_data(data, graph.inputs)}
        steps.start("running the passes")
        after = dump_to(folder) if folder else None
        state = Result(graph, {**samples, "progress": steps.done})
        result = pipeline.run(state, after_pass=after, verify_each=verify_each)
        write_graph(written, result.graph)
