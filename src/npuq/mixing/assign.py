"""Widths for every op: the strategies of `npuq.assign` and what it gives, and templates in the vendors' JSON."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npuq.ir import Graph, NpuqError
from npuq.mixing import templates
from npuq.passes.calibration.samples import Data, Reservoir
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.mixed.hessian import Loss
from npuq.passes.mixed.problem import outer_first, precisions_of
from npuq.passes.mixed.rules import unit_ties
from npuq.passes.mixed.units import units_of
from npuq.passes.precision import Precision, require_method
from npuq.passes.target import Target, load_target

from ..quantization.calibrated import calibrate
from ..quantization.quantized import Quantized
from ..quantization.recipe import Effort, Recipe, is_number, is_whole, require_kind
from ..report.curve import CurvePoint
from .mixing import Choice, Mixing, Progress, labelled

Metric = Callable[[Quantized], float]

STRATEGIES = ("optimal", "hawq", "auto", "iohigh", "initial")
SAVINGS = ("ops", "cycles", "bytes")
LEVELS = 64
"""The most points of the curve that `auto` looks for its choice on."""


@dataclass(frozen=True)
class Assignment:
    """What `assign` chose, and from what.

    `ops` are those that a width was chosen for. `curve` has one choice per ratio, rising, where the strategy makes one
    (`auto`: those that it tried); `noise` what each op adds to the predicted error where it alone is narrow, the worst
    first, where that was measured.
    """

    strategy: str
    ops: tuple[str, ...]
    chosen: Choice
    curve: tuple[Choice, ...] = ()
    noise: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def precision(self) -> Mapping[str, Precision]:
        """What `quantize` takes, and `write_template` writes."""
        return self.chosen.precision

    @property
    def wide_ops(self) -> float:
        """The share of wide ops."""
        return 1 - self.chosen.narrow_ops

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """The curve as the report draws it, rising in the share of wide ops."""
        made = [
            CurvePoint(
                1 - choice.narrow_ops,
                _decibels(choice.predicted),
                _decibels(choice.measured),
                choice.cycles,
                choice.precision == self.precision,
            )
            for choice in self.curve
        ]
        return tuple(sorted(made, key=lambda point: point.wide))


def assign(
    graph: Graph,
    data: Data | None = None,
    *,
    strategy: str = "optimal",
    ratio: float = 0.5,
    sqnr: float | None = None,
    metric: Metric | None = None,
    at_least: float | None = None,
    loss: Loss | None = None,
    labels: Sequence[Any] | np.ndarray | None = None,
    saving: str = "ops",
    points: int = 11,
    count: int = 8,
    target: str | Target = "npu",
    method: str | None = None,
    bits: int | None = None,
    lut_len: int | None = None,
    percentile: float = 0.99999,
    effort: int | str | Effort = "standard",
    mean: Sequence[float] | float | None = None,
    std: Sequence[float] | float | None = None,
    progress: Progress | None = None,
) -> Assignment:
    """Choose for every op of a float graph the target's narrowest or widest width.

    `strategy` is one of

    * optimal: what each op adds to the error of the outputs is measured on `count` samples; one integer program
      then finds the least error for each of `points` ratios from 0 to 1, and each choice is measured again on the
      integer simulator. The ratio is what is saved of what all narrow ops would save, counted in `saving`: ops, or
      cycles or bytes with the conversions between widths. That of `ratio` is chosen.
    * hawq: the same, but instead of the error the rise of `loss` that traces of its Hessian predict. `loss` takes the
      tuple of float outputs of a sample and, where `labels` has one per sample of `data`, the label. Without a loss
      the error of the outputs stands in, and a note says so.
    * auto: the most narrow ops of the curve of `optimal` with which the outputs have an SQNR of `sqnr` dB, or
      `metric(quantized)` is `at_least` so much. Both ends come first: NpuqError where all wide ops do not reach it;
      where all narrow ops do, no op is measured alone, and `noise` is empty.
    * iohigh: the first and the last ops are wide, `ratio` of the ops, those between, narrow. It needs no data.
    * initial: every op has `bits`, by default the target's default width. It needs no data.

    The widths obey the rules of `passes.mixed.rules`. The other options are those of `quantize`. What a strategy does
    not use is refused. The result depends on nothing but the graph, the set of samples and the options. `progress`
    hears (step, done, total).
    """
    chosen = load_target(target)
    asked = {"loss": loss, "labels": labels, "sqnr": sqnr, "metric": metric, "at_least": at_least, "bits": bits}
    _check_kinds({**asked, "ratio": ratio, "points": points, "count": count})
    _check_options(strategy, ratio, sqnr, metric, at_least, saving, points, count)
    require_method(method)
    _check_use(strategy, asked)
    recipe = Recipe(lut_len=lut_len, percentile=percentile, effort=effort, mean=mean, std=std)
    narrow, wide = two_widths(chosen, method)
    if strategy in ("initial", "iohigh"):
        found = (
            _initial(graph, chosen, chosen.default_bits if bits is None else bits, method)
            if strategy == "initial"
            else _iohigh(graph, chosen, ratio, narrow, wide)
        )
        return replace(found, notes=(*found.notes, *_unmeasured(strategy, recipe)))
    if data is None:
        raise NpuqError(f"strategy {strategy}: it measures, and needs data")
    tell = progress or (lambda step, done, total: None)
    few = Reservoir(count)
    calibrated = calibrate(
        graph,
        labelled(graph, data, few, labels),
        recipe,
        target=chosen,
        every_width=True,
        progress=lambda done: tell("calibrating", done, 0),
    )
    mixing = Mixing(calibrated, few, narrow, wide, tell)
    if strategy == "auto":
        return _auto(mixing, saving, sqnr, metric, at_least)
    hawq, own = strategy == "hawq", loss is None
    problem = mixing.problem(mixing.rises(loss) if hawq else mixing.noise(), saving, floor=not hawq or own)
    ratios = sorted({*np.linspace(0, 1, points).tolist(), ratio})
    curve = mixing.measured_all(mixing.choices(problem, ratios))
    notes = ("no loss was given: traces are those of the squared error of the outputs",) if hawq and own else ()
    ops = tuple(mixing.units.by_name)
    return Assignment(strategy, ops, curve[ratios.index(ratio)], curve, mixing.by_op(problem), notes)


def two_widths(target: Target, method: str | None = None) -> tuple[Precision, Precision]:
    """The narrowest width of a target, and the widest with its default method: wide values are never clipped."""
    bits = sorted(width.bits for width in target.widths)
    if len(bits) < 2:
        raise NpuqError(f"{target.name} has {bits[0]} bits only; mixed precision wants two widths")
    return Precision(bits[0], method or "kl_v2"), Precision(bits[-1])


def write_template(
    graph: Graph, precision: Mapping[str, Precision], *, target: str | Target = "npu", method: str | None = None
) -> str:
    """A mixed-precision template in the vendors' JSON with an entry for every quantized op.

    `method` stands where `precision` names none; for widths above 8 bits that is min_max.
    """
    require_method(method)
    chosen = load_target(target)
    units = units_of(canonicalize()(graph), chosen)
    return templates.write_template(units, precision, bits=chosen.default_bits, method=method or "kl_v2")


def read_template(
    text: str, graph: Graph, *, target: str | Target = "npu", bits: int | None = None, place: str = "template"
) -> dict[str, Precision]:
    """The precision of the ops that a template names, for `quantize`; `bits` is the width of all others."""
    chosen = load_target(target)
    units = units_of(canonicalize()(graph), chosen)
    return templates.read_template(text, units, chosen, bits=bits or chosen.default_bits, place=place)


def _auto(mixing: Mixing, saving: str, sqnr: float | None, metric: Metric | None, at_least: float | None) -> Assignment:
    """Take all ops narrow where that is good enough; else halve the curve between a choice that is and one that is not.

    The ends of the curve are tried before each op is measured: either can make that needless.
    """

    def is_good(choice: Choice, quantized: Quantized) -> bool:
        if metric is not None and at_least is not None:
            return metric(quantized) >= at_least
        if choice.measured is None:
            raise NpuqError("strategy auto: the network has no float output to measure; give a metric")
        return choice.measured <= 10 ** (-(sqnr or 0.0) / 10)

    trials = _Trials(mixing, is_good)
    narrow, good_enough = trials.of(mixing.everywhere(True))
    if good_enough:
        notes = ("with every op narrow it is good enough, so no op was measured alone",)
        return Assignment("auto", tuple(mixing.all_units.by_name), narrow, (narrow,), notes=notes)
    wide, good_enough = trials.of(mixing.everywhere(False))
    if not good_enough:
        raise NpuqError(f"strategy auto: with every op wide, {_told(wide, metric)}; ask for less")
    problem = mixing.problem(mixing.noise(), saving)
    steps = min(problem.size, LEVELS)
    trials.most = math.ceil(math.log2(steps + 1)) + 1
    choices = mixing.choices(problem, [step / steps for step in range(steps + 1)])
    chosen, _ = trials.of(replace(wide, predicted=problem.floor))
    good, bad = 0, steps + 1
    while bad - good > 1:
        middle = steps if bad > steps else (good + bad) // 2
        tried, good_enough = trials.of(choices[middle])
        if good_enough:
            chosen, good = tried, middle
        else:
            bad = middle
    return Assignment("auto", tuple(mixing.units.by_name), chosen, trials.curve, mixing.by_op(problem))


@dataclass
class _Trials:
    """Choices that were measured, equal ones once, and whether they are good enough; about `most` are expected."""

    mixing: Mixing
    is_good: Callable[[Choice, Quantized], bool]
    most: int = 2
    found: list[tuple[Choice, bool]] = field(default_factory=list)

    @property
    def curve(self) -> tuple[Choice, ...]:
        """All of them, rising in the ratio."""
        return tuple(sorted((choice for choice, _ in self.found), key=lambda choice: choice.ratio))

    def of(self, choice: Choice) -> tuple[Choice, bool]:
        """A choice with what was measured of it, and whether it is good enough."""
        for index, (one, good) in enumerate(self.found):
            if one.precision == choice.precision:
                known = replace(choice, measured=one.measured, cycles=one.cycles, constant_bytes=one.constant_bytes)
                self.found[index] = known, good
                return self.found[index]
        self.mixing.tell("trying choices", len(self.found), self.most)
        measured, quantized = self.mixing.measured(choice)
        self.found.append((measured, self.is_good(measured, quantized)))
        return self.found[-1]


def _decibels(error: float | None) -> float | None:
    """The SQNR of a relative error."""
    if error is None:
        return None
    return -10 * math.log10(error) if error > 0 else math.inf


def _told(choice: Choice, metric: Metric | None) -> str:
    if metric is not None or not choice.measured:
        return "the metric is too low"
    return f"the SQNR is {_decibels(choice.measured):z.1f} dB"


def _unmeasured(strategy: str, recipe: Recipe) -> Iterator[str]:
    """A note for each option of a recipe that changes nothing where nothing is measured."""
    for option in ("lut_len", "percentile", "effort", "mean", "std"):
        value, default = getattr(recipe, option), getattr(Recipe, option)
        if value is not None if default is None else value != default:
            shown = value.name if isinstance(value, Effort) else repr(value)
            yield f"{option} {shown} has no effect: strategy {strategy} measures nothing; npuq.quantize takes it"


def _initial(graph: Graph, target: Target, bits: int, method: str | None) -> Assignment:
    """One width for all ops, looking at nothing but the graph."""
    units = units_of(canonicalize()(graph), target)
    narrow, wide = two_widths(target, method)
    everywhere = {one.bits: one for one in (narrow, wide)}.get(bits, Precision(target.width(bits).bits, method))
    share = float(everywhere is narrow)
    precision = precisions_of(units, [True] * len(units), everywhere, everywhere)
    return Assignment("initial", tuple(units.by_name), Choice(share, share, share, precision))


def _iohigh(graph: Graph, target: Target, ratio: float, narrow: Precision, wide: Precision) -> Assignment:
    """Wide ends, looking at nothing but the graph."""
    units = units_of(canonicalize()(graph), target)
    low = outer_first(units, ratio, unit_ties(units))
    share = float(low.mean()) if len(units) else 1.0
    precision = precisions_of(units, low.tolist(), narrow, wide)
    notes: tuple[str, ...] = ()
    if low.all() and ratio * len(units) <= len(units) - 1:
        least = math.ceil(ratio * len(units) - 1e-9)
        notes = (
            f"no op is wide: rules give the first and the last op the widths of others, and at ratio {ratio:g} "
            f"{least} of {len(units)} stay narrow; give a lower ratio",
        )
    return Assignment("iohigh", tuple(units.by_name), Choice(ratio, share, share, precision), notes=notes)


USED_BY: Mapping[str, tuple[str, ...]] = {
    "loss": ("hawq",),
    "labels": ("hawq",),
    "sqnr": ("auto",),
    "metric": ("auto",),
    "at_least": ("auto",),
    "bits": ("initial",),
}
"""The strategies that use an option, where not all do."""


def _check_use(strategy: str, given: Mapping[str, Any]) -> None:
    """Raise `NpuqError` for what would be ignored."""
    for option, strategies in USED_BY.items():
        if given[option] is not None and strategy not in strategies:
            raise NpuqError(f"{option}: strategy {strategy} does not use it; {' and '.join(strategies)} does")
    if given["labels"] is not None and given["loss"] is None:
        raise NpuqError("labels: only a loss takes them; give one, or leave them out")


def _check_kinds(given: Mapping[str, Any]) -> None:
    """Raise `NpuqError` for options that are of another kind altogether."""
    for option, value in given.items():
        if value is None or option == "labels":
            continue
        if option in ("loss", "metric"):
            require_kind(callable(value), option, value, "a function")
        elif option in ("bits", "points", "count"):
            require_kind(is_whole(value), option, value, "a whole number")
        else:
            require_kind(is_number(value), option, value, "a number")


def _check_options(
    strategy: str,
    ratio: float,
    sqnr: float | None,
    metric: Metric | None,
    at_least: float | None,
    saving: str,
    points: int,
    count: int,
) -> None:
    if strategy not in STRATEGIES:
        raise NpuqError(f"there is no strategy {strategy!r}; there are {', '.join(STRATEGIES)}")
    if saving not in SAVINGS:
        raise NpuqError(f"saving {saving!r}; there are {', '.join(SAVINGS)}")
    if not 0 <= ratio <= 1:
        raise NpuqError(f"ratio {ratio!r}, 0 to 1 wanted")
    if points < 2:
        raise NpuqError(f"a curve of {points} points, at least 2 wanted")
    if count < 1:
        raise NpuqError(f"count {count}: at least 1 sample to measure with wanted")
    if (metric is None) != (at_least is None):
        raise NpuqError("metric and at_least belong together")
    if strategy == "auto" and (sqnr is None) == (metric is None):
        raise NpuqError("strategy auto: sqnr, or metric with at_least, says when to stop; one of them wanted")
