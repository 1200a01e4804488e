"""Models with scales of their own, which are kept; only missing ones are calibrated."""

from __future__ import annotations

from dataclasses import replace

from npuq.ir import Graph, NpuqError, text_digest
from npuq.passes.calibration.choose_ranges import choose_ranges
from npuq.passes.calibration.collect_statistics import FEW
from npuq.passes.calibration.observe import observe
from npuq.passes.calibration.samples import Data, Reservoir, samples
from npuq.passes.calibration.statistics import Observed
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering.lower_to_integer import Lowered, lower_to_integer
from npuq.passes.pipeline import AfterPass, Result, chain
from npuq.passes.quantize.adopt_scales import adopt, adopt_scales
from npuq.passes.quantize.insert_fake_quant import Scales
from npuq.passes.quantize.take_scales import take_scales
from npuq.passes.scales import representable
from npuq.passes.target import Target

from ..comparison.compare import Progress
from .quantized import Quantized
from .recipe import Recipe

SHOWN = 40
"""The most values that an error names."""

CHOOSING = ("weight_bits", "precision", "scales", "mean", "std", "unify_input_scale", "layer_threshold", "input_dtype")
"""The options that would choose scales anew."""


def quantize_annotated(
    graph: Graph,
    data: Data | None,
    target: Target,
    recipe: Recipe,
    *,
    after_pass: AfterPass | None,
    progress: Progress | None,
) -> Quantized:
    """Make the integer program of a graph with scales of its own, on `data` if some of them are missing.

    Raises `NpuqError` for values without scales where there are no data, and for options that choose scales anew.
    """
    for option in CHOOSING:
        if getattr(recipe, option) != getattr(Recipe, option):
            raise NpuqError(f"{graph.name}: {option}: the model has scales of its own, which are taken over")
    recipe.check(graph, target)
    taken = take_scales(graph)
    prepared = canonicalize().run(Result(taken.graph), after_pass=after_pass)
    source = prepared.graph
    adoption = adopt(source, taken, target, recipe.bits)
    missing = adoption.missing
    if missing and data is None:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise NpuqError(
            f"{graph.name}: {len(missing)} of {len(adoption.plan.held)} values have no scale: "
            f"{', '.join(missing[:SHOWN])}{more}; give data to calibrate them"
        )
    few, statistics = Reservoir(FEW), Observed({}, text_digest(source), "", 0)
    if data is not None:
        statistics = observe(source, few.pass_on(samples(source, data)), missing, progress=progress)
    precision = replace(adoption.precision, every=replace(adoption.precision.every, method=recipe.method))
    passes = chain(
        choose_ranges(percentile=recipe.percentile), adopt_scales(), lower_to_integer(lut_len=recipe.lut_len)
    )
    findings = {"target": target, "precision": precision, "statistics": statistics, "adoption": adoption}
    found = passes.run(replace(prepared, findings=findings), after_pass=after_pass)
    scales = found.get("scales", Scales)
    reach = {held: representable(quant, target.width(held[1])) for held, quant in scales.quants.items()}
    unused = list(recipe.unused(precision, reach))
    effort = recipe.chosen_effort
    if effort.equalizes:
        unused.append(f"effort {effort.name} has no effect: the model has scales of its own, which are taken over")
    if recipe.method is not None and not missing:
        unused.append(f"method {recipe.method} has no effect: the model has all scales of its own")
    count = len(adoption.plan.held)
    notes = (f"{count - len(missing)} scales are the model's own, {len(missing)} calibrated", *unused)
    default = adoption.precision.method(None, recipe.bits or target.default_bits) if missing else "given"
    method, lowered = recipe.method or default, found.get("lowered", Lowered)
    return Quantized(source, target, recipe, method, statistics, reach, few.samples, scales, lowered, notes)
