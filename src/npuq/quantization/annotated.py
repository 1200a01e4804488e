"""Models that come with scales: taken over as they are, calibrated only where some are missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from npuq.backends.targets import load_target
from npuq.ir import Graph, NpuqError, text_digest
from npuq.passes.calibration.choose_ranges import choose_ranges
from npuq.passes.calibration.observe import observe as observe_values
from npuq.passes.calibration.samples import Sample, samples
from npuq.passes.calibration.statistics import Observed
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.pipeline import Observe, chain
from npuq.passes.quantize.adopt_scales import adopt, adopt_scales, adopted_scales
from npuq.passes.quantize.take_scales import take_scales
from npuq.passes.target import Target

from .calibrated import Chosen, Data, both
from .quantized import Progress, Quantized
from .recipe import Recipe
from .scale_file import reals

SHOWN = 40
"""The most values that an error names."""


def quantize_annotated(
    graph: Graph,
    data: Data | None,
    *,
    target: str | Target,
    method: str | None,
    bits: int | None,
    lut_len: int | None,
    percentile: float,
    effort: int,
    refused: Mapping[str, Any],
    observe: Observe | None,
    progress: Progress | None,
) -> Quantized:
    """Make the integer program of a graph with scales of its own, on `data` where some of them are missing.

    Raises `NpuqError` that lists the values without scales where there are no data, and for options in `refused` that
    would choose scales anew.
    """
    for option, value in refused.items():
        if value is not None:
            raise NpuqError(f"{graph.name}: {option}: the model has scales of its own, which are taken over")
    chosen = target if isinstance(target, Target) else load_target(target)
    recipe = Recipe(method=method, bits=bits, lut_len=lut_len, percentile=percentile, effort=effort)
    recipe.check(graph, chosen)
    taken = take_scales(graph)
    prepare = canonicalize()
    source = prepare(taken.graph, observe=observe)
    found = adopt(source, taken, chosen, bits)
    missing = found.missing
    if missing and data is None:
        more = f" and {len(missing) - SHOWN} more" if len(missing) > SHOWN else ""
        raise NpuqError(
            f"{graph.name}: {len(missing)} of {len(found.where.held)} values have no scale: "
            f"{', '.join(missing[:SHOWN])}{more}; give data to calibrate them"
        )
    kept: tuple[Sample, ...] = ()
    statistics = Observed({}, text_digest(source), "", 0)
    if data is not None:
        chooser = Chosen()
        statistics = observe_values(source, chooser.pass_on(samples(source, data)), missing, progress=progress)
        kept = chooser.samples
    precision = replace(found.precision, every=replace(found.precision.every, method=method))
    calibrated = choose_ranges(source, statistics, chosen, precision, percentile).ranges
    ranges = {name: calibrated[name, found.where.held[name][0]] for name in missing}
    levels: dict[str, Graph] = {}
    finish = chain(
        adopt_scales(taken=taken, ranges=ranges, target=chosen, bits=bits),
        lower_to_integer(target=chosen, lut_len=lut_len),
    )
    finish(source, observe=both(levels, observe, len(prepare.passes)))
    scales = adopted_scales(source, taken, ranges, chosen, bits)
    reach = {held: reals(quant, chosen.width(held[1])) for held, quant in scales.quants.items()}
    unused = list(recipe.unused(precision, reach))
    if effort > 1:
        unused.append(f"effort {effort} has no effect: the model has scales of its own, which are taken over")
    if method is not None and not missing:
        unused.append(f"method {method} has no effect: the model has all scales of its own")
    notes = (f"{len(found.where.held) - len(missing)} scales are the model's own, {len(missing)} calibrated", *unused)
    return Quantized(
        source,
        levels["adopt-scales"],
        chosen,
        method or (found.precision.method(None, bits or chosen.default_bits) if missing else "given"),
        statistics,
        reach,
        kept,
        scales.notes,
        notes,
        lut_len,
    )
