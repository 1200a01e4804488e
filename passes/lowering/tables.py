"""Tables of 16-bit functions: points between which `npu.interpolate` draws lines, and how far those are off."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
import numpy as np

from npuq.ir.ops.npu_interpolate import LENGTHS, Interpolate

from ..target import Target

WORST = 2.0
"""The error, in steps of the result, up to which a shorter table is taken: rounding alone, twice, may cost 1."""

INTEGERS = np.arange(-(1 << 15), (1 << 15) + 1)
"""All 16-bit integers and the one after them, where the last point lies."""


@dataclass(frozen=True, eq=False)
class Table:
    """The entries, [2^n + 1] or [channels, 2^n + 1], and their greatest distance from the function, in its steps."""

    entries: np.ndarray
    worst: float


def lengths(target: Target) -> tuple[int, ...]:
    """The n of the tables of 2^n + 1 entries that a target has."""
    return tuple(n for n in LENGTHS if (1 << n) + 1 in target.table_sizes)


def shortest_table(
    steps: np.ndarray, low: int, high: int, among: tuple[int, ...], dtype: np.dtype[np.generic]
) -> Table:
    """The table of the least n whose worst error is within `WORST`; that of the last n where none is.

    `steps`, f64[channels, 65537], is the function at `INTEGERS` in steps of the result, limited here to [low, high].
    """
    limited = np.clip(np.nan_to_num(steps, nan=0.0, posinf=np.inf, neginf=-np.inf), low, high)
    for n in among:
        entries = points(limited, n, low, high).astype(dtype)
        worst = max(_worst(one, exact) for one, exact in zip(entries, limited, strict=True))
        if worst <= WORST:
            break
    return Table(np.ascontiguousarray(entries if len(entries) > 1 else entries[0]), worst)


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


def _worst(entries: np.ndarray, exact: np.ndarray) -> float:
    """The greatest distance between what the op gives and the function, over all 16-bit integers."""
    found = np.asarray(Interpolate().evaluate(jnp.asarray(INTEGERS[:-1], np.int16), jnp.asarray(entries)))
    return float(np.abs(found - exact[:-1]).max())
