"""Calibration in the user's own loop: samples are pushed one by one."""

from __future__ import annotations

from dataclasses import replace
from typing import Unpack

from npuq.ir import Graph, NpuqError
from npuq.passes.calibration import observe
from npuq.passes.calibration.collect_statistics import observed
from npuq.passes.precision import Precisions
from npuq.passes.target import Target, load_target

from .recipe import LEARNING_SAMPLES, Recipe, RecipeOptions


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
        recipe, chosen = replace(recipe or Recipe(), **options), load_target(target)
        recipe.check(graph, chosen)
        if recipe.equalizes(chosen):
            raise NpuqError(f"{graph.name}: equalization reads each sample twice, an observer once; use npuq.calibrate")
        canonical, precision = recipe.preparation()(graph), Precisions(recipe.every)
        values, means = observed(canonical, chosen, precision, every_width=True)
        method = precision.method(None, recipe.bits or chosen.default_bits)
        super().__init__(canonical, values, means=means, parts=parts, method=method, keep=LEARNING_SAMPLES)
