"""The public functions: load, evaluate, quantize, and what quantize gives."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Unpack

import jax
import numpy as np

from npuq import frontends, ir
from npuq.backends.edge import simulator
from npuq.backends.npu import Program
from npuq.backends.target import load_target
from npuq.backends.whole_file import write_file
from npuq.frontends import Options
from npuq.ir import Graph, NpuqError, text_digest
from npuq.passes.calibrate import observe as observe_values
from npuq.passes.calibrate import observe_channels
from npuq.passes.canonicalise import canonicalise
from npuq.passes.channels_first_inputs import channels_first_inputs
from npuq.passes.choose_ranges import choose_ranges
from npuq.passes.correct_bias import correct_bias, weighted_inputs
from npuq.passes.equalize import EQUALIZED_BITS, by_source, equalizable, equalize, inherited
from npuq.passes.insert_fake_quant import choose_scales, insert_fake_quant, observed_values
from npuq.passes.learn_rounding import learn_rounding
from npuq.passes.lower_to_integer import Lowered, lower, lower_to_integer
from npuq.passes.lowering.tables import require_length
from npuq.passes.normalize_input import normalize_input
from npuq.passes.pipeline import Observe, Pass, chain
from npuq.passes.precision import Precision, Precisions
from npuq.passes.repair_scales import Held
from npuq.passes.roles import plan
from npuq.passes.samples import Sample, replayable
from npuq.passes.scales import Range
from npuq.passes.split_output_concats import split_output_concats
from npuq.passes.statistics import Observed
from npuq.passes.take_scales import has_scales
from npuq.passes.target import Target
from npuq.passes.thresholds import require_share

from .dump import write_dump
from .report import Report, make_report
from .scale_file import Given, given_scales, read_scales, scales_json

Data = Any
Progress = Callable[[int], None]
EFFORTS = (0, 1, 2)
LEARNED_BITS = 4
"""With effort 2 the rounding of weights of up to so many bits is learned; finer steps have nothing to win by it."""

LEARNING_SAMPLES = 32

METHODS = ("min_max", "percentile", "mse", "kl", "kl_v2")
REPORT_SAMPLES = 8
KNOWN_ANSWERS = 2


def load(
    source: Any,
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    channels_first: bool = False,
    **options: Unpack[Options],
) -> Graph:
    """Import a model as a float graph.

    `source` is a file, folder or object of any framework in docs/frontends.md; `framework` names it where it cannot be
    recognised. `weights` is the second file of formats that have one, or a Flax module's variables; `inputs` are
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
        from .annotated import quantize_annotated

        return quantize_annotated(
            graph,
            data,
            target=target,
            method=method,
            bits=bits,
            lut_len=lut_len,
            percentile=percentile,
            refused={
                "weight_bits": weight_bits,
                "precision": precision,
                "scales": scales,
                "mean": mean,
                "std": std,
                "unify_input_scale": unify_input_scale or None,
            },
            observe=observe,
            progress=progress,
        )
    if data is None and scales is None:
        raise NpuqError(f"{graph.name}: no data to calibrate with; name some (--data)")
    calibrated = calibrate(
        graph,
        data,
        target=target,
        method=method,
        bits=bits,
        weight_bits=weight_bits,
        precision=precision,
        lut_len=lut_len,
        percentile=percentile,
        unify_input_scale=unify_input_scale,
        effort=effort if data is not None else 0,
        scales=scales,
        mean=mean,
        std=std,
        observe=observe,
        progress=progress,
    )
    return calibrated.quantize(precision, observe=observe)


