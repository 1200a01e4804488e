"""Descriptions of models, targets and passes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from .arguments import USER_ERROR, Recipe, Target
from .source import Source, reads_model


def inspect(file: Annotated[Path, typer.Argument(help=".onnx, .ir or .npuq")]) -> None:
    """Describe a model, a graph's text, or a program: the latter with every instruction and its cost."""
    from npuq.files.describe import describe

    typer.echo(describe(file), nl=False)


@reads_model
def check(
    model: Source,
    target: Target = "npu",
    bits: Annotated[int | None, typer.Option(help="The width of activations: 8 or 16.", show_default="8")] = None,
) -> None:
    """List all problems of a model at once or, if there are none, where each layer will run, and why not on the NPU."""
    from npuq.check import check as find
    from npuq.cli import tables as show

    found = find(model.path, target, model.shapes, bits=bits, **model.options)
    show.console().print(show.verdict(found, model.name, target))
    if found.problems:
        raise typer.Exit(USER_ERROR)


def targets() -> None:
    """List the targets that come with npuq."""
    from npuq.cli import tables as show
    from npuq.passes.target import load_target
    from npuq.passes.target import targets as names

    show.console().print(show.targets(map(load_target, names())))


def passes(
    chain: Annotated[
        str | None, typer.Option(metavar="NAME", help="Print a whole chain instead: canonicalize or quantize.")
    ] = None,
    target: Target = "npu",
    recipe: Recipe = None,
) -> None:
    """List the passes with their purposes and options, or print a chain as `npuq opt --passes` takes it."""
    from npuq.cli import tables as show
    from npuq.ir.errors import NpuqError
    from npuq.passes.spec import text_of
    from npuq.quantization import recipe as recipes

    if chain is None:
        from npuq.files.describe import passes as known

        show.console().print(show.passes(known()))
        return
    chosen = recipes.Recipe() if recipe is None else recipes.Recipe.load(recipe)
    chains = {"canonicalize": lambda: chosen.preparation(), "quantize": lambda: chosen.pipeline(target)}
    if chain not in chains:
        raise NpuqError(f"there is no chain {chain!r}; there are {', '.join(chains)}")
    typer.echo(text_of(chains[chain]()))
