"""A calibrated network at any mixture of two widths, its error predicted and measured: for `npuq.assign`."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
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
    """One choice of widths, a point of the curve; what was not measured is None.

    `ratio` is the request, `narrow_ops` the share of narrow ops, `saved` the saving as a share of that of all narrow
    ops. `predicted` and `measured` are the noise of the outputs over their signal, 10^(-SQNR / 10); with a loss,
    `predicted` is its rise. `cycles` and `constant_bytes` are the program's.
    """

    ratio: float
    narrow_ops: float
    saved: float
    precision: Mapping[str, Precision]
    predicted: float | None = None
    measured: float | None = None
    cycles: int | None = None
    constant_bytes: int | None = None

    @property
    def predicted_db(self) -> float | None:
        return _decibels(self.predicted)

    @property
    def measured_db(self) -> float | None:
        return _decibels(self.measured)


def _decibels(error: float | None) -> float | None:
    """The SQNR of a relative error."""
    if error is None:
        return None
    return -10 * math.log10(error) if error > 0 else math.inf


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
    """A calibrated network whose ops are narrow or wide; `few` are the samples of its measures."""

    calibrated: Calibrated
    few: Reservoir
    narrow: Precision
    wide: Precision
    progress: Progress

    @cached_property
    def all_units(self) -> Units:
        """The units of the calibrated network, before lowering may have left some to the host."""
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
        """The error that each point alone adds, f64[points]."""
        total = len(self.variants.points)
        return self.variants.alone(lambda done: self.progress("measuring each op", done, total))

    def rises(self, loss: Loss | None) -> np.ndarray:
        """The rise of the loss that each point adds by the traces of its Hessian, f64[points]."""
        total, labels = len(self.variants.samples), None if loss is None else self.few.besides
        return predicted_rise(
            self.variants, loss, labels, progress=lambda done: self.progress("taking the traces", done, total)
        )

    def problem(self, noise: np.ndarray, saving: str, *, floor: bool = True) -> Problem:
        """The integer program: noise against ops, cycles or bytes; `floor` adds the error of all wide ops."""
        none = np.zeros(len(self.variants.points), bool)
        least = self.variants.error(none) if floor else 0.0
        costs = op_costs(self.units) if saving == "ops" else self._costs(saving)
        problem = problem_of(self.units, self.variants.points, noise, costs, floor=least)
        if problem.size == 0 or problem.span <= 0:
            raise NpuqError(f"{self.calibrated.graph.name}: narrow ops save no {saving}; there is nothing to choose")
        return problem

    def choices(self, problem: Problem, ratios: Sequence[float]) -> list[Choice]:
        """The best choice for each ratio."""
        self.progress("choosing", 0, len(ratios))
        found = []
        for ratio, narrow in zip(ratios, curve(problem, ratios), strict=True):
            widths = precisions_of(self.units, narrow.tolist(), self.narrow, self.wide)
            found.append(Choice(ratio, float(narrow.mean()), problem.saved(narrow), widths, problem.error(narrow)))
        return found

    def measured(self, choice: Choice) -> tuple[Choice, Quantized]:
        """The choice with the error of the integer simulator and the program's cost."""
        quantized = self.calibrated.quantize(choice.precision)
        costs, error = _costs_of(quantized), self.error(quantized)
        return replace(choice, measured=error, cycles=costs.cycles, constant_bytes=costs.constant_bytes), quantized

    def error(self, quantized: Quantized) -> float | None:
        """The noise of the float outputs of the integer program over their signal; None where there are none."""
        floats = [index for index, type_ in enumerate(self.calibrated.graph.output_types) if type_.dtype.is_float]
        sums = np.zeros((len(floats), 2))
        for sample, exact in zip(self.few.samples, self._exact, strict=True):
            outputs = quantized.simulate(*sample)
            for row, index in zip(sums, floats, strict=True):
                row += (np.square(outputs[index] - exact[index]).sum(), np.square(exact[index]).sum())
        ratios = [noise / signal for noise, signal in sums.tolist() if signal > 0]
        return sum(ratios) / len(ratios) if ratios else None

    def by_op(self, problem: Problem) -> dict[str, float]:
        """The error that each unit adds if it alone is narrow, by name, the worst first."""
        base = problem.error(np.zeros(problem.size, bool))
        alone = [problem.error(row) - base for row in np.eye(problem.size, dtype=bool)]
        return dict(sorted(zip(self.units.by_name, alone, strict=True), key=lambda pair: -pair[1]))

    @cached_property
    def programs(self) -> tuple[Quantized, Quantized]:
        """The programs of all wide and of all narrow ops."""
        self.progress("quantizing", 0, 2)
        wide, narrow = (self.calibrated.quantize(**asdict(one)) for one in (self.wide, self.narrow))
        return wide, narrow

    @cached_property
    def _exact(self) -> list[list[np.ndarray]]:
        run = evaluate(self.calibrated.graph)
        return [[np.asarray(value, np.float64) for value in run(*sample)] for sample in self.few.samples]

    def _costs(self, saving: str) -> Costs:
        """Cycles or bytes of every unit in the two programs, and of the conversions of values."""
        units, target = self.units, self.calibrated.target
        wide, narrow = (dict.fromkeys(units.by_name, 0.0) for _ in range(2))
        for quantized, costs in zip(self.programs, (wide, narrow), strict=True):
            for row in _costs_of(quantized).rows:
                if (unit := units.sources.get(row.name)) is not None:
                    costs[unit] += getattr(row, saving)
        conversions = {
            value: math.ceil(units.graph.types[value].size / target.macs_per_cycle) if saving == "cycles" else 0.0
            for unit in units
            for value in unit.reads
        }
        return Costs(narrow=narrow, wide=wide, conversions=conversions)


def _costs_of(quantized: Quantized) -> CostTable:
    """The program's costs; without known answers, nothing needs to be compiled."""
    return Program.make(quantized.graph, quantized.target).cost()
