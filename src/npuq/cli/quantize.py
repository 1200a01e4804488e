"""Quantization."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from . import arguments as flags
from .source import Source, reads_model

FIELDS = {"template": "precision", "scales_in": "scales"}
"""The fields of a recipe whose flags have other names."""


@reads_model
def quantize(
    context: typer.Context,
    model: Source,
    data: flags.Data = None,
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DIR", help="The output folder.")] = Path("out"),
    target: flags.Target = "npu",
    method: Annotated[
        str | None,
        typer.Option(
            help="min_max, percentile, mse, kl or kl_v2.",
            show_default="kl_v2; high effort mse; 16 bits min_max x 1.5",
        ),
    ] = None,
    bits: Annotated[int | None, typer.Option(help="The width of activations: 8 or 16.", show_default="8")] = None,
    weight_bits: Annotated[
        int | None, typer.Option(help="The width of weights: 4, 8 or 16.", show_default="as activations")
    ] = None,
    lut_len: flags.LutLen = None,
    percentile: flags.Percentile = 0.99999,
    layer_threshold: Annotated[
        float | None, typer.Option(help="The greatest magnitude beside layer normalizations.")
    ] = None,
    input_dtype: Annotated[
        list[str] | None, typer.Option(help="Type of the inputs: int8, uint8, int16 or float32; one, or one per input.")
    ] = None,
    unify_input_scale: Annotated[
        bool, typer.Option("--unify-input-scale", help="Let all inputs of a Concat share its scale.")
    ] = False,
    effort: flags.Effort = "standard",
    recipe: flags.Recipe = None,
    template: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Widths and methods of single ops: see `npuq template`.")
    ] = None,
    curve: flags.Curve = None,
    mean: flags.Numbers = None,
    std: flags.Numbers = None,
    output_dequant: Annotated[
        bool, typer.Option("--output-dequant", help="Dequantize the outputs of the exact ONNX model.")
    ] = False,
    opset: flags.Opset = 21,
    scales_out: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the scales, as JSON.")] = None,
    scales_in: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Read the scales instead of calibrating.")
    ] = None,
    dump: flags.Dump = None,
    all_: flags.All = False,
) -> None:
    """Calibrate a network and write its program, its exact and its QDQ-ONNX form, a report, the graph after each pass.

    With --mean and --std the program computes (x - mean) / std first: its inputs are raw pixels, as in --data. A model
    that came with scales keeps them, and needs --data only if some are missing.
    """
    from npuq import api
    from npuq.backends.formats import FORMATS, Settings
    from npuq.backends.qdq import require_opset
    from npuq.cli import tables as show
    from npuq.files.graphs import read_text
    from npuq.files.outputs import together
    from npuq.ir import NpuqError
    from npuq.mixing.templates import read_template
    from npuq.passes.pipeline import dump_to
    from npuq.passes.target import load_target
    from npuq.quantization import recipe as recipes
    from npuq.report.curve import read_curve

    chosen = load_target(target)
    require_opset(opset)
    points = () if curve is None else read_curve(read_text(curve), str(curve))
    stem, settings = model.path.stem, Settings("float" if output_dequant else "fixed", opset)
    with show.steps() as steps, together() as outputs:
        folder = outputs.folder(output)
        dumped = dump and outputs.folder(dump)
        scales = scales_out and outputs.file(scales_out)
        steps.start(f"reading {model.name}")
        graph = model.load()
        precision = None
        if template is not None:
            precision = read_template(read_text(template), graph, target=chosen, bits=bits, place=str(template))
        samples = flags.samples_of(data, graph)
        steps.start("calibrating", 0 if samples is None else len(samples))
        options = recipes.Recipe(
            method=method,
            bits=bits,
            weight_bits=weight_bits,
            precision=precision,
            lut_len=lut_len,
            percentile=percentile,
            unify_input_scale=unify_input_scale,
            layer_threshold=layer_threshold,
            input_dtype=input_dtype[0] if input_dtype and len(input_dtype) == 1 else input_dtype,
            effort=effort,
            scales=scales_in,
            mean=flags.numbers_of("--mean", mean),
            std=flags.numbers_of("--std", std),
        )
        if recipe is not None:
            sources = {name: context.get_parameter_source(name) for name in context.params}
            given = {
                FIELDS.get(name, name) for name, source in sources.items() if source and source.name == "COMMANDLINE"
            }
            fields = recipes.RecipeOptions.__annotations__.keys() & given
            options = replace(recipes.Recipe.load(recipe), **{name: getattr(options, name) for name in fields})
        quantized = api.quantize(
            graph,
            samples,
            options,
            target=chosen,
            after_pass=dump_to(folder / "steps"),
            progress=steps.done,
        )
        steps.start("writing the program")
        lacking: dict[str, str] = {}
        for format_ in FORMATS:
            name = stem + format_.ending
            try:
                content = format_.emit(quantized, settings)
            except NpuqError as error:
                # A file of an earlier run would be another program's.
                outputs.drop(output / name)
                lacking[name] = f"no {name}: {error}"
            else:
                (folder / name).write_bytes(content)
        steps.start("measuring the layers", len(quantized.samples))
        report = quantized.measure(steps.done).with_curve(points)
        (folder / "report.json").write_text(report.to_json(), encoding="utf-8")
        report.save_html(folder / "report.html")
        if scales:
            quantized.save_scales(scales)
        if dumped:
            steps.start("dumping the layers")
            quantized.dump(dumped)
    screen = show.console()
    screen.print(show.layers(report, None if all_ else show.SHOWN))
    for note in (*report.notes, *lacking.values()):
        screen.print(f"note: {note}")
    written = ", ".join(name for format_ in FORMATS if (name := stem + format_.ending) not in lacking)
    screen.print(f"\nwritten: {output}/{written}, report.html, report.json, steps/")
