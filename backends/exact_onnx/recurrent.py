"""Emitters of integer recurrent layers: an ONNX Scan for each direction, whose body is one step of the cell."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import pairwise

import numpy as np

from npuq.ir import DType
from npuq.ir.ops.npu.recurrent import STATE_LIMIT, SUM_FRACTION, SUM_LIMIT, UNIT, UNIT_FRACTION, Factor, Gru, Lstm, Rnn
from npuq.ir.ops.recurrent import backwards

from .pointwise import interpolated
from .products import weights_product
from .rounding import limited, requantized, rescaled, shifted
from .writer import ExactWriter, emits

Layer = Lstm | Gru | Rnn
Step = Callable[[list[str], str], list[str]]
"""From the states and a step's sums with x to the next states; all are names of int64 values."""
Results = tuple[str, ...]
"""The first state of every step, and the last states as they are stored."""


@emits(Lstm)
def lstm(write: ExactWriter, op: Lstm) -> None:
    """Rules G1 to G3."""

    def run(cell: _Cell) -> Results:
        c0 = cell.inner(cell.part(8), op.cell_zero_point, op.cell_in)
        holes = cell.split(cell.part(9), 3) if len(write.node.operands) > 9 else None
        every, (h, c) = cell.scan(partial(_lstm_step, cell, op, holes), [cell.part(7), c0], lengths=10)
        return every, h, cell.stored(c, op.cell_out, op.cell_zero_point)

    _each_direction(write, op, run)


@emits(Gru)
def gru(write: ExactWriter, op: Gru) -> None:
    """Rules G1, G2 and G4."""

    def run(cell: _Cell) -> Results:
        h0 = cell.part(7)
        states = [h0, cell.inner(h0, op.zero_point, op.hidden_in)]
        every, (h, _) = cell.scan(partial(_gru_step, cell, op), states, lengths=8)
        return every, h

    _each_direction(write, op, run)


@emits(Rnn)
def rnn(write: ExactWriter, op: Rnn) -> None:
    """Rules G1, G2 and G4."""

    def run(cell: _Cell) -> Results:
        every, (h,) = cell.scan(partial(_rnn_step, cell, op), [cell.part(7)], lengths=8)
        return every, h

    _each_direction(write, op, run)


def _lstm_step(cell: _Cell, op: Lstm, holes: list[str] | None, states: list[str], sums: str) -> list[str]:
    hidden, state = states
    i, o, forget, candidate = cell.split(cell.step("Add", sums, cell.sums(hidden, 1)), 4)

    def peep(gate: str, hole: int) -> str:
        if holes is None:
            return gate
        return cell.step("Add", gate, cell.rounded(cell.step("Mul", holes[hole], state), SUM_FRACTION))

    i, forget = cell.function(0, peep(i, 0)), peep(forget, 2)
    f = cell.step("Sub", cell.number(UNIT), i) if op.input_forget else cell.function(0, forget)
    state = cell.mixed(f, state, i, cell.function(1, candidate))
    gate = cell.function(0, peep(o, 1))
    product = cell.step("Mul", gate, cell.function(2, state, limit=False))
    return [cell.stored(product, op.hidden_out, op.zero_point), state]


def _gru_step(cell: _Cell, op: Gru, states: list[str], sums: str) -> list[str]:
    stored, hidden = states
    size = cell.hidden
    gated, last = slice(0, 2 * size), slice(2 * size, 3 * size)
    of_gates, of_candidate = cell.slices(sums, (2 * size, size))
    both = cell.function(0, cell.step("Add", of_gates, cell.sums(stored, 1, gated)))
    z, reset = cell.split(both, 2)
    if op.linear_before_reset:
        inner = cell.rounded(cell.step("Mul", reset, cell.sums(stored, 1, last)), UNIT_FRACTION)
    else:
        kept = cell.rounded(cell.step("Mul", reset, hidden), UNIT_FRACTION)
        inner = cell.sums(cell.stored(kept, op.hidden_out, op.zero_point), 1, last)
    candidate = cell.function(1, cell.step("Add", of_candidate, inner))
    hidden = cell.mixed(z, hidden, cell.step("Sub", cell.number(UNIT), z), candidate)
    return [cell.stored(hidden, op.hidden_out, op.zero_point), hidden]


def _rnn_step(cell: _Cell, op: Rnn, states: list[str], sums: str) -> list[str]:
    total = cell.step("Add", sums, cell.sums(states[0], 1))
    return [cell.stored(cell.function(0, total), op.hidden_out, op.zero_point)]


def _each_direction(write: ExactWriter, op: Layer, run: Callable[[_Cell], Results]) -> None:
    """Run each direction; join the results of every step along axis 1, the last ones along axis 0."""
    directions = [run(_Cell(write, op, d, back)) for d, back in enumerate(backwards(op.direction))]
    for index, (name, type_) in enumerate(zip(write.node.results, write.node.types, strict=True)):
        axis = 1 if index == 0 else 0
        axes = write.integers((axis,), "axes")
        parts = [write.step("Unsqueeze", found[index], axes) for found in directions]
        whole = parts[0] if len(parts) == 1 else write.step("Concat", *parts, axis=axis)
        write.cast_to(write.names[name], whole, type_.dtype)