def calibrate(
    graph: Graph,
    data: Data | None,
    *,
    target: str | Target,
    method: str | None,
    bits: int | None,
    weight_bits: int | None,
    precision: Mapping[str, Precision] | None,
    lut_len: int | None = None,
    percentile: float,
    unify_input_scale: bool = False,
    effort: int,
    mean: Sequence[float] | float | None,
    std: Sequence[float] | float | None,
    scales: str | Path | Mapping[str, Any] | None = None,
    every_width: bool = False,
    observe: Observe | None = None,
    progress: Progress | None = None,
) -> Calibrated:
    """The part of `quantize` that runs the data, of which several programs can be made; without data, by scales alone.

    With `every_width` the statistics serve all of the target's widths as well, each for the whole graph.
    """
    chosen = target if isinstance(target, Target) else load_target(target)
    width = chosen.default_bits if bits is None else bits
    refined = effort > 1 and width <= EQUALIZED_BITS
    every = Precision(width, method, weight_bits)
    Precisions(every).check(graph, chosen, METHODS)
    if effort not in EFFORTS:
        raise NpuqError(f"effort {effort!r}; one of {', '.join(map(str, EFFORTS))} wanted")
    require_share(percentile)
    require_length(lut_len, chosen)
    content = None if scales is None else read_scales(scales)
    prepare = chain(canonicalise())
    if mean is not None or std is not None:
        numbers = {"mean": (0.0,) if mean is None else mean, "std": (1.0,) if std is None else std}
        prepare = chain(
            normalize_input(**{key: tuple(np.atleast_1d(part).tolist()) for key, part in numbers.items()}), prepare
        )
    float_graph = prepare(graph, observe=observe)
    named = by_source(precision or {}, float_graph)
    precisions = Precisions(every, named, unify_inputs=unify_input_scale)
    precisions.check(float_graph, chosen, METHODS)
    coarse = effort > 1 and any((one.weight_bits or 16) <= LEARNED_BITS for one in (every, *named.values()))
    chosen_samples = Chosen(LEARNING_SAMPLES if coarse else REPORT_SAMPLES)
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
            given = given_scales(content, float_graph, chosen, held)
            means = means if effort else []
            averaged = {name for name, _ in means}
            values = [
                name
                for name in values
                if name in averaged or any((name, bits) not in given.ranges for bits in held[name])
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
        every,
        percentile,
        effort,
        statistics,
        chosen_samples.samples,
        len(prepare.passes) + refined,
        given,
        lut_len,
        unify_input_scale,
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
    every: Precision
    percentile: float
    effort: int
    statistics: Observed
    samples: tuple[Sample, ...]
    passes: int
    given: Given
    lut_len: int | None = None
    unify_inputs: bool = False

    def quantize(
        self, precision: Mapping[str, Precision] | None = None, *, observe: Observe | None = None
    ) -> Quantized:
        """Make the integer graph, with single nodes of another precision.

        Values are as they were calibrated: what is fused into a node must have the node's own precision, unless it had
        another one then.
        """
        target, statistics = self.target, self.statistics
        named = inherited(by_source(precision or {}, self.source), self.source, self.graph)
        narrow = "mse" if self.graph is not self.source else "kl_v2"
        precisions = Precisions(self.every, named, narrow, self.unify_inputs)
        chosen = choose_ranges(self.graph, statistics, target, precisions, self.percentile)
        ranges = chosen.ranges | dict(self.given.ranges)
        extremes = {name: found.range for name, found in statistics.items()}
        extremes |= {name: range_ for (name, _), range_ in self.given.ranges.items()}
        correct = correct_bias(ranges=ranges, means=statistics.means, target=target, precision=precisions)
        learn = learn_rounding(exact=self.graph, samples=self.samples, most_bits=LEARNED_BITS)
        finish = chain(
            split_output_concats(extremes=extremes, target=target, precision=precisions),
            *((correct,) if self.effort else ()),
            insert_fake_quant(ranges=ranges, target=target, precision=precisions),
            *((learn,) if self._is_coarse(precisions) else ()),
            lower_to_integer(target=target, lut_len=self.lut_len),
        )
        levels: dict[str, Graph] = {}
        finish(self.graph, observe=both(levels, observe, self.passes))
        method = precisions.method(None, self.every.bits or target.default_bits)
        names, graphs = list(levels), list(levels.values())
        scaled = names.index("insert-fake-quant")
        repairs = choose_scales(graphs[scaled - 1], ranges, target, precisions).notes
        fake = levels.get("learn-rounding", graphs[scaled])
        notes = (*self.given.notes, *self.given.changed(fake))
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
            self.lut_len,
            chosen.notes,
            self.effort,
            self.effort < 2 and (self.every.bits or target.default_bits) <= EQUALIZED_BITS,
        )

    def _is_coarse(self, precision: Precisions) -> bool:
        """Whether the rounding of some weights is to be learned."""
        found = (precision.weight_bits(node) for node in self.graph.nodes)
        return self.effort > 1 and any(bits is not None and bits <= LEARNED_BITS for bits in found)


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized network at its levels: float, fake-quant, integer and program.

    `samples` are a few of the calibration samples, which the report and the program's known answers are made with.
    `repairs` tells (place, change) of scales that the target's limits asked for.
    `notes` tell what came of what was given; `wide_ranges` (place, change) which values were calibrated by
    another than the default method; `could_equalize` says that more effort would equalize channels.
    """

    float_graph: Graph
    qdq: Graph
    target: Target
    method: str
    statistics: Observed
    ranges: Mapping[Held, Range]
    samples: tuple[Sample, ...]
    repairs: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()
    lut_len: int | None = None
    wide_ranges: tuple[tuple[str, str], ...] = ()
    effort: int = 1
    could_equalize: bool = False

    @cached_property
    def lowered(self) -> Lowered:
        return lower(self.qdq, self.target, self.lut_len)

    @property
    def graph(self) -> Graph:
        """The integer graph."""
        return self.lowered.graph

    @property
    def scales(self) -> dict[str, float]:
        """The scale of every quantized value, by the user's name."""
        types = self.graph.types
        found = {name: types[place.name].quant for name, place in self.lowered.values.items()}
        return {name: quant.scale for name, quant in found.items() if quant is not None}

    def save_scales(self, path: str | Path) -> None:
        """Write the scale of every value that calibration found, as JSON that `quantize(..., scales=path)` reads."""
        text = scales_json(self.float_graph, self.qdq, self.target, self.ranges)
        write_file(Path(path), text.encode())

    @cached_property
    def program(self) -> Program:
        """The NPU program, with known answers from a few calibration samples."""
        return Program.make(self.graph, self.target, self.samples[:KNOWN_ANSWERS])

    @cached_property
    def report(self) -> Report:
        """What `measure` gives."""
        return self.measure()

    def measure(self, progress: Progress = lambda count: None) -> Report:
        """Measure every layer on a few calibration samples; `progress` is told how many are done."""
        return make_report(
            self.float_graph,
            self.lowered,
            self.program,
            self.samples,
            method=self.method,
            statistics=self.statistics,
            repairs=self.repairs,
            wide_ranges=self.wide_ranges,
            could_equalize=self.could_equalize,
            notes=self.notes,
            progress=progress,
        )

    def dump(self, folder: str | Path, samples: int = 1) -> None:
        """Write every value of the first `samples` of the report's samples at each level: float, fake-quant, integer.

        `npuq.dump.read_dump` reads each of the three folders; `npuq compare` and `npuq diverge` take them.
        """
        for name, graph in (("float", self.float_graph), ("fake-quant", self.qdq), ("integer", self.graph)):
            write_dump(graph, self.samples[:samples], Path(folder) / name)

    def simulate(self, *inputs: Any, raw: bool = False, **named: Any) -> tuple[np.ndarray, ...]:
        """Run the integer graph: float outputs, dequantized, or with `raw` the integers.

        Inputs come in order or by name; they are floats or, in the types of the integer graph's inputs, integers; the
        leading axis may hold any multiple of the graph's own batch.
        """
        return self._run(*inputs, raw=raw, **named)

    @cached_property
    def _run(self) -> Callable[..., tuple[np.ndarray, ...]]:
        return simulator(self.graph)


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


def evaluate(graph: Graph) -> Callable[..., tuple[jax.Array, ...]]:
    """The graph as a jitted function of its inputs to a tuple of its outputs, at any level."""
    return ir.evaluate(graph)
