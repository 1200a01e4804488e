"""The work behind `npuq.assign`: one calibrated network at any mixture of two widths, predicted and measured."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from npuq.backends.npu import Program
from npuq.backends.npu.cost import CostTable
from npuq.ir import Graph, NpuqError, evaluate
from npuq.passes.calibration.samples import Sample, samples
from npuq.passes.mixed.hessian import Loss, predicted_rise
from npuq.passes.mixed.integer_program import Problem, curve
from npuq.passes.mixed.problem import Costs, op_costs, precisions_of, problem_of
from npuq.passes.mixed.units import Units, units_of
from npuq.passes.mixed.variants import Variants
from npuq.passes.pipeline import Pass
from npuq.passes.precision import Precision

from ..quantization.calibrated import Calibrated, Data
from ..quantization.quantized import Quantized

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of widths, a point of the curve.

    `ratio` was asked for; `narrow_ops` is the share of narrow ops that came of it, `saved` what is saved, as a share of
    what all narrow would save. `predicted` and `measured` are errors against the float graph: the noise of the outputs
    over their signal, 10^(-SQNR / 10); with a loss, `predicted` is its rise. `cycles` and `constant_bytes` are the
    program's. What was not made or measured is None.
    """

    ratio: float
    narrow_ops: float
    saved: float
    precision: Mapping[str, Precision]
    predicted: float | None = None
    measured: float | None = None
    cycles: int | None = None
    constant_bytes: int | None = None


@dataclass
class Kept:
    """The samples of least digest with their labels: the same few of the same set, whatever its order."""

    count: int
    labels: Sequence[Any] | np.ndarray | None = None
    found: dict[str, tuple[Sample, Any]] = field(default_factory=dict)

    def pass_on(self, graph: Graph, data: Data) -> Iterator[Sample]:
        """Yield all samples, and keep the chosen ones."""
        index = -1
        for index, sample in enumerate(samples(graph, data)):
            if self.labels is not None and index >= len(self.labels):
                raise NpuqError(f"labels: {len(self.labels)} for more samples; one for each wanted")
            digest = hashlib.sha256(b"".join(array.tobytes() for array in sample)).hexdigest()
            self.found[digest] = (sample, None if self.labels is None else self.labels[index])
            if len(self.found) > self.count:
                del self.found[max(self.found)]
            yield sample
        if self.labels is not None and index + 1 < len(self.labels):
            raise NpuqError(f"labels: {len(self.labels)} for {index + 1} samples; one for each wanted")

    @property
    def samples(self) -> tuple[Sample, ...]:
        return tuple(self.found[digest][0] for digest in sorted(self.found))

    @property
    def chosen_labels(self) -> tuple[Any, ...] | None:
        return None if self.labels is None else tuple(self.found[digest][1] for digest in sorted(self.found))


