"""The work behind `npuq.assign`: one calibrated network at any mixture of two widths, predicted and measured."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from npuq.backends.npu import Program
from npuq.backends.npu.cost import CostTable
from npuq.ir import Graph, NpuqError, evaluate
from npuq.passes.calibration.samples import Data, Reservoir, Sample, samples
from npuq.passes.mixed.hessian import Loss, predicted_rise
from npuq.passes.mixed.integer_program import Problem, curve
from npuq.passes.mixed.problem import Costs, op_costs, precisions_of, problem_of
from npuq.passes.mixed.units import Units, units_of
from npuq.passes.mixed.variants import Variants
from npuq.passes.precision import Precision

from ..quantization.calibrated import Calibrated
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


def labelled(graph: Graph, data: Data, few: Reservoir, labels: Sequence[Any] | np.ndarray | None) -> Iterator[Sample]:
    """Yield all samples, and add each with its label to a reservoir; there must be as many labels as samples."""
    index = -1
    for index, sample in enumerate(samples(graph, data)):
        if labels is not None and index >= len(labels):
            raise NpuqError(f"labels: {len(labels)} for more samples; one for each wanted")
        few.add(sample, None if labels is None else labels[index])
        yield sample
    if labels is not None and index + 1 < len(labels):
        raise NpuqError(f"labels: {len(labels)} for {index + 1} samples; one for each wanted")


@dataclass(frozen=True, eq=False)
class Mixing:
    """A calibrated network whose ops are narrow or wide; what that asks for is made once, when it is wanted."""

    calibrated: Calibrated
    few: Reservoir
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

    @cached_property
    def variants(self) -> Variants:
        """Both programs, and all between them, in one compiled function."""
        wide, narrow = self.programs
        units = units_of(narrow.scaled.graph, self.calibrated.target)
        return Variants.of(units, wide.qdq, narrow.qdq, self.calibrated.graph, self.few.samples)

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
        labels = None if loss is None else self.few.besides
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
        for sample, exact in zip(self.few.samples, self._exact, strict=True):
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
    def programs(self) -> tuple[Quantized, Quantized]:
        """The programs of all wide and of all narrow ops."""
        self.tell("quantizing", 0, 2)
        wide, narrow = (
            self.calibrated.quantize(bits=one.bits, method=one.method, weight_bits=one.weight_bits)
            for one in (self.wide, self.narrow)
        )
        return wide, narrow

    @cached_property
    def _exact(self) -> list[list[np.ndarray]]:
        run = evaluate(self.calibrated.graph)
        return [[np.asarray(value, np.float64) for value in run(*sample)] for sample in self.few.samples]

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
