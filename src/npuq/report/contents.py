"""What a report holds: layers, the ranges of their values, instructions, memory, and where all of it comes from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from npuq.backends.memory import Plan
from npuq.backends.npu.cost import Cost

from .curve import CurvePoint


@dataclass(frozen=True)
class Layer:
    """One quantized value of the network.

    `sqnr_db` is 10 log10(signal / noise) of the integers, scaled, against the float network, errors of all layers
    before it included; `own_sqnr_db` that of the layer alone, with exact operands rounded to its own input scales.
    Infinite where they are equal, None where not measured. `cycles` come from the target's data sheet numbers, not
    from a machine.
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
    """What calibration saw of one value, and the reals [low, high] that its integers reach.

    `counts` are the elements other than zero in cells of one width from `start` on; `clipped` is the share of all
    elements more than half a step beyond the range, to the width of a calibration cell.
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
    """In how many rows of an output [rows, classes], over the report's samples, float and integers name one class."""

    equal: int
    rows: int
    classes: int


@dataclass(frozen=True)
class Details:
    """What the page draws and JSON leaves out: it is in the program file, or in the calibration's statistics."""

    tensors: tuple[Tensor, ...]
    instructions: tuple[Cost, ...]
    plan: Plan
    sram_bytes: int


@dataclass(frozen=True)
class Contents:
    """All layers in the order of execution, the totals, and where they come from.

    `samples` calibrated, `measured` of them gave the errors. `outputs` holds the SQNR of each output. `wide_ranges` are
    (place, note) of values that the default calibration would have cost too much, and of layers that still lose much;
    `repairs` those of what the target's limits asked for; `notes` are on the network as a whole.
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
        """The layers by rising SQNR; what was not measured comes last."""
        return tuple(sorted(self.layers, key=lambda layer: math.inf if layer.sqnr_db is None else layer.sqnr_db))

    @property
    def output_sqnr_db(self) -> float | None:
        """The SQNR of the worst output; None where no output was measured."""
        return min((sqnr for sqnr in self.outputs.values() if sqnr is not None), default=None)
