"""Tables of 16-bit functions: points between which `npu.interpolate` draws lines, and how far those are off."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from npuq.ir.errors import NpuqError
from npuq.ir.ops.npu.interpolate import LENGTHS, Interpolate

from ..target import Target

TYPICAL = 0.4
"""The root mean square error, in steps of the result, up to which a shorter table is taken; rounding alone costs 0.3.

Inputs count by 1 / (|x| + 128): activations are mostly small beside their range, and what a GELU gives there is small
too, so that steps lost near zero are lost for most elements.
"""

WORST = 8.0
"""The greatest error of a table that is taken for its typical one: a kink spoils one interval alone."""

SLACK = 1.1
"""How much greater than the best table's the typical error of a shorter one may be where none is near enough."""

INTEGERS = np.arange(-(1 << 15), (1 << 15) + 1)
"""All 16-bit integers and the one after them, where the last point lies."""

WEIGHTS = 1.0 / (np.abs(INTEGERS[:-1]) + 128)


@dataclass(frozen=True, eq=False)
class Table:
    """The entries, [2^n + 1] or [channels, 2^n + 1], and their greatest distance from the function, in its steps."""

    entries: np.ndarray
    worst: float


def lengths(target: Target) -> tuple[int, ...]:
    """The n of the tables of 2^n + 1 entries that a target has."""
    return tuple(n for n in LENGTHS if (1 << n) + 1 in target.table_sizes)


def require_length(lut_len: int | None, target: Target | None = None) -> None:
    """Raise `NpuqError` unless a target, or any, has tables of 2^`lut_len` + 1 entries."""
    possible, owner = (LENGTHS, "npuq") if target is None else (lengths(target), target.name)
    if lut_len is not None and lut_len not in possible:
        known = ", ".join(map(str, possible)) or "none"
        raise NpuqError(f"lut_len {lut_len}: {owner} has tables of 2^n + 1 entries for n of {known}")


def shortest_table(
    steps: np.ndarray, low: int, high: int, among: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Table:
    """The table of the least n that is within `TYPICAL` and `WORST`, else of the least near to the best.

    `steps`, f64[channels, 65537], is the function at `INTEGERS` in steps of the result, limited here to [low, high].
    """
    limited = np.clip(np.nan_to_num(steps, nan=0.0, posinf=np.inf, neginf=-np.inf), low, high)
    found = []
    for n in among:
        entries = points(limited, n, low, high).astype(dtype)
        errors = [_errors(one, exact) for one, exact in zip(entries, limited, strict=True)]
        typical, worst = (max(kind) for kind in zip(*errors, strict=True))
        found.append((typical, Table(np.ascontiguousarray(entries if len(entries) > 1 else entries[0]), worst)))
        if typical <= TYPICAL and worst <= WORST:
            return found[-1][1]
    best = min(typical for typical, _ in found)
    return next(table for typical, table in found if typical <= SLACK * best)


def points(steps: np.ndarray, n: int, low: int, high: int) -> np.ndarray:
    """The rounded entries at the knots -32768 + i * 2^(16 - n), which is the grid of the lookup itself.

    A line between two points of the curve is off by the most near its middle. Moving it by half of that leaves half on
    either side; each knot moves by the mean of what the intervals at its sides want.
    """
    every = 1 << (16 - n)
    knots, middles = steps[:, ::every], steps[:, every // 2 :: every]
    wanted = ((knots[:, :-1] + knots[:, 1:]) / 2 - middles) / 2
    before, after = (np.pad(wanted, ((0, 0), side), mode="edge") for side in ((1, 0), (0, 1)))
    return np.asarray(np.clip(np.rint(knots - (before + after) / 2), low, high))


def _errors(entries: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    """The typical and the greatest distance between what the op gives and the function, over all 16-bit integers."""
    found = np.asarray(Interpolate().evaluate(jnp.asarray(INTEGERS[:-1], np.int16), jnp.asarray(entries)))
    distances = np.abs(found - exact[:-1])
    return float(np.sqrt(np.average(np.square(distances), weights=WEIGHTS))), float(distances.max())
