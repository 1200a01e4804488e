"""Calibration: the part of quantization that runs the data, and the programs that are made of what it found."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from npuq.backends.targets import load_target
from npuq.ir import Graph, NpuqError, text_digest
from npuq.passes.calibration.choose_ranges import choose_ranges
from npuq.passes.calibration.observe import observe as observe_values
from npuq.passes.calibration.observe import observe_channels
from npuq.passes.calibration.samples import Sample, replayable
from npuq.passes.calibration.statistics import Observed
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.lowering.plan import plan
from npuq.passes.pipeline import Observe, Pass, chain
from npuq.passes.precision import Precision, Precisions
from npuq.passes.ptq.correct_bias import correct_bias, weighted_inputs
from npuq.passes.ptq.equalize import EQUALIZED_BITS, by_source, equalizable, equalize, inherited
from npuq.passes.ptq.learn_rounding import learn_rounding
from npuq.passes.quantize.input_dtypes import input_dtypes
from npuq.passes.quantize.insert_fake_quant import choose_scales, insert_fake_quant, observed_values
from npuq.passes.quantize.split_output_concats import split_output_concats
from npuq.passes.target import Target

from .quantized import Progress, Quantized
from .recipe import LEARNED_BITS, Recipe
from .scale_file import Given, given_scales, place_of, read_scales

Data = Any
LEARNING_SAMPLES = 32
REPORT_SAMPLES = 8


def calibrate(
    graph: Graph,
    data: Data | None,
    target: str | Target,
    recipe: Recipe,
    *,
    every_width: bool = False,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """The part of `quantize` that runs the data, of which several programs can be made; without data, by scales alone.

    With `every_width` the statistics serve all of the target's widths as well, each for the whole graph.
    """
    chosen = target if isinstance(target, Target) else load_target(target)
    recipe.check(graph, chosen)
    width = chosen.default_bits if recipe.bits is None else recipe.bits
    refined = recipe.effort > 1 and width <= EQUALIZED_BITS
    content = None if recipe.scales is None else read_scales(recipe.scales)
    prepare = recipe.prepare()
    float_graph = prepare(graph, observe=observe)
    named = by_source(recipe.precision, float_graph)
    precisions = Precisions(recipe.every, named, unify_inputs=recipe.unify_input_scale)
    precisions.check(float_graph, chosen)
    chosen_samples = Chosen(LEARNING_SAMPLES if recipe.is_coarse else REPORT_SAMPLES)
    given = Given({}, {})
    with replayable(float_graph, () if data is None else data) as read:
        source = float_graph
        if refined:
            seeing = both({}, observe, len(prepare.passes))
            float_graph = _equalized(source, read(), chosen, precisions, seeing, progress)
            precisions = replace(precisions, nodes=inherited(named, source, float_graph))
        widths = [Precisions(Precision(width.bits)) for width in chosen.widths] if every_width else []
        values = [name for one in (precisions, *widths) for name in observed_values(float_graph, chosen, one)]
        means = [channels for one in (precisions, *widths) for channels in weighted_inputs(float_graph, chosen, one)]
        if content is not None:
            held = {name: plan(float_graph, chosen, precisions).held[name] for name in values}
            given = given_scales(content, float_graph, chosen, held, place_of(recipe.scales))
            means = means if recipe.effort else []
            measured = {name for name, _ in means}
            if data is not None:
                measured |= recipe.input_dtypes(float_graph).keys()
            values = [
                name
                for name in values
                if name in measured or any((name, bits) not in given.ranges for bits in held[name])
            ]
        if data is not None:
            seen = chosen_samples.pass_on(read())
            statistics = observe_values(float_graph, seen, values, means=means, progress=progress)
        elif values:
            listed = ", ".join(values[:5]) + (f" and {len(values) - 5} more" if len(values) > 5 else "")
            raise NpuqError(f"{graph.name}: no scale given for {listed}; give them, or data to calibrate with (--data)")
        else:
            statistics = Observed({}, text_digest(float_graph), "", 0)
    return Calibrated(
        source,
        float_graph,
        chosen,
        recipe,
        statistics,
        chosen_samples.samples,
        len(prepare.passes) + refined,
        given,
    )


def _equalized(
    graph: Graph,
    data: Iterable[Sample],
    target: Target,
    precision: Precisions,
    observe: Observe,
    progress: Progress | None,
) -> Graph:
    """The graph with like ranges in the channels of each value."""
    wanted = equalizable(graph, target, precision)
    channels = observe_channels(graph, data, wanted, progress=progress) if wanted else {}
    return chain(equalize(channels=channels, target=target, precision=precision))(graph, observe=observe)


@dataclass(frozen=True, eq=False)
class Calibrated:
    """A canonical float graph with the statistics of its values on all samples, and a few of these.

    `source` is the graph before its channels were equalized, whose names the user knows; `passes` have run before it.
    Scales that were given stand in for statistics.
    """

    source: Graph
    graph: Graph
    target: Target
    recipe: Recipe
    statistics: Observed
    samples: tuple[Sample, ...]
    passes: int
    given: Given

    def quantize(
        self, precision: Mapping[str, Precision] | None = None, *, observe: Observe | None = None
    ) -> Quantized:
        """Make the integer graph, with single nodes of another precision.

        Values are as they were calibrated: what is fused into a node must have the node's own precision, unless it had
        another one then.
        """
        target, statistics, recipe = self.target, self.statistics, self.recipe
        named = inherited(by_source(precision or {}, self.source), self.source, self.graph)
        narrow = "mse" if self.graph is not self.source else "kl_v2"
        precisions = Precisions(recipe.every, named, narrow, recipe.unify_input_scale)
        chosen = choose_ranges(self.graph, statistics, target, precisions, recipe.percentile, recipe.layer_threshold)
        ranges = chosen.ranges | dict(self.given.ranges)
        extremes = {name: found.range for name, found in statistics.items()}
        extremes |= {name: range_ for (name, _), range_ in self.given.ranges.items()}
        dtypes = recipe.input_dtypes(self.graph)
        reach = extremes | {name: statistics[name].range for name in dtypes if name in statistics}
        correct = correct_bias(ranges=ranges, means=statistics.means, target=target, precision=precisions)
        learn = learn_rounding(exact=self.graph, samples=self.samples, most_bits=LEARNED_BITS)
        finish = chain(
            split_output_concats(extremes=extremes, target=target, precision=precisions),
            *((correct,) if recipe.effort else ()),
            insert_fake_quant(ranges=ranges, target=target, precision=precisions),
            *((learn,) if self._is_coarse(precisions) else ()),
            *((input_dtypes(dtypes=dtypes, extremes=reach),) if dtypes else ()),
            lower_to_integer(target=target, lut_len=recipe.lut_len),
        )
        levels: dict[str, Graph] = {}
        finish(self.graph, observe=both(levels, observe, self.passes))
        method = precisions.method(None, recipe.bits or target.default_bits)
        names, graphs = list(levels), list(levels.values())
        scaled = names.index("insert-fake-quant")
        repairs = choose_scales(graphs[scaled - 1], ranges, target, precisions).notes
        fake = graphs[names.index("lower-to-integer") - 1]
        notes = (*self.given.notes, *self.given.changed(fake), *recipe.unused(precisions, ranges))
        few = self.samples[:REPORT_SAMPLES]
        return Quantized(
            self.graph,
            fake,
            target,
            method,
            statistics,
            ranges,
            few,
            repairs,
            notes,
            recipe.lut_len,
            chosen.notes,
            recipe.effort,
            recipe.effort < 2 and (recipe.bits or target.default_bits) <= EQUALIZED_BITS,
        )

    def _is_coarse(self, precision: Precisions) -> bool:
        """Whether the rounding of some weights is to be learned."""
        found = (precision.weight_bits(node) for node in self.graph.nodes)
        return self.recipe.effort > 1 and any(bits is not None and bits <= LEARNED_BITS for bits in found)


class Chosen:
    """The samples of least digest: the same few of the same set, whatever its order."""

    def __init__(self, count: int = REPORT_SAMPLES) -> None:
        self.count, self.kept = count, dict[str, Sample]()

    def pass_on(self, source: Iterable[Sample]) -> Iterator[Sample]:
        """Yield all samples, and keep the chosen ones."""
        for sample in source:
            digest = hashlib.sha256(b"".join(array.tobytes() for array in sample)).hexdigest()
            self.kept[digest] = sample
            if len(self.kept) > self.count:
                del self.kept[max(self.kept)]
            yield sample

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self.kept[digest] for digest in sorted(self.kept))


def both(levels: dict[str, Graph], observe: Observe | None, offset: int) -> Observe:
    """Keep every graph by its pass's name, and show it to the caller's observer, counting on from the passes before."""

    def see(index: int, pass_: Pass, graph: Graph) -> None:
        levels[pass_.name] = graph
        if observe is not None:
            observe(index + offset, pass_, graph)

    return see
