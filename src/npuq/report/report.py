"""The report as a value: layers, the ranges of their values, instructions, memory, and their origin."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

from npuq.backends.memory import Plan
from npuq.backends.npu.cost import Cost
from npuq.backends.write_file import write_file
from npuq.comparison.measures import plain

from .curve import CurvePoint


@dataclass(frozen=True)
class Layer:
    """One quantized value of the network.

    `sqnr_db` is 10 log10(signal / noise) of the dequantized integers against float, with the errors of all layers
    before; `own_sqnr_db` that of the layer alone, on exact operands rounded to its input scales. Infinite if equal,
    None if not measured. `cycles` are computed from the target's data sheet.
    """

    name: str
    op: str
    place: str
    where: str
    reason: str
    dtype: str
    scale: float | None
    zero_point: int | None
    shape: tuple[int, ...]
    sqnr_db: float | None
    own_sqnr_db: float | None
    cosine: float | None
    macs: int
    bytes: int
    cycles: int
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tensor:
    """The statistics of one value, and the reals [low, high] of its least and greatest integers.

    `counts` are the elements other than zero in cells of `width` from `start` on; `clipped` is the share of all
    elements more than half a step beyond the range.
    """

    name: str
    op: str
    type: str
    scale: float
    low: float
    high: float
    minimum: float
    maximum: float
    elements: int
    zeros: float
    clipped: float
    start: float
    width: float
    counts: tuple[int, ...]


@dataclass(frozen=True)
class Agreement:
    """The rows of an output [rows, classes], over the report's samples, in which float and integers give one class."""

    equal: int
    rows: int
    classes: int


@dataclass(frozen=True)
class Details:
    """Data of the page's pictures that JSON leaves out: the program file and the statistics hold them."""

    tensors: tuple[Tensor, ...]
    instructions: tuple[Cost, ...]
    plan: Plan
    sram_bytes: int


@dataclass(frozen=True)
class Report:
    """What a quantized network does on its target: all layers in the order of execution, totals, and their origin.

    `samples` were used for calibration, `measured` of them for the errors. `outputs` holds the SQNR of each output.
    `wide_ranges` are (place, note) of values on another than the default calibration, and of layers that still lose
    much; `repairs` those of changes for the target's limits; `notes` are on the network as a whole.
    """

    graph: str
    target: str
    method: str
    samples: int
    measured: int
    layers: tuple[Layer, ...]
    outputs: Mapping[str, float | None]
    agreement: Mapping[str, Agreement]
    macs: int
    cycles: int
    milliseconds: float
    program_bytes: int
    arena_bytes: int
    constant_bytes: int
    host_segments: tuple[str, ...]
    repairs: tuple[tuple[str, str], ...]
    wide_ranges: tuple[tuple[str, str], ...]
    notes: tuple[str, ...]
    program_hash: str
    graph_digest: str
    data_digest: str
    npuq: str
    details: Details
    curve: tuple[CurvePoint, ...] = ()

    @property
    def worst_first(self) -> tuple[Layer, ...]:
        """The layers by rising SQNR; those that were not measured come last."""
        return tuple(sorted(self.layers, key=lambda layer: math.inf if layer.sqnr_db is None else layer.sqnr_db))

    @property
    def output_sqnr_db(self) -> float | None:
        """The SQNR of the worst output, None if none was measured."""
        return min((sqnr for sqnr in self.outputs.values() if sqnr is not None), default=None)

    def with_curve(self, curve: Sequence[CurvePoint]) -> Report:
        """The report with a curve of mixed precision, such as `npuq.assign(...).points`."""
        return replace(self, curve=tuple(curve))

    def to_json(self) -> str:
        """The report without its details as JSON, an infinite SQNR as null: the same report gives the same text."""
        content = {field.name: getattr(self, field.name) for field in fields(self) if field.name != "details"}
        return json.dumps(plain(content), indent=2) + "\n"

    def to_html(self) -> str:
        """The report as one self-contained HTML page: the same report gives the same text."""
        # The page draws with matplotlib, which is slow to load.
        from .page import page

        return page(self)

    def save_html(self, path: str | Path) -> None:
        """Write the page, whole or not at all; raises `NpuqError` where it cannot be written."""
        write_file(path, self.to_html().encode())
