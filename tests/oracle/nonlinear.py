"""Division, normalization and recurrent cells once more, in Python integers of any size, from the rules' text alone."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

Array = np.ndarray
Attributes = Mapping[str, Any]


def nearest(numerator: int, denominator: int) -> int:
    """Rule I1: the quotient rounded to nearest, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)


def root(x: int) -> int:
    """Rule I2: the integer nearest to the square root; a root is never half an integer."""
    return (math.isqrt(4 * x) + 1) // 2


def reciprocal_root(x: int) -> tuple[int, int]:
    """Rule I3."""
    e = 0
    while x << (2 * e + 2) < 1 << 62:
        e += 1
    return nearest(1 << 61, root(x << (2 * e))), e


def shifted(total: int, shift: int, rounding: str) -> int:
    """Rule R9."""
    unit = 1 << shift
    if rounding == "floor":
        return total // unit
    if rounding in ("tflite_double", "pot_half_away"):
        return -nearest(-total, unit) if total < 0 else nearest(total, unit)
    return nearest(total, unit)


def clamped(attributes: Attributes, value: int) -> int:
    """Add the zero point and clamp."""
    low, high, zero_point = attributes.get("low", -128), attributes.get("high", 127), attributes.get("zero_point", 0)
    return int(min(max(value + zero_point, low), high))


def div(attributes: Attributes, a: Array, b: Array) -> Array:
    za, zb = attributes.get("zero_points", (0, 0))
    factor, shift = attributes["factor"], attributes["shift"]

    def one(left: int, right: int) -> int:
        top, bottom = (int(left) - za) * factor, (int(right) - zb) * 2**shift
        if bottom == 0:
            return clamped(attributes, 10**9 if top > 0 else -(10**9) if top < 0 else 0)
        return clamped(attributes, nearest(top, bottom) if bottom > 0 else nearest(-top, -bottom))

    return np.asarray(np.vectorize(one, otypes=[np.int64])(a, b))


def hypot(attributes: Attributes, a: Array, b: Array, multiplier: Array, shift: Array) -> Array:
    za, zb = attributes.get("zero_points", (0, 0))
    wa, wb = attributes.get("weights", (1 << 13, 1 << 13))
    factor, rounding = (int(multiplier[0]), int(shift[0])), attributes.get("rounding", "single_half_up")

    def one(left: int, right: int) -> int:
        length = root(((int(left) - za) * wa) ** 2 + ((int(right) - zb) * wb) ** 2)
        return clamped(attributes, rescaled(length, factor, rounding))

    return np.asarray(np.vectorize(one, otypes=[np.int64])(a, b))


def _log2_ceiling(count: int) -> int:
    found = 0
    while 2**found < count:
        found += 1
    return found


def normalized(attributes: Attributes, x: Array, factors: tuple[Array, ...], *, centred: bool) -> Array:
    """Rules N1 and N2, row by row."""
    axis = attributes["axis"]
    rows = x.reshape(math.prod(x.shape[:axis]), -1)
    multipliers, biases = (np.broadcast_to(factor, x.shape).reshape(rows.shape).tolist() for factor in factors[:2])
    shift = int(factors[2][0])
    n = rows.shape[1]
    p = _log2_ceiling(n)
    f, fraction = attributes["fraction"], 29 - (p + 1) // 2
    found = []
    for row, ms, bs in zip(rows.tolist(), multipliers, biases, strict=True):
        centre = sum(row) if centred else n * attributes.get("input_zero_point", 0)
        distances = [n * element - centre for element in row]
        variance = sum(distance**2 for distance in distances) // n
        reciprocal, e = reciprocal_root(variance * 4**f + attributes.get("epsilon", 1))
        drop = max(61 - e - f - fraction, 1)
        for distance, m, b in zip(distances, ms, bs, strict=True):
            z = nearest(distance * reciprocal, 2**drop)
            found.append(clamped(attributes, shifted(z * m + b, shift, attributes.get("rounding", "single_half_up"))))
    return np.asarray(found, np.int64).reshape(x.shape)


