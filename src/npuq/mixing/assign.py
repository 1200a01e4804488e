"""Widths for every op: the strategies of `npuq.assign` and its result."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from npuq.ir import Graph, NpuqError
from npuq.passes.calibration.samples import Data, Reservoir
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.mixed.hessian import Loss
from npuq.passes.mixed.problem import outer_first, precisions_of
from npuq.passes.mixed.rules import unit_ties
from npuq.passes.mixed.units import Units, units_of
from npuq.passes.precision import Precision, require_method
from npuq.passes.target import Target, load_target

from ..quantization.calibrated import calibrate
from ..quantization.quantized import Quantized
from ..quantization.recipe import NUMBER, WHOLE, Effort, Kind, Recipe, require_kind
from ..report.curve import CurvePoint
from .mixing import Choice, Mixing, Progress, labelled

Metric = Callable[[Quantized], float]

STRATEGIES = ("optimal", "hawq", "auto", "iohigh", "initial")
SAVINGS = ("ops", "cycles", "bytes")
LEVELS = 64
"""The most points of the curve on which `auto` searches."""


@dataclass(frozen=True)
class Assignment:
    """The choice of `assign`, and what it was chosen from: the `ops` with a width of choice.

    `curve` has one choice per rising ratio (`auto`: those that it tried), `noise` the error that each op is predicted
    to add if it alone is narrow, the worst first. Both may be empty.
    """

    strategy: str
    ops: tuple[str, ...]
    chosen: Choice
    curve: tuple[Choice, ...] = ()
    noise: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @property
    def precision(self) -> Mapping[str, Precision]:
        """The option of `quantize`, and of `write_template`."""
        return self.chosen.precision

    @property
    def wide_ops(self) -> float:
        """The share of wide ops."""
        return 1 - self.chosen.narrow_ops

    @property
    def points(self) -> tuple[CurvePoint, ...]:
        """The curve as the report draws it, rising in the share of wide ops."""
        rising = sorted(self.curve, key=lambda choice: 1 - choice.narrow_ops)
        return tuple(
            CurvePoint(
                1 - one.narrow_ops, one.predicted_db, one.measured_db, one.cycles, one.precision == self.precision
            )
            for one in rising
        )


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

    * optimal: the error that each op adds to the outputs is measured on `count` samples; an integer program finds the
      least error for each of `points` ratios from 0 to 1, which the integer simulator measures. The choice of `ratio`
      is taken: the saving as a share of that of all narrow ops, in `saving`: ops, or cycles or bytes with conversions.
    * hawq: the same with the rise of `loss`, predicted from traces of its Hessian, instead of the error. `loss` takes
      the tuple of float outputs of a sample and, if `labels` has one per sample of `data`, the label. By default it is
      the error of the outputs, and a note says so.
    * auto: the most narrow ops of the curve of `optimal` with which the outputs have an SQNR of `sqnr` dB, or
      `metric(quantized)` is `at_least` so much. Raises `NpuqError` if all wide ops do not reach it; if all narrow ops
      do, no op is measured alone.
    * iohigh: the first and the last ops are wide, `ratio` of the ops, those between, narrow. It needs no data.
    * initial: every op has `bits`, by default the target's default width. It needs no data.

    The widths obey the rules of `passes.mixed.rules`. The other options are those of `quantize`; those that the
    strategy does not use are refused. The result depends on graph, samples and options alone. `progress` gets (step,
    done, total).
    """
    chosen = load_target(target)
    own = {"loss": loss, "labels": labels, "sqnr": sqnr, "metric": metric, "at_least": at_least, "bits": bits}
    _check(strategy, own | {"saving": saving, "ratio": ratio, "points": points, "count": count})
    require_method(method)
    _check_use(strategy, own)
    recipe = Recipe(lut_len=lut_len, percentile=percentile, effort=effort, mean=mean, std=std)
    narrow, wide = two_widths(chosen, method)
    if strategy in ("initial", "iohigh"):
        units = units_of(canonicalize()(graph), chosen)
        if strategy == "iohigh":
            found = _iohigh(units, ratio, narrow, wide)
        else:
            found = _initial(units, chosen, chosen.default_bits if bits is None else bits, method)
        return replace(found, notes=(*found.notes, *_unmeasured(strategy, recipe)))
    if data is None:
        raise NpuqError(f"strategy {strategy}: it measures, and needs data")
    progress = progress or (lambda step, done, total: None)
    few = Reservoir(count)
    labelled_data = labelled(graph, data, few, labels)
    calibrated = calibrate(
        graph, labelled_data, recipe, target=chosen, progress=lambda done: progress("calibrating", done, 0)
    )
    mixing = Mixing(calibrated, few, narrow, wide, progress)
    if strategy == "auto":
        return _auto(mixing, saving, sqnr, metric, at_least)
    hawq = strategy == "hawq"
    problem = mixing.problem(mixing.rises(loss) if hawq else mixing.noise(), saving, floor=loss is None)
    ratios = sorted({*np.linspace(0, 1, points).tolist(), ratio})
    trials = _Trials(mixing, lambda choice, quantized: True, len(ratios))
    curve = tuple(trials.of(choice)[0] for choice in mixing.choices(problem, ratios))
    note = "no loss was given: traces are those of the squared error of the outputs"
    notes = (note,) if hawq and loss is None else ()
    point = curve[ratios.index(ratio)]
    return Assignment(strategy, tuple(mixing.units.by_name), point, curve, mixing.by_op(problem), notes)


