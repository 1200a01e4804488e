"""Comparison of two networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from . import arguments as flags
from .source import Source, reads_model


@reads_model
def compare(
    reference: Source,
    tested: flags.Side,
    data: flags.OptionalData = None,
    mean: flags.Numbers = None,
    std: flags.Numbers = None,
    alone: Annotated[bool, typer.Option("--alone", help="Measure each layer by itself, too.")] = False,
    sort: Annotated[
        str,
        typer.Option(
            metavar="KEY",
            help="index, mean-relative, cosine, rmse, sqnr, most-relative, most-absolute, above or below; "
            "alone-KEY for the layers alone.",
        ),
    ] = "mean-relative",
    op: flags.Names = None,
    layer: flags.Names = None,
    index: Annotated[str | None, typer.Option(metavar="0-7,17-", help="Places in the reference.")] = None,
    bands: Annotated[str, typer.Option(metavar="PERCENTS", help="The borders of relative errors.")] = "1,10,50,100",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", metavar="FILE", help="Write all measures as .json, too.")
    ] = None,
    all_: flags.All = False,
) -> None:
    """Measure how far each layer of the second network is from the first; layers belong together by name.

    A folder is a dump, as --dump writes it, or holds .npy files named like the layers. The flags of reading a model,
    --mean and --std apply to the reference: give those of quantize.
    """
    from npuq.backends.write_file import write_file
    from npuq.cli import tables as show
    from npuq.comparison import selection
    from npuq.comparison.compare import compare as measure
    from npuq.comparison.compare import to_json
    from npuq.files.graphs import read_side
    from npuq.files.outputs import require_place

    selection.require_measure(sort, alone=alone)
    if output:
        require_place(output)
    one = flags.normalized_as(reference.side(), mean, std)
    other = read_side(tested, reference.shapes)
    borders = selection.bands(bands)
    ranges = selection.index_ranges(index) if index else ()
    with show.steps() as steps:
        samples = flags.samples_of(data, one, other)
        steps.start("comparing", len(samples) if samples else None)
        found = measure(one, other, samples, alone=alone, bands=borders, progress=steps.done)
    rows = selection.selected(found, sort=sort, ops=flags.names_of(op), layers=flags.names_of(layer), indexes=ranges)
    if output:
        write_file(output, to_json(rows).encode())
    show.console().print(show.differences(rows, borders, None if all_ else show.SHOWN))


def diverge(
    program: flags.IntegerSide, other: flags.IntegerSide, data: flags.OptionalData = None, shape: flags.Shapes = None
) -> None:
    """Find the first instruction whose integers differ between two programs, or a program and a dump; exit code 3."""
    from npuq.cli import tables as show
    from npuq.comparison.diverge import diverge as find
    from npuq.files.graphs import read_side

    one, two = (read_side(path, flags.shapes_of(shape)) for path in (program, other))
    with show.steps() as steps:
        samples = flags.samples_of(data, one, two)
        steps.start("comparing", len(samples) if samples else None)
        found = find(one, two, samples, progress=steps.done)
    typer.echo(str(found) if found else "all integers agree")
    if found:
        raise typer.Exit(flags.NOT_VERIFIED)
