"""Execution of programs."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Out


def run(
    program: Annotated[Path, typer.Argument(help="An .npuq file.", show_default=False)],
    data: Annotated[
        Path, typer.Option("--input", metavar="DIR|FILE", help="As --data of quantize.", show_default=False)
    ],
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
