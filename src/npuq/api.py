"""The public functions: load, quantize, evaluate."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import jax

from npuq import frontends, ir
from npuq.frontends import Options
from npuq.ir import Graph, NpuqError
from npuq.passes.canonical.channels_first_inputs import channels_first_inputs
from npuq.passes.pipeline import Observe
from npuq.passes.precision import Precision
from npuq.passes.quantize.take_scales import has_scales
from npuq.passes.target import Target

from .quantization.calibrated import Data, calibrate
from .quantization.quantized import Progress, Quantized
from .quantization.recipe import Recipe


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
    example inputs, one, a tuple or a dict by name, for what is traced: PyTorch modules and JAX functions. `start_nodes`
    and `end_nodes`, lists of names, cut a TensorFlow model; `signature` chooses one of a SavedModel's. `values` fixes
    inputs by name, and `outputs` are the values to end with, instead of the model's own. `shapes` gives
    the shapes of inputs that the model leaves open. With `channels_first` inputs [N,H,W,C] become [N,C,H,W].
    Raises `NpuqError` where the file is damaged, an operator is unknown, or a shape is missing.
    """
    graph = frontends.load(source, shapes, **options)
    return channels_first_inputs()(graph) if channels_first else graph


def quantize(
    graph: Graph,
    data: Data | None = None,
    *,
    target: str | Target = "npu",
    method: str | None = None,
    bits: int | None = None,
    weight_bits: int | None = None,
    precision: Mapping[str, Precision] | None = None,
    lut_len: int | None = None,
    percentile: float = 0.99999,
    unify_input_scale: bool = False,
    layer_threshold: float | None = None,
    input_dtype: str | Sequence[str] | Mapping[str, str] | None = None,
    effort: int = 1,
    scales: str | Path | Mapping[str, Any] | None = None,
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> Quantized:
    """Turn a float graph into an exact integer program for a target.

    `data` calibrates: an array [samples, ...] for a single input, a dict of arrays by input name, a tuple in the
    order of the inputs, or an iterable of these, as many samples as you like (memory does not grow). `method` is one
    of min_max, percentile, mse, kl, kl_v2 (docs/calibration.md says which does what), by default kl_v2 for 8 bits (mse
    with effort 2) and min_max with half as much again for 16; graph outputs always take min_max, so that no logit
    saturates.
    `bits` is the width of activations, one of the target's, by default its first; `weight_bits` that of weights, by
    default what goes with it.
    `precision` gives single nodes, by their first result's name in the canonical float graph, what differs. `lut_len`
    is the n of 16-bit tables of 2^n + 1 entries, 8 to 12, by default the least that is near enough, table by table.
    With `unify_input_scale` all inputs of a Concat share its scale; without, those that something else reads keep a
    finer one where it is worth a bit.
    `layer_threshold` is how far the ranges of layer normalizations' inputs and results reach at most.
    `input_dtype`, int8, uint8, int16 or float32, one for all or one for each input, in order or by name, is the type of
    the program's inputs; by default that of their readers' integers (docs/calibration.md, Inputs).
    `scales`, a file that `save_scales` wrote or its entries by value name, stands in for calibrating these values;
    where it names all, `data` may be left out, and biases are not corrected.
    `effort` is 0 for calibration alone, 1 to correct biases as well, 2 to equalize channels and to learn the
    rounding of 4-bit weights too (docs/effort.md).
    `mean` and `std` insert (x - mean) / std after the first input.
    `observe(index, pass, graph)` sees the graph after each pass.

    A graph that came with scales keeps them: `data` calibrate what has none, and may be left out where nothing is
    missing; `effort` and options that would choose scales anew do not apply.

    The result depends on nothing but the graph, the set of samples and the options: not on their order, batch
    size or the number of devices.
    """
    if has_scales(graph):
        from .quantization.annotated import quantize_annotated

        return quantize_annotated(
            graph,
            data,
            target=target,
            method=method,
            bits=bits,
            lut_len=lut_len,
            percentile=percentile,
            effort=effort,
            refused={
                "weight_bits": weight_bits,
                "precision": precision,
                "scales": scales,
                "mean": mean,
                "std": std,
                "unify_input_scale": unify_input_scale or None,
                "layer_threshold": layer_threshold,
                "input_dtype": input_dtype,
            },
            observe=observe,
            progress=progress,
        )
    if data is None and scales is None:
        raise NpuqError(f"{graph.name}: no data to calibrate with; name some (--data)")
    recipe = Recipe(
        method=method,
        bits=bits,
        weight_bits=weight_bits,
        precision={} if precision is None else precision,
        lut_len=lut_len,
        percentile=percentile,
        unify_input_scale=unify_input_scale,
        layer_threshold=layer_threshold,
        input_dtype=input_dtype,
        effort=effort if data is not None else 0,
        scales=scales,
        mean=mean,
        std=std,
    )
    return calibrate(graph, data, target, recipe, observe=observe, progress=progress).quantize(
        precision, observe=observe
    )


def evaluate(graph: Graph) -> Callable[..., tuple[jax.Array, ...]]:
    """The graph as a jitted function of its inputs to a tuple of its outputs, at any level."""
    return ir.evaluate(graph)