def two_widths(target: Target, method: str | None = None) -> tuple[Precision, Precision]:
    """The narrowest width of a target, and the widest with its default method, which clips nothing."""
    bits = sorted(width.bits for width in target.widths)
    if len(bits) < 2:
        raise NpuqError(f"{target.name} has {bits[0]} bits only; mixed precision wants two widths")
    return Precision(bits[0], method or "kl_v2"), Precision(bits[-1])


def _auto(mixing: Mixing, saving: str, sqnr: float | None, metric: Metric | None, at_least: float | None) -> Assignment:
    """Try the ends of the curve, since either can make it needless to measure each op; then search by bisection."""

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
        by_metric = metric is not None or not wide.measured
        reason = "the metric is too low" if by_metric else f"the SQNR is {wide.measured_db:z.1f} dB"
        raise NpuqError(f"strategy auto: with every op wide, {reason}; ask for less")
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
    """The measured choices, equal ones once, and whether each is good enough; about `most` are expected."""

    mixing: Mixing
    is_good: Callable[[Choice, Quantized], bool]
    most: int = 2
    found: list[tuple[Choice, bool]] = field(default_factory=list)

    @property
    def curve(self) -> tuple[Choice, ...]:
        """The choices by rising ratio."""
        return tuple(sorted((choice for choice, _ in self.found), key=lambda choice: choice.ratio))

    def of(self, choice: Choice) -> tuple[Choice, bool]:
        """A choice with its measures, and whether it is good enough."""
        for index, (one, good) in enumerate(self.found):
            if one.precision == choice.precision:
                known = replace(choice, measured=one.measured, cycles=one.cycles, constant_bytes=one.constant_bytes)
                self.found[index] = known, good
                return self.found[index]
        self.mixing.progress("trying choices", len(self.found), self.most)
        measured, quantized = self.mixing.measured(choice)
        self.found.append((measured, self.is_good(measured, quantized)))
        return self.found[-1]


def _unmeasured(strategy: str, recipe: Recipe) -> Iterator[str]:
    """A note for each option of a recipe that has no effect without measuring."""
    for option in recipe.content():
        value = getattr(recipe, option)
        shown = value.name if isinstance(value, Effort) else repr(value)
        yield f"{option} {shown} has no effect: strategy {strategy} measures nothing; npuq.quantize takes it"


def _initial(units: Units, target: Target, bits: int, method: str | None) -> Assignment:
    """One width for all ops, without data."""
    narrow, wide = two_widths(target, method)
    everywhere = {one.bits: one for one in (narrow, wide)}.get(bits, Precision(target.width(bits).bits, method))
    share = float(everywhere is narrow)
    precision = precisions_of(units, [True] * len(units), everywhere, everywhere)
    return Assignment("initial", tuple(units.by_name), Choice(share, share, share, precision))


def _iohigh(units: Units, ratio: float, narrow: Precision, wide: Precision) -> Assignment:
    """Wide first and last ops, without data."""
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


FUNCTION: Kind = (callable, "a function")
KINDS: Mapping[str, Kind] = {
    **dict.fromkeys(("loss", "metric"), FUNCTION),
    **dict.fromkeys(("bits", "points", "count"), WHOLE),
    **dict.fromkeys(("ratio", "sqnr", "at_least"), NUMBER),
}
USED_BY = {"loss": "hawq", "labels": "hawq", "sqnr": "auto", "metric": "auto", "at_least": "auto", "bits": "initial"}
"""The strategy that uses an option, where not all do."""


def _check_use(strategy: str, options: Mapping[str, Any]) -> None:
    """Raise `NpuqError` for options without effect."""
    for option, user in USED_BY.items():
        if options[option] is not None and strategy != user:
            raise NpuqError(f"{option}: strategy {strategy} does not use it; {user} does")
    if options["labels"] is not None and options["loss"] is None:
        raise NpuqError("labels: only a loss takes them; give one, or leave them out")


def _check(strategy: str, options: Mapping[str, Any]) -> None:
    """Raise `NpuqError` for options of another kind or out of range."""
    for option, kind in KINDS.items():
        if options[option] is not None:
            require_kind(kind, option, options[option])
    ratio, points, count, saving = (options[name] for name in ("ratio", "points", "count", "saving"))
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
    if (options["metric"] is None) != (options["at_least"] is None):
        raise NpuqError("metric and at_least belong together")
    if strategy == "auto" and (options["sqnr"] is None) == (options["metric"] is None):
        raise NpuqError("strategy auto: sqnr, or metric with at_least, says when to stop; one of them wanted")