class _Cell:
    """One direction of a layer: its parameters, and the arithmetic of its steps."""

    def __init__(self, write: ExactWriter, op: Layer, direction: int, backwards: bool) -> None:
        self.write, self.op, self.direction, self.backwards = write, op, direction, backwards
        names = ("weights", "recurrent weights", "bias", "multipliers", "shifts", "tables")
        w, r, self.bias, self.multipliers, self.shifts, self.table = (
            write.known(index, what)[direction] for index, what in enumerate(names, 1)
        )
        self.weights = (w, r)
        self.hidden = r.shape[1]

    def step(self, op: str, *inputs: str, **attributes: object) -> str:
        return self.write.step(op, *inputs, **attributes)

    def number(self, value: int) -> str:
        return self.write.scalar(value)

    def part(self, index: int) -> str:
        """The part of an operand [D, ...] for this direction."""
        taken = self.step("Gather", self.write.operands[index], self.number(self.direction), axis=0)
        return self.write.cast(taken, DType.I64)

    def split(self, x: str, count: int) -> list[str]:
        return self.slices(x, (self.hidden,) * count)

    def slices(self, x: str, sizes: tuple[int, ...]) -> list[str]:
        """Consecutive parts of the last axis."""
        ends = np.cumsum((0, *sizes)).tolist()
        axes = self.write.integers((-1,), "axes")
        return [
            self.step("Slice", x, self.write.integers((start,), "start"), self.write.integers((stop,), "stop"), axes)
            for start, stop in pairwise(ends)
        ]

    def sums(self, x: str, kind: int, rows: slice = slice(None)) -> str:
        """Rule G1, of x (kind 0) or of the state (kind 1)."""
        write = self.write
        products = weights_product(write, x, self.weights[kind][rows].T)
        total = self.step("Add", products, write.constant(self.bias[kind][rows], "bias"))
        m, s = self.multipliers[kind][rows], self.shifts[kind][rows]
        return self.within(requantized(write, total, self.op, m, s), SUM_LIMIT)

    def function(self, place: int, x: str, *, limit: bool = True) -> str:
        """Rule G2."""
        op, write = self.op, self.write
        if op.clip and limit:
            x = self.within(x, op.clip)
        drop = SUM_FRACTION - op.inputs[self.direction * op.functions + place]
        place_of = limited(write, self.rounded(x, drop), -(1 << 15), (1 << 15) - 1)
        return interpolated(write, self.table[place], write.cast(place_of, DType.I64))

    def rounded(self, x: str, bits: int) -> str:
        """x / 2^bits to nearest, halves up."""
        half = self.step("Add", x, self.number(1 << (bits - 1)))
        return shifted(self.write, half, np.asarray(bits))

    def within(self, x: str, limit: int) -> str:
        return self.write.cast(limited(self.write, x, -limit, limit), DType.I64)

    def mixed(self, a: str, x: str, b: str, y: str) -> str:
        """a * x + b * y as a state."""
        second = self.step("Mul", self.step("Mul", b, y), self.number(1 << (SUM_FRACTION - UNIT_FRACTION)))
        total = self.step("Add", self.step("Mul", a, x), second)
        return self.within(self.rounded(total, UNIT_FRACTION), STATE_LIMIT)

    def inner(self, x: str, zero_point: int, factor: Factor) -> str:
        """A stored state in 2^-20."""
        centred = self.step("Sub", x, self.number(zero_point)) if zero_point else x
        return self.within(self.rescaled(centred, factor), STATE_LIMIT)

    def stored(self, x: str, factor: Factor, zero_point: int) -> str:
        """A state or result as stored integers, in int64."""
        moved = self.step("Add", self.rescaled(x, factor), self.number(zero_point))
        stored = limited(self.write, moved, self.op.low, self.op.high)
        return self.write.cast(stored, DType.I64)

    def rescaled(self, x: str, factor: Factor) -> str:
        m, s = (np.asarray(number, np.int64) for number in factor)
        return rescaled(self.write, x, self.op.rounding, m, s)

    def scan(self, step: Step, states: list[str], *, lengths: int) -> tuple[str, list[str]]:
        """Run the steps over the sums with x; return the first state of every step, and the last states.

        A reversed sequence keeps its states until its last step.
        """
        write = self.write
        entries = [self.sums(write.operands[0], 0)]
        if len(write.node.operands) > lengths:
            count = write.operand_type(0).shape[0]
            index = write.constant(np.arange(count).reshape(-1, 1, 1), "steps")
            ends = write.cast(write.operands[lengths], DType.I64)
            ends = self.step("Unsqueeze", ends, write.integers((1,), "axes"))
            entries.append(self.step("Less", index, ends))

        def body(before: list[str], now: list[str]) -> tuple[list[str], str]:
            after = step(before, now[0])
            if len(now) == 1:
                return after, after[0]
            held = [self.step("Where", now[1], new, old) for new, old in zip(after, before, strict=True)]
            return held, self.step("Where", now[1], after[0], self.number(self.op.zero_point))

        return write.scan(body, states, entries, backwards=self.backwards)
