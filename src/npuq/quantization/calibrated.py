"""Calibration: the part of quantization that runs the data, and the programs made of its statistics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Unpack

from npuq.ir import Graph, NpuqError
from npuq.passes.calibration import observe
from npuq.passes.calibration.collect_statistics import FEW, observed
from npuq.passes.calibration.samples import Data, Sample, replayable
from npuq.passes.calibration.statistics import Observed
from npuq.passes.lowering.lower_to_integer import Lowered
from npuq.passes.pipeline import AfterPass, Result
from npuq.passes.precision import Precision, Precisions
from npuq.passes.ptq.equalize import EQUALIZED_BITS, by_source, inherited
from npuq.passes.quantize.insert_fake_quant import Scales
from npuq.passes.quantize.scale_file import Given
from npuq.passes.quantize.take_scales import has_scales
from npuq.passes.target import Target, load_target

from ..comparison.compare import Progress
from .quantized import Quantized
from .recipe import LEARNING_SAMPLES, Recipe, RecipeOptions, recipe_of


def calibrate(
    graph: Graph,
    data: Data | Observer | None = None,
    recipe: Recipe | None = None,
    *,
    target: str | Target = "npu",
    every_width: bool = True,
    statistics: str | Path | None = None,
    after_pass: AfterPass | None = None,
    progress: Progress | None = None,
    **options: Unpack[RecipeOptions],
) -> Calibrated:
    """Run the calibration data once; any number of programs can be made of the result.

    `data`, `recipe`, `target` and `options` are those of `npuq.quantize`. With `every_width` the statistics serve all
    of the target's widths, so that `Calibrated.quantize` can change `bits`. The file `statistics` is read instead of
    running the data, if it exists, and must be of the same graph and data; otherwise it is written. Without data, a
    recipe with `scales` has effort minimal. Raises NpuqError for a graph that has its own scales, and, without data to
    read twice, for an effort that equalizes channels.
    """
    recipe = recipe_of(recipe, options)
    chosen = load_target(target)
    _require_float(graph)
    if data is None and recipe.scales is not None:
        recipe = replace(recipe, effort="minimal")
    recipe.check(graph, chosen)
    if data is None or isinstance(data, Observer):
        _require_one_pass(graph, recipe, chosen)
    prepared = recipe.preparation().run(Result(graph), after_pass=after_pass)
    nodes = by_source(recipe.nodes, prepared.graph)
    passes = recipe.calibration(
        chosen, nodes=nodes, every_width=every_width, file=statistics, equalizes=recipe.equalizes(chosen)
    )
    source, observer = (None, data) if isinstance(data, Observer) else (data, None)
    with replayable(prepared.graph, () if source is None else source) as read:
        start = {"data": None if source is None else read, "observer": observer, "progress": progress}
        found = passes.run(replace(prepared, findings=start), after_pass=after_pass)
    kept = {name: value for name, value in found.findings.items() if name not in start}
    return Calibrated(prepared.graph, chosen, recipe, replace(found, findings=kept))


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A canonical float graph, `source`, whose nodes have the user's names, and its calibration.

    `found` has the findings of the passes, and the graph that they saw: `source` with equalized channels.
    """

    source: Graph
    target: Target
    recipe: Recipe
    found: Result

    @property
    def graph(self) -> Graph:
        return self.found.graph

    @property
    def statistics(self) -> Observed:
        return self.found.get("statistics", Observed)

    @property
    def samples(self) -> tuple[Sample, ...]:
        return self.found.get("samples", tuple)

    def quantize(
        self,
        precision: Mapping[str, Precision] | None = None,
        *,
        after_pass: AfterPass | None = None,
        **options: Any,
    ) -> Quantized:
        """Make the integer graph; `precision` and `options` replace those of the recipe.

        An op that is fused into a node must have the node's precision, unless it was calibrated with another one.
        Raises `NpuqError` for options that calibration itself depends on.
        """
        target, recipe = self.target, self._with(options)
        nodes = by_source((recipe if precision is None else replace(recipe, precision=precision)).nodes, self.source)
        named = inherited(nodes, self.source, self.graph)
        narrow = "mse" if self.graph is not self.source else "kl_v2"
        precisions = Precisions(recipe.every, named, narrow, recipe.unify_input_scale)
        passes = recipe.finish(learns=recipe.learns([precisions.weight_bits(node) for node in self.graph.nodes]))
        start = replace(self.found, findings={**self.found.findings, "target": target, "precision": precisions})
        found = passes.run(start, after_pass=after_pass)
        lowered, scales, ranges = found.get("lowered", Lowered), found.get("scales", Scales), found.get("ranges", dict)
        given = found.findings.get("given_scales", Given({}, {}))
        notes = (*given.notes, *given.changed(lowered.source), *recipe.unused(precisions, ranges))
        bits = recipe.bits or target.default_bits
        return Quantized(
            self.graph,
            target,
            recipe,
            precisions.method(None, bits),
            self.statistics,
            ranges,
            self.samples[:FEW],
            scales,
            lowered,
            notes,
            found.get("range_notes", tuple),
            could_equalize=not recipe.chosen_effort.equalizes and bits <= EQUALIZED_BITS,
        )

    def _with(self, options: Mapping[str, Any]) -> Recipe:
        """The recipe with other options, which must not need another calibration."""
        recipe = replace(self.recipe, **options)
        before, after = ((one.scales, one.mean, one.std, one.equalizes(self.target)) for one in (self.recipe, recipe))
        if before != after:
            raise NpuqError("mean, std, scales and equalization are part of the calibration; give them to calibrate")
        recipe.check(self.source, self.target)
        return recipe


class Observer(observe.Observer):
    """Calibrates a network sample by sample; `npuq.quantize` and `npuq.calibrate` take it in the place of data.

        observer = npuq.Observer(graph)
        for x in pictures:
            y, *_ = observer.add(x)
            if observer.converged:
                break
        quantized = npuq.quantize(graph, observer)

    `graph`, `recipe`, `target` and `options` are those of `npuq.quantize`. The statistics serve all widths and methods.
    Raises NpuqError for an effort that equalizes channels, since that reads each sample twice.
    """

    def __init__(
        self,
        graph: Graph,
        recipe: Recipe | None = None,
        *,
        target: str | Target = "npu",
        parts: int = 4,
        **options: Unpack[RecipeOptions],
    ) -> None:
        recipe, chosen = recipe_of(recipe, options), load_target(target)
        _require_float(graph)
        recipe.check(graph, chosen)
        _require_one_pass(graph, recipe, chosen)
        canonical, precision = recipe.preparation()(graph), Precisions(recipe.every)
        values, means = observed(canonical, chosen, precision, every_width=True)
        method = precision.method(None, recipe.bits or chosen.default_bits)
        super().__init__(canonical, values, means=means, parts=parts, method=method, keep=LEARNING_SAMPLES)


def _require_float(graph: Graph) -> None:
    if has_scales(graph):
        raise NpuqError(f"{graph.name}: the model has its own scales; npuq.quantize takes them over")


def _require_one_pass(graph: Graph, recipe: Recipe, target: Target) -> None:
    if recipe.equalizes(target):
        effort = recipe.chosen_effort.name
        raise NpuqError(f"{graph.name}: effort {effort} reads each sample twice; give data, or another effort")