@dataclass(frozen=True, eq=False)
class Mixing:
    """A calibrated network whose ops are narrow or wide; what that asks for is made once, when it is wanted."""

    calibrated: Calibrated
    kept: Kept
    narrow: Precision
    wide: Precision
    tell: Progress

    @cached_property
    def all_units(self) -> Units:
        """The units of the network as it was calibrated, before some may have gone to the host."""
        return units_of(self.calibrated.graph, self.calibrated.target)

    def everywhere(self, narrow: bool) -> Choice:
        """All ops narrow, or all wide."""
        share, count = float(narrow), len(self.all_units)
        return Choice(share, share, share, precisions_of(self.all_units, [narrow] * count, self.narrow, self.wide))

    @property
    def programs(self) -> tuple[Quantized, Quantized]:
        """The programs of all wide and of all narrow ops."""
        (wide, _), (narrow, _) = self._programs
        return wide, narrow

    @cached_property
    def variants(self) -> Variants:
        """Both programs, and all between them, in one compiled function."""
        (wide, _), (narrow, graph) = self._programs
        units = units_of(graph, self.calibrated.target)
        return Variants.of(units, wide.qdq, narrow.qdq, self.calibrated.graph, self.kept.samples)

    @property
    def units(self) -> Units:
        return self.variants.units

    def noise(self) -> np.ndarray:
        """What each point alone adds to the error, f64[points]."""
        total = len(self.variants.points)
        return self.variants.alone(lambda done: self.tell("measuring each op", done, total))

    def rises(self, loss: Loss | None) -> np.ndarray:
        """What each point adds to the loss by the traces of its Hessian, f64[points]."""
        total = len(self.variants.samples)
        labels = None if loss is None else self.kept.chosen_labels
        return predicted_rise(
            self.variants, loss, labels, progress=lambda done: self.tell("taking the traces", done, total)
        )

    def problem(self, noise: np.ndarray, saving: str, *, floor: bool = True) -> Problem:
        """The integer program: noise against ops, cycles or bytes; `floor` adds the error that all wide ops have."""
        none = np.zeros(len(self.variants.points), bool)
        least = self.variants.error(none) if floor else 0.0
        costs = op_costs(self.units) if saving == "ops" else self._costs(saving)
        problem = problem_of(self.units, self.variants.points, noise, costs, floor=least)
        if problem.size == 0 or problem.span <= 0:
            raise NpuqError(f"{self.calibrated.graph.name}: narrow ops save no {saving}; there is nothing to choose")
        return problem

    def choices(self, problem: Problem, ratios: Sequence[float]) -> list[Choice]:
        """The best choice for each ratio."""
        self.tell("choosing", 0, len(ratios))
        found = curve(problem, ratios)
        return [
            Choice(
                ratio,
                float(narrow.mean()),
                problem.saved(narrow),
                precisions_of(self.units, narrow.tolist(), self.narrow, self.wide),
                problem.error(narrow),
            )
            for ratio, narrow in zip(ratios, found, strict=True)
        ]

    def measured(self, choice: Choice) -> tuple[Choice, Quantized]:
        """The choice with the error of the integer simulator and the program's cost."""
        quantized = self.calibrated.quantize(choice.precision)
        costs = _costs_of(quantized)
        error = self.error(quantized)
        return replace(choice, measured=error, cycles=costs.cycles, constant_bytes=costs.constant_bytes), quantized

    def measured_all(self, choices: Sequence[Choice]) -> tuple[Choice, ...]:
        """All choices measured, equal ones once."""
        found: list[Choice] = []
        for index, choice in enumerate(choices):
            self.tell("measuring the choices", index, len(choices))
            same = next((one for one in found if one.precision == choice.precision), None)
            if same is None:
                found.append(self.measured(choice)[0])
            else:
                found.append(replace(same, ratio=choice.ratio))
        return tuple(found)

    def error(self, quantized: Quantized) -> float | None:
        """The noise of the float outputs of the integer program over their signal; None where there are none."""
        names = [index for index, type_ in enumerate(self.calibrated.graph.output_types) if type_.dtype.is_float]
        sums = np.zeros((len(names), 2))
        for sample, exact in zip(self.kept.samples, self._exact, strict=True):
            outputs = quantized.simulate(*sample)
            for row, index in zip(sums, names, strict=True):
                real = exact[index]
                row += (np.square(outputs[index] - real).sum(), np.square(real).sum())
        ratios = [noise / signal for noise, signal in sums.tolist() if signal > 0]
        return sum(ratios) / len(ratios) if ratios else None

    def by_op(self, problem: Problem) -> dict[str, float]:
        """What each unit adds where it alone is narrow, by name, the worst first."""
        base = problem.error(np.zeros(problem.size, bool))
        alone = [problem.error(row) - base for row in np.eye(problem.size, dtype=bool)]
        return dict(sorted(zip(self.units.by_name, alone, strict=True), key=lambda pair: -pair[1]))

    @cached_property
    def _programs(self) -> tuple[tuple[Quantized, Graph], ...]:
        """Both programs, wide first, each with the float graph that was quantized in the end."""
        self.tell("quantizing", 0, 2)
        found = []
        for precision in (self.wide, self.narrow):
            levels = [self.calibrated.graph]

            def see(index: int, pass_: Pass, graph: Graph, levels: list[Graph] = levels) -> None:
                if pass_.name not in ("insert-fake-quant", "learn-rounding", "lower-to-integer"):
                    levels.append(graph)

            recipe = replace(
                self.calibrated.recipe,
                bits=precision.bits,
                method=precision.method,
                weight_bits=precision.weight_bits,
            )
            quantized = replace(self.calibrated, recipe=recipe).quantize(observe=see)
            found.append((quantized, levels[-1]))
        return tuple(found)

    @cached_property
    def _exact(self) -> list[list[np.ndarray]]:
        run = evaluate(self.calibrated.graph)
        return [[np.asarray(value, np.float64) for value in run(*sample)] for sample in self.kept.samples]

    def _costs(self, saving: str) -> Costs:
        """Cycles or bytes of every unit in the two programs, and of the conversions of values."""
        units, target = self.units, self.calibrated.target
        sums = []
        for quantized in self.programs:
            found = dict.fromkeys(units.by_name, 0.0)
            for row in _costs_of(quantized).rows:
                unit = units.sources.get(row.name)
                if unit is not None:
                    found[unit] += getattr(row, saving)
            sums.append(found)
        turns = {
            value: math.ceil(units.graph.types[value].size / target.macs_per_cycle) if saving == "cycles" else 0.0
            for unit in units
            for value in unit.reads
        }
        return Costs(narrow=sums[1], wide=sums[0], conversions=turns)


def _costs_of(quantized: Quantized) -> CostTable:
    """What the program costs; without known answers, nothing needs to be compiled."""
    return Program.make(quantized.graph, quantized.target).cost()
