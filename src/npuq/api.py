"""The public functions: load, quantize, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Unpack

import jax

from npuq import frontends, ir
from npuq.frontends import Options
from npuq.ir import Graph, NpuqError
from npuq.passes.calibration.samples import Data
from npuq.passes.canonical.channels_first_inputs import channels_first_inputs
from npuq.passes.pipeline import AfterPass
from npuq.passes.quantize.take_scales import has_scales
from npuq.passes.target import Target, load_target

from .comparison.compare import Progress
from .quantization.calibrated import Observer, calibrate
from .quantization.quantized import Quantized
from .quantization.recipe import Recipe, RecipeOptions, recipe_of


def load(
    source: Any,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    channels_first: bool = False,
    **options: Unpack[Options],
) -> Graph:
    """Import a model as a float graph.

    `source` is a file, folder or object of any framework in docs/frontends.md; `framework` names it where it cannot be
    recognized. `weights` is the second file of formats that have one, or a Flax module's variables; `inputs` are
    example inputs, one, a tuple or a dict by name, of traced PyTorch modules and JAX functions. `start_nodes` and
    `end_nodes`, lists of names, cut a TensorFlow model; `signature` chooses one of a SavedModel's. `values` fixes
    inputs by name, and `outputs` are the values to end with, instead of the model's own. `shapes` gives the shapes of
    inputs that the model leaves open. With `channels_first` inputs [N,H,W,C] become [N,C,H,W]. Raises `NpuqError` for a
    damaged file, an unknown operator or a missing shape.
    """
    graph = frontends.load(source, shapes, **options)
    return channels_first_inputs()(graph) if channels_first else graph


def quantize(
    graph: Graph,
    data: Data | Observer | None = None,
    recipe: Recipe | None = None,
    *,
    target: str | Target = "npu",
    after_pass: AfterPass | None = None,
    progress: Progress | None = None,
    **options: Unpack[RecipeOptions],
) -> Quantized:
    """Turn a float graph into an exact integer program for a target.

    `data` is the calibration set: an array [samples, ...] for a single input, a dict of arrays by input name, a tuple
    in the order of the inputs, an iterable of these, of any length (memory does not grow), or an `Observer` of them. It
    may be left out if `scales` names the scale of every value; biases are then not corrected.
    `options` are the fields of `npuq.Recipe`; they replace those of `recipe`.
    `after_pass(index, pass, graph)` is called after each pass.

    A graph that came with scales keeps them: `data` calibrates values without one, and may be left out if there are
    none; `effort` and options that would choose scales anew do not apply.

    The result depends on the graph, the set of samples and the options alone: not on order, batches or devices.
    """
    chosen = load_target(target)
    recipe = recipe_of(recipe, options)
    if has_scales(graph):
        from .quantization.annotated import quantize_annotated

        if isinstance(data, Observer):
            raise NpuqError(f"{graph.name}: the model has its own scales; give data instead of an observer")
        return quantize_annotated(graph, data, chosen, recipe, after_pass=after_pass, progress=progress)
    if data is None and recipe.scales is None:
        raise NpuqError(f"{graph.name}: no calibration data; give some (--data)")
    calibrated = calibrate(
        graph, data, recipe, target=chosen, every_width=False, after_pass=after_pass, progress=progress
    )
    return calibrated.quantize(after_pass=after_pass)


def evaluate(graph: Graph) -> Callable[..., tuple[jax.Array, ...]]:
    """The graph, of any level, as a jitted function of its inputs to a tuple of its outputs.

    JAX refuses it inside another `jax.jit`, `jax.grad` or `jax.vmap`; `npuq.ir.function(graph)` composes with these.
    """
    return ir.evaluate(graph)