def layer_norm(attributes: Attributes, x: Array, *factors: Array) -> Array:
    return normalized(attributes, x, factors, centred=True)


def rms_norm(attributes: Attributes, x: Array, *factors: Array) -> Array:
    return normalized(attributes, x, factors, centred=False)


def rescaled(value: int, factor: tuple[int, int], rounding: str) -> int:
    """Rules R1 and R7 of one integer."""
    multiplier, shift = factor
    if rounding == "floor":
        return (value * multiplier) // (1 << shift)
    assert rounding == "single_half_up", rounding
    return nearest(value * multiplier, 1 << shift)


def between(value: int, limit: int) -> int:
    return max(-limit, min(limit, value))


def looked_up(table: list[int], x: int) -> int:
    """Rule L2: interpolation between entries at every 65536 / (entries - 1) integers from -32768 on."""
    width = 65536 // (len(table) - 1)
    index, offset = divmod(x + 32768, width)
    return table[index] + nearest((table[index + 1] - table[index]) * offset, width)


class Cell:
    """One direction of a recurrent op, one sequence, in Python integers."""

    def __init__(self, attributes: Attributes, operands: tuple[Array, ...], direction: int, functions: int) -> None:
        x, w, r, bias, multiplier, shift, table = (operand.tolist() for operand in operands[:7])
        del x
        self.attributes, self.direction, self.functions = attributes, direction, functions
        self.rounding = attributes.get("rounding", "single_half_up")
        self.weights = (w[direction], r[direction])
        self.factors = (bias[direction], multiplier[direction], shift[direction])
        self.table = table[direction]

    def sums(self, x: list[int], part: int) -> list[int]:
        """Rule G1 of one vector: part 0 with w, part 1 with r."""
        bias, multiplier, shift = (factor[part] for factor in self.factors)
        found = []
        for row, b, m, s in zip(self.weights[part], bias, multiplier, shift, strict=True):
            total = sum(a * c for a, c in zip(x, row, strict=True)) + b
            found.append(between(rescaled(total, (m, s), self.rounding), 1 << 30))
        return found

    def function(self, place: int, x: int, *, limited: bool = True) -> int:
        """Rule G2."""
        clip = self.attributes.get("clip", 0)
        if clip and limited:
            x = between(x, clip)
        bits = self.attributes["inputs"][self.direction * self.functions + place]
        return looked_up(self.table[place], max(-32768, min(32767, nearest(x, 1 << (20 - bits)))))

    def stored(self, x: int, name: str, zero_point: str = "zero_point") -> int:
        low, high = self.attributes.get("low", -128), self.attributes.get("high", 127)
        moved = rescaled(x, self.attributes[name], self.rounding) + self.attributes.get(zero_point, 0)
        return int(max(low, min(high, moved)))

    def inner(self, x: int, name: str, zero_point: str = "zero_point") -> int:
        """A stored state in 2^-20."""
        moved = x - self.attributes.get(zero_point, 0)
        return between(rescaled(moved, self.attributes[name], self.rounding), (1 << 31) - 1)


def mixed(a: int, x: int, b: int, y: int) -> int:
    return between(nearest(a * x + b * y * 32, 1 << 15), (1 << 31) - 1)


def lstm_step(cell: Cell, x: list[int], state: tuple[list[int], list[int]], holes: list[int] | None) -> Any:
    """Rule G3."""
    hidden, cells = state
    count = len(hidden)
    first, second = cell.sums(x, 0), cell.sums(hidden, 1)
    gates = [a + b for a, b in zip(first, second, strict=True)]
    new_hidden, new_cells = [], []
    for k in range(count):
        i, o, f, g = (gates[gate * count + k] for gate in range(4))
        if holes is not None:
            i += nearest(holes[k] * cells[k], 1 << 20)
            f += nearest(holes[2 * count + k] * cells[k], 1 << 20)
        opened = cell.function(0, i)
        kept = (1 << 15) - opened if cell.attributes.get("input_forget", False) else cell.function(0, f)
        new = mixed(kept, cells[k], opened, cell.function(1, g))
        if holes is not None:
            o += nearest(holes[count + k] * new, 1 << 20)
        new_cells.append(new)
        new_hidden.append(cell.stored(cell.function(0, o) * cell.function(2, new, limited=False), "hidden_out"))
    return new_hidden, new_cells


