"""Mixed precision: the templates that quantization takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import Curve, Effort, LutLen, Numbers, Out, Percentile, Target, numbers_of, samples_of
from .source import Source, reads_model


@reads_model
def template(
    model: Source,
    output: Out,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR|FILE", help="As --data of quantize; initial and iohigh need none.")
    ] = None,
    strategy: Annotated[str, typer.Option(help="initial, iohigh, hawq, optimal or auto.")] = "initial",
    ratio: Annotated[float, typer.Option(help="The share of narrow ops, or of what they save.")] = 0.5,
    sqnr: Annotated[float | None, typer.Option(metavar="DB", help="The output SQNR that auto must reach.")] = None,
    saving: Annotated[str, typer.Option(help="What the ratio counts: ops, cycles or bytes.")] = "ops",
    target: Target = "npu",
    method: Annotated[str, typer.Option(help="The method of narrow ops.")] = "kl_v2",
    bits: Annotated[
        int | None, typer.Option(help="The width of all ops, for initial.", show_default="the target's default")
    ] = None,
    lut_len: LutLen = None,
    percentile: Percentile = 0.99999,
    effort: Effort = "standard",
    curve: Curve = None,
    mean: Numbers = None,
    std: Numbers = None,
) -> None:
    """Write a mixed-precision template: a width and a calibration method for every op, chosen by a strategy.

    `npuq quantize --template` reads it. The measurements use --lut-len, --percentile and --effort: give quantize the
    same ones.
    """
    from npuq.backends.write_file import write_file
    from npuq.cli import tables as show
    from npuq.files.outputs import together
    from npuq.ir import NpuqError
    from npuq.mixing.assign import assign
    from npuq.mixing.templates import write_template
    from npuq.passes.target import load_target
    from npuq.report.curve import curve_json

    chosen = load_target(target)
    if curve and strategy in ("initial", "iohigh"):
        raise NpuqError(f"{curve}: strategy {strategy} has no curve; leave out --curve")
    with show.steps() as steps, together() as outputs:
        place, drawn = outputs.file(output), curve and outputs.file(curve)
        steps.start(f"reading {model.name}")
        graph = model.load()
        found = assign(
            graph,
            samples_of(data, graph),
            strategy=strategy,
            ratio=ratio,
            sqnr=sqnr,
            saving=saving,
            target=chosen,
            method=method,
            bits=bits,
            lut_len=lut_len,
            percentile=percentile,
            effort=effort,
            mean=numbers_of("--mean", mean),
            std=numbers_of("--std", std),
            progress=steps.at,
        )
        write_file(place, write_template(graph, found.precision, target=chosen).encode())
        if drawn:
            write_file(drawn, curve_json(found.points).encode())
    show.console().print(show.assignment(found))
