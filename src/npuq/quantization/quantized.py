"""The result of quantization: a network at its levels, with its report and its files."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from npuq.backends.npu import Program
from npuq.backends.simulator import simulator
from npuq.backends.write_file import write_file
from npuq.ir import Graph
from npuq.passes.calibration.samples import Sample, require_all_rows, rows_of
from npuq.passes.calibration.statistics import Observed
from npuq.passes.lowering.lower_to_integer import Lowered
from npuq.passes.lowering.plan import Held
from npuq.passes.quantize.insert_fake_quant import Scales
from npuq.passes.quantize.scale_file import scales_json
from npuq.passes.scales import Range
from npuq.passes.target import Target

from ..comparison.compare import Progress
from ..comparison.dump import write_dump
from ..report.report import Report
from .measure import make_report
from .recipe import Recipe

KNOWN_ANSWERS = 2


@dataclass(frozen=True, eq=False)
class Quantized:
    """A quantized network at its levels: float, fake-quant, integer and program.

    `samples` are a few of calibration's, for the report and the known answers. `scaled` has the inserted scales with
    the repairs for the target's limits. `notes` are about the options; `wide_ranges` (place, change) name values on
    another than the default method; `could_equalize`: more effort would equalize channels.
    """

    float_graph: Graph
    target: Target
    recipe: Recipe
    method: str
    statistics: Observed
    ranges: Mapping[Held, Range]
    samples: tuple[Sample, ...]
    scaled: Scales
    lowered: Lowered
    notes: tuple[str, ...] = ()
    wide_ranges: tuple[tuple[str, str], ...] = ()
    could_equalize: bool = False

    @property
    def qdq(self) -> Graph:
        """The fake-quant graph."""
        return self.lowered.source

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
        """The result of `measure`."""
        return self.measure()

    def measure(self, progress: Progress = lambda count: None) -> Report:
        """Measure every layer on a few calibration samples."""
        return make_report(self, progress)

    def dump(self, folder: str | Path, samples: int = 1) -> None:
        """Write every value of the first `samples` of the report's samples at each level: float, fake-quant, integer.

        `npuq.comparison.dump.read_dump` reads each of the three folders; `npuq compare` and `npuq diverge` take them.
        """
        for name, graph in (("float", self.float_graph), ("fake-quant", self.qdq), ("integer", self.graph)):
            write_dump(graph, self.samples[:samples], Path(folder) / name)

    def simulate(self, *inputs: Any, raw: bool = False, **named: Any) -> tuple[np.ndarray, ...]:
        """Run the integer graph: float outputs, dequantized, or with `raw` the integers.

        Inputs come in order or by name; they are floats or, in the types of the integer graph's inputs, integers; the
        leading axis may hold any multiple of the graph's own batch. Indices beyond their table are refused.
        """
        given = named or dict(zip(self.graph.inputs, inputs, strict=False))
        rows, run = self._runner
        require_all_rows(rows, given)
        return run(*inputs, raw=raw, **named)

    @cached_property
    def _runner(self) -> tuple[Mapping[str, int], Callable[..., tuple[np.ndarray, ...]]]:
        return rows_of(self.graph), simulator(self.graph)