def gru_step(cell: Cell, x: list[int], state: tuple[list[int], list[int]], holes: list[int] | None) -> Any:
    """Rule G4."""
    stored, hidden = state
    count = len(stored)
    first, second = cell.sums(x, 0), cell.sums(stored, 1)
    update = [cell.function(0, first[k] + second[k]) for k in range(count)]
    reset = [cell.function(0, first[count + k] + second[count + k]) for k in range(count)]
    if cell.attributes.get("linear_before_reset", False):
        inner = [nearest(reset[k] * second[2 * count + k], 1 << 15) for k in range(count)]
    else:
        kept = [cell.stored(nearest(reset[k] * hidden[k], 1 << 15), "hidden_out") for k in range(count)]
        inner = cell.sums(kept, 1)[2 * count :]
    one = 1 << 15
    new = [
        mixed(update[k], hidden[k], one - update[k], cell.function(1, first[2 * count + k] + inner[k]))
        for k in range(count)
    ]
    return [cell.stored(value, "hidden_out") for value in new], new


def rnn_step(cell: Cell, x: list[int], state: tuple[list[int], list[int]], holes: list[int] | None) -> Any:
    gates = [a + b for a, b in zip(cell.sums(x, 0), cell.sums(state[0], 1), strict=True)]
    new = [cell.stored(cell.function(0, gate), "hidden_out") for gate in gates]
    return new, new


def recurrent(
    attributes: Attributes, operands: tuple[Array, ...], step: Callable[..., Any], functions: int, kind: str
) -> tuple[Array, ...]:
    """All directions and sequences, one at a time."""
    x, h0 = operands[0].tolist(), operands[7].tolist()
    rest = list(operands[8:])
    c0 = rest.pop(0).tolist() if kind == "lstm" else None
    holes = rest.pop(0).tolist() if kind == "lstm" and rest else None
    lengths = rest.pop(0).tolist() if rest else [len(x)] * len(x[0])
    way = attributes.get("direction", "forward")
    ways = ("forward", "reverse") if way == "bidirectional" else (way,)
    hidden = len(h0[0][0])
    y = np.full((len(x), len(ways), len(lengths), hidden), attributes.get("zero_point", 0), np.int64)
    h, c = np.zeros((2, len(ways), len(lengths), hidden), np.int64)
    for d, direction in enumerate(ways):
        cell = Cell(attributes, operands, d, functions)
        for n, length in enumerate(lengths):
            inner = h0[d][n]
            if c0 is not None:
                inner = [cell.inner(value, "cell_in", "cell_zero_point") for value in c0[d][n]]
            elif kind == "gru":
                inner = [cell.inner(value, "hidden_in") for value in inner]
            state = (h0[d][n], inner)
            for t in range(length) if direction == "forward" else reversed(range(length)):
                state = step(cell, x[t][n], state, None if holes is None else holes[d])
                y[t, d, n] = state[0]
            h[d, n] = state[0]
            if c0 is not None:
                c[d, n] = [cell.stored(value, "cell_out", "cell_zero_point") for value in state[1]]
    return (y, h, c) if kind == "lstm" else (y, h)


def lstm(attributes: Attributes, *operands: Array) -> tuple[Array, ...]:
    return recurrent(attributes, operands, lstm_step, 3, "lstm")


def gru(attributes: Attributes, *operands: Array) -> tuple[Array, ...]:
    return recurrent(attributes, operands, gru_step, 2, "gru")


def rnn(attributes: Attributes, *operands: Array) -> tuple[Array, ...]:
    return recurrent(attributes, operands, rnn_step, 1, "rnn")


NONLINEAR: dict[str, Callable[..., Any]] = {
    "npu.div": div,
    "npu.hypot": hypot,
    "npu.layer_norm": layer_norm,
    "npu.rms_norm": rms_norm,
    "npu.lstm": lstm,
    "npu.gru": gru,
    "npu.rnn": rnn,
}
