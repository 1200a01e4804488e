"""The integer level's numbers at compile time: multipliers and shifts for real factors, and proven intervals.

Rule numbers are those of `docs/arithmetic.md`; `ir/requantize.py` applies the numbers to arrays.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from .errors import RuleError, require

Interval = tuple[int, int]

MULTIPLIERS: Interval = (1 << 30, (1 << 31) - 1)
"""The range of a normalized multiplier M."""

SHIFTS: Interval = (2, 62)
"""The range of a shift s; an accumulator times M * 2**-s is the result."""

INT32: Interval = (-(1 << 31), (1 << 31) - 1)

LARGEST: Mapping[str, int] = {
    "single_half_up": 1 << 53,
    "tflite_double": 1 << 31,
    "tosa_double": 1 << 31,
    "mul16": 1 << 47,
    "pot_half_up": 1 << 31,
    "pot_half_away": 1 << 31,
    "floor": 1 << 31,
    "half_away": 1 << 31,
}
"""Every rounding profile with the greatest magnitude of an accumulator that it is defined for."""


def multiplier_and_shift(real: float) -> tuple[int, int]:
    """M in [2**30, 2**31) and s in [2, 62] with M * 2**-s nearest to `real`, halves away from zero: rule R0.

    Equals TFLite's `QuantizeMultiplier` (frexp, round, renormalize). `real` must lie in [2**-32, 2**29 - 2**-3).
    """
    multipliers, shifts = _normalized(np.array([real], np.float64))
    return int(multipliers[0]), int(shifts[0])


def multipliers_and_shifts(
    reals: np.ndarray, shifts: Interval = SHIFTS
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(M, s) of every factor as int32 arrays of their shape, with s inside `shifts`, and a note per repaired factor.

    A factor below the reach of the greatest shift keeps that shift and a multiplier of fewer bits. One that wants
    less than the least shift is a `RuleError`: only its scales can help it.
    """
    least, greatest = shifts
    reals = np.asarray(reals, np.float64)
    small = (reals > 0) & (reals < 2.0 ** (30 - greatest))
    shortened = _rounded(np.ldexp(np.where(small, reals, 0), greatest))
    small &= shortened < MULTIPLIERS[0]
    multipliers, found = _normalized(np.where(small, 1, reals))
    _refuse(reals, found, ~small & (found < least), f"less than {least}; raise the result's scale")
    notes = tuple(
        f"a rescaling factor of {real:.6g} keeps {int(bits).bit_length()} of 31 bits at the shift {greatest}"
        for real, bits in zip(reals[small], shortened[small], strict=True)
    )
    return (
        np.where(small, shortened, multipliers).astype(np.int32),
        np.where(small, greatest, found).astype(np.int32),
        notes,
    )


def common_multipliers(reals: np.ndarray, shifts: Interval = SHIFTS) -> tuple[np.ndarray, np.ndarray]:
    """Signed multipliers at one shift, int32 [n] and [1], for factors of a sum: rule B1.

    The shift is that of the factor of greatest magnitude, lowered into `shifts`; the others take the nearest multiple
    of 2**-shift, halves away from zero.
    """
    reals = np.asarray(reals, np.float64)
    _, shift, _ = multipliers_and_shifts(np.abs(reals).max(keepdims=True), shifts)
    return np.copysign(_rounded(np.ldexp(np.abs(reals), shift)), reals).astype(np.int32), shift


def _normalized(reals: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rule R0 for every factor."""
    wrong = reals[~(np.isfinite(reals) & (reals > 0))]
    if wrong.size:
        raise RuleError(f"a rescaling factor must be finite and positive, not {wrong[0]}")
    mantissas, exponents = np.frexp(reals)
    multipliers = _rounded(mantissas * 2.0**31)
    full = multipliers == 1 << 31
    shifts = 31 - exponents - full
    _refuse(reals, shifts, (shifts < SHIFTS[0]) | (shifts > SHIFTS[1]), "outside [2, 62]")
    return np.where(full, 1 << 30, multipliers), shifts


def _refuse(reals: np.ndarray, shifts: np.ndarray, wrong: np.ndarray, why: str) -> None:
    """Raise the error of the first factor whose shift is wrong."""
    if wrong.any():
        real, shift = reals[wrong][0], shifts[wrong][0]
        raise RuleError(f"a rescaling factor of {real:.6g} wants a shift of {shift}, {why}")


def _rounded(magnitudes: np.ndarray) -> np.ndarray:
    """The nearest whole numbers, halves up; adding 0.5 first would round numbers just below a half."""
    whole = np.floor(magnitudes)
    return np.asarray(whole + (magnitudes - whole >= 0.5))


def right_shift(shift: int) -> int:
    """What is left of a shift after the multiplier's own 31 fraction bits: the q of NPUs, negative for a left shift."""
    return shift - 31


def require_rounding(rounding: str, accumulator: Interval) -> None:
    """Require a known profile, and an accumulator that it is defined for."""
    require(rounding in LARGEST, f"there is no rounding {rounding!r}; there are {', '.join(LARGEST)}")
    low, high = accumulator
    largest = LARGEST[rounding]
    require(low <= high, f"accumulator [{low}, {high}] is empty")
    require(
        -largest <= low and high <= largest, f"accumulator [{low}, {high}] is too wide for {rounding}'s +-{largest}"
    )


def within(inner: Interval, outer: Interval) -> bool:
    """Whether an interval lies in another."""
    return outer[0] <= inner[0] and inner[1] <= outer[1]


def meet(first: Interval, second: Interval) -> Interval:
    """What two proven intervals leave; two that exclude each other contradict a proof, a `RuleError`."""
    low, high = max(first[0], second[0]), min(first[1], second[1])
    require(low <= high, f"accumulator [{first[0]}, {first[1]}] has nothing in common with [{second[0]}, {second[1]}]")
    return low, high


def accumulator_interval(weights: np.ndarray, bias: np.ndarray, low: int, high: int) -> Interval:
    """The least interval that holds 0 and every partial sum, in any order, with or without the bias: rule A1.

    `weights` [..., O] and `bias` [O] are integers, the operand's elements (and what pads them) lie in [low, high].
    """
    rows = np.reshape(weights, (-1, np.shape(weights)[-1]))
    above, below = np.maximum(rows, 0).sum(0, dtype=np.int64), np.minimum(rows, 0).sum(0, dtype=np.int64)
    low, high = min(low, 0), max(high, 0)
    offset = np.asarray(bias, np.int64)
    least = above * low + below * high + np.minimum(offset, 0)
    greatest = above * high + below * low + np.maximum(offset, 0)
    return int(least.min(initial=0)), int(greatest.max(initial=0))
