"""Recurrent layers of integers: scans of cells whose gates are tables and whose inner state has 32 bits.

Gate sums and inner states are multiples of 2**-20, what functions give is a multiple of 2**-15: rules G1 to G4 of
`docs/arithmetic.md`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar

import jax
import jax.numpy as jnp

from ...arithmetic import INT32, Interval, accumulator_interval, require_rounding
from ...errors import require
from ...op import Arrays, Types, op
from ...requantize import Ends, requantize, symmetric
from ...types import DType, TensorType
from ..recurrent import Cell, Direction, State, backwards, require_lengths, scan_directions
from .interpolate import LENGTHS, interpolated
from .products import dot, exact_products
from .result import Accumulating, Clamped, Operand, require_zero_point

Factor = tuple[int, int]
"""A multiplier and its shift."""

SUM_FRACTION = 20
UNIT_FRACTION = 15
UNIT = 1 << UNIT_FRACTION
SUM_LIMIT = 1 << 30
STATE_LIMIT = (1 << 31) - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent(Clamped, Accumulating):
    """What the cells share. y and h are clamped integers of the scale behind `zero_point`.

    Operands: x [T, N, I], w [D, G*H, I], r [D, G*H, H] of i8 or i16; bias i64, multiplier and shift i32, all
    [D, 2, G*H], for the sums with w and those with r; table i16 [D, F, 2**n + 1]; states. `inputs` are the fraction
    bits of what each function reads; `clip` limits it, in 2**-20 (0: no limit). `hidden_in` and `hidden_out` take the
    state to multiples of 2**-20 and back.
    """

    gates: ClassVar[int]
    functions: ClassVar[int]
    factors: ClassVar[tuple[str, ...]] = ("hidden_out",)
    """The fields that hold a factor."""
    _step: ClassVar[Callable[..., State]]
    """The states after a step, from the gate functions, r, its factors, the states before and the sums with x."""
    weight_operands: ClassVar[tuple[int, ...]] = (1, 2)
    pre_shifts: ClassVar[bool] = True

    direction: Direction = "forward"
    inputs: tuple[int, ...]
    hidden_out: Factor
    clip: int = 0
    rounding: str = "single_half_up"
    accumulator: Interval = INT32

    def checked(self, *operands: TensorType) -> tuple[TensorType, TensorType]:
        """The types of all steps and of the last state; requires operands that fit each other."""
        x, w, r, bias, multiplier, shift, table, h0 = operands
        d = len(backwards(self.direction))
        for type_ in (x, w, r):
            require(type_.dtype in (DType.I8, DType.I16), f"{type_.dtype} operand, i8 or i16 wanted")
        require(x.rank == 3 and r.rank == 3, f"operands {x} and {r}, rank 3 wanted")
        require(w.dtype is r.dtype, f"weights of {w.dtype} and of {r.dtype}, one type wanted")
        (steps, batch, features), hidden = x.shape, r.shape[2]
        rows = self.gates * hidden
        require(w.shape == (d, rows, features), f"weights {w}, {(d, rows, features)} wanted")
        require(r.shape == (d, rows, hidden), f"recurrent weights {r}, {(d, rows, hidden)} wanted")
        for what, type_ in (("bias", bias), ("multiplier", multiplier), ("shift", shift)):
            wanted = TensorType(DType.I64 if what == "bias" else DType.I32, (d, 2, rows))
            require(type_ == wanted, f"{what} {type_}, {wanted} wanted")
        entries = table.shape[-1] if table.rank == 3 else 0
        sized = entries in {(1 << n) + 1 for n in LENGTHS} and table.shape[:2] == (d, self.functions)
        require(
            table.dtype is DType.I16 and sized, f"table {table}, i16[{d},{self.functions},2^n + 1], n 8 to 12 wanted"
        )
        wanted = TensorType(self.dtype, (d, batch, hidden))
        require(h0.bare == wanted, f"initial state {h0.bare}, {wanted} wanted")
        count = d * self.functions
        require(len(self.inputs) == count, f"{len(self.inputs)} input fractions, {count} wanted")
        require(all(1 <= bits < SUM_FRACTION for bits in self.inputs), f"input fractions {self.inputs}, 1 to 19 wanted")
        require(0 <= self.clip <= SUM_LIMIT, f"clip {self.clip}, 0 to 2^30 wanted")
        for factor in (getattr(self, name) for name in self.factors):
            fits = 0 < factor[0] < 1 << 31 and 2 <= factor[1] <= 62
            require(fits, f"factor {factor}, (1 to 2^31 - 1, 2 to 62) wanted")
        require_rounding(self.rounding, self.accumulator)
        return self.stored((steps, d, batch, hidden)), self.stored(wanted.shape)

    def accumulator_bounds(self, *operands: Operand) -> Interval:
        """Rule A1 for the sums with x and for those with the state, which has all integers of its type."""
        x, *weights, bias = operands[:4]
        found = []
        for part, interval in enumerate((x.bounds, self.dtype.range)):
            rows = weights[part].known.reshape(-1, weights[part].type.shape[-1]).T
            found.append(accumulator_interval(rows, bias.known[:, part].reshape(-1), *interval))
        return min(low for low, _ in found), max(high for _, high in found)

    def macs(self, x: TensorType, w: TensorType, r: TensorType, *rest: TensorType) -> int:
        steps, batch, _ = x.shape
        return steps * batch * (w.size + r.size)

    def scanned(
        self, operands: Arrays, states: State, lengths: jax.Array | None = None, **optional: jax.Array
    ) -> Arrays:
        """All steps and the last states: the sums with x of all steps at once, those with h in a scan of `_step`."""
        x, w, r, bias, multiplier, shift, table = operands

        def cell(d: int) -> Cell:
            with_x, with_h = ((bias[d, part], multiplier[d, part], shift[d, part]) for part in range(2))
            own = {name: array[d] for name, array in optional.items()}
            step = partial(self._step, partial(self.gate, table[d], d), r[d], with_h, **own)
            return step, tuple(state[d] for state in states), self.sums(x, w[d], with_x)

        return scan_directions(self.direction, cell, lengths, outside=self.zero_point)

    def sums(self, x: jax.Array, w: jax.Array, factors: Arrays) -> jax.Array:
        """Rule G1: x [..., K] times the rows of w [M, K] plus a bias, in 2^-20."""
        bias, multiplier, shift = factors
        rows = x.reshape(-1, x.shape[-1])
        found = exact_products(dot, rows, w.T, w.shape[1], self.accumulator).astype(jnp.int64) + bias
        ends = symmetric(SUM_LIMIT)
        scaled = requantize(found, multiplier, shift, rounding=self.rounding, interval=self.accumulator, **ends)
        return scaled.astype(jnp.int64).reshape(*x.shape[:-1], -1)

    def gate(self, table: jax.Array, direction: int, place: int, x: jax.Array, *, limited: bool = True) -> jax.Array:
        """Rule G2: a function of x in 2^-20, by interpolation in its table, in 2^-15."""
        if self.clip and limited:
            x = jnp.clip(x, -self.clip, self.clip)
        drop = SUM_FRACTION - self.inputs[direction * self.functions + place]
        inputs = jnp.clip(rounded(x, drop), -(1 << 15), (1 << 15) - 1)
        return interpolated(table[place], inputs).astype(jnp.int64)

    def stored_state(self, x: jax.Array, factor: Factor, zero_point: int, bound: int) -> jax.Array:
        """A state or result as stored integers."""
        return self.scaled_by(x, factor, bound, {**self.ends, "zero_point": zero_point})

    def inner_state(self, x: jax.Array, zero_point: int, factor: Factor) -> jax.Array:
        """A stored state in 2^-20, as int64 within 32 bits."""
        return self.scaled_by(x.astype(jnp.int64) - zero_point, factor, 1 << 17, symmetric(STATE_LIMIT)).astype(
            jnp.int64
        )

    def scaled_by(self, x: jax.Array, factor: Factor, bound: int, ends: Ends) -> jax.Array:
        """A requantization by one factor of integers of magnitude at most `bound`."""
        multiplier, shift = (jnp.asarray(number, jnp.int32) for number in factor)
        interval = -bound, bound
        return requantize(x.astype(jnp.int64), multiplier, shift, rounding=self.rounding, interval=interval, **ends)


def rounded(x: jax.Array, shift: int) -> jax.Array:
    """x / 2^shift to nearest, halves up."""
    return (x + (1 << (shift - 1))) >> shift


def mixed(a: jax.Array, x: jax.Array, b: jax.Array, y: jax.Array) -> jax.Array:
    """a * x + b * y of factors a, b and y in 2^-15 and a state x in 2^-20: a state, rounded once."""
    total = rounded(a * x + ((b * y) << (SUM_FRACTION - UNIT_FRACTION)), UNIT_FRACTION)
    return jnp.clip(total, -STATE_LIMIT, STATE_LIMIT)


@op("npu.lstm")
class Lstm(Recurrent):
    """Long short-term memory, gates i, o, f, c: (y, h, c): rule G3. The cell has a scale of its own outside.

    Peepholes i32 [D, 3*H] are in 2^-20, those of i, o, f.
    """

    gates: ClassVar[int] = 4
    functions: ClassVar[int] = 3
    factors: ClassVar[tuple[str, ...]] = ("cell_in", "cell_out", "hidden_out")

    cell_in: Factor
    cell_out: Factor
    cell_zero_point: int = 0
    input_forget: bool = False

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        bias: TensorType,
        multiplier: TensorType,
        shift: TensorType,
        table: TensorType,
        h0: TensorType,
        c0: TensorType,
        peepholes: TensorType | None = None,
        lengths: TensorType | None = None,
    ) -> Types:
        require_lengths(lengths, x)
        y, h = self.checked(x, w, r, bias, multiplier, shift, table, h0)
        require(c0.bare == h, f"initial cell {c0.bare}, {h} wanted")
        wanted = TensorType(DType.I32, (h.shape[0], 3 * h.shape[2]))
        require(peepholes in (None, wanted), f"peepholes {peepholes}, {wanted} wanted")
        require_zero_point(self.dtype, self.cell_zero_point)
        return y, h, h

    def evaluate(self, *operands: jax.Array) -> Arrays:
        h0, c0, *rest = operands[7:]
        holes, lengths = (*rest, None, None)[:2]
        states = h0, self.inner_state(c0, self.cell_zero_point, self.cell_in)
        optional = {} if holes is None else {"holes": holes.astype(jnp.int64)}
        y, h, c = self.scanned(operands[:7], states, lengths, **optional)
        return y, h, self.stored_state(c, self.cell_out, self.cell_zero_point, STATE_LIMIT)

    def _step(
        self,
        function: Any,
        r: jax.Array,
        factors: Arrays,
        state: State,
        sums: jax.Array,
        holes: jax.Array | None = None,
    ) -> State:
        hidden, cell = state
        i, o, forget, candidate = jnp.split(sums + self.sums(hidden, r, factors), 4, -1)
        if holes is not None:
            of_i, of_o, of_forget = jnp.split(holes, 3, -1)
            i, forget = i + rounded(of_i * cell, SUM_FRACTION), forget + rounded(of_forget * cell, SUM_FRACTION)
        i = function(0, i)
        forget = UNIT - i if self.input_forget else function(0, forget)
        cell = mixed(forget, cell, i, function(1, candidate))
        if holes is not None:
            o = o + rounded(of_o * cell, SUM_FRACTION)
        product = function(0, o) * function(2, cell, limited=False)
        return self.stored_state(product, self.hidden_out, self.zero_point, 1 << (2 * UNIT_FRACTION)), cell


@dataclass(frozen=True, slots=True, kw_only=True)
class _WithoutCell(Recurrent):
    """A layer whose only outer state is h."""

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        bias: TensorType,
        multiplier: TensorType,
        shift: TensorType,
        table: TensorType,
        h0: TensorType,
        lengths: TensorType | None = None,
    ) -> Types:
        require_lengths(lengths, x)
        return self.checked(x, w, r, bias, multiplier, shift, table, h0)

    def evaluate(self, *operands: jax.Array) -> Arrays:
        h0, *lengths = operands[7:]
        return self.scanned(operands[:7], (h0, *self.inner(h0)), *lengths)[:2]

    def inner(self, h0: jax.Array) -> State:
        """The first inner states."""
        return ()


@op("npu.gru")
class Gru(_WithoutCell):
    """Gated recurrent unit, gates z, r, h: (y, h): rule G4."""

    gates: ClassVar[int] = 3
    functions: ClassVar[int] = 2
    factors: ClassVar[tuple[str, ...]] = ("hidden_in", "hidden_out")

    hidden_in: Factor
    linear_before_reset: bool = False

    def inner(self, h0: jax.Array) -> State:
        return (self.inner_state(h0, self.zero_point, self.hidden_in),)

    def _step(self, function: Any, r: jax.Array, factors: Arrays, state: State, sums: jax.Array) -> State:
        stored, hidden = state
        gated = 2 * stored.shape[-1]
        first, last = (tuple(factor[part] for factor in factors) for part in (slice(gated), slice(gated, None)))
        z, reset = jnp.split(function(0, sums[..., :gated] + self.sums(stored, r[:gated], first)), 2, -1)
        if self.linear_before_reset:
            inner = rounded(reset * self.sums(stored, r[gated:], last), UNIT_FRACTION)
        else:
            kept = rounded(reset * hidden, UNIT_FRACTION)
            inner = self.sums(self.stored_state(kept, self.hidden_out, self.zero_point, STATE_LIMIT), r[gated:], last)
        candidate = function(1, sums[..., gated:] + inner)
        hidden = mixed(z, hidden, UNIT - z, candidate)
        return self.stored_state(hidden, self.hidden_out, self.zero_point, STATE_LIMIT), hidden


@op("npu.rnn")
class Rnn(_WithoutCell):
    """The plain recurrent layer: (y, h), a function of the sums with x and h: rules G1 and G2."""

    gates: ClassVar[int] = 1
    functions: ClassVar[int] = 1

    def _step(self, function: Any, r: jax.Array, factors: Arrays, state: State, sums: jax.Array) -> State:
        value = function(0, sums + self.sums(state[0], r, factors))
        return (self.stored_state(value, self.hidden_out, self.zero_point, 1 << UNIT_FRACTION),)
