"""The integer level's numbers at compile time: multipliers and shifts for real factors, and proven intervals.

Rule numbers are those of `docs/arithmetic.md`; `ir/requantize.py` applies the numbers to arrays.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction
from functools import lru_cache
from types import MappingProxyType

import numpy as np

from .errors import RuleError, require

Interval = tuple[int, int]

MULTIPLIERS: Interval = (1 << 30, (1 << 31) - 1)
"""The range of a normalized multiplier M."""

SHIFTS: Interval = (2, 62)
"""The range of a shift s; an accumulator times M * 2**-s is the result."""

INT32: Interval = (-(1 << 31), (1 << 31) - 1)

LARGEST: Mapping[str, int] = MappingProxyType(
    {
        "single_half_up": 1 << 53,
        "tflite_double": 1 << 31,
        "tosa_double": 1 << 31,
        "mul16": 1 << 47,
        "pot_half_up": 1 << 31,
        "pot_half_away": 1 << 31,
        "floor": 1 << 31,
        "half_away": 1 << 31,
    }
)
"""Every rounding profile with the greatest magnitude of an accumulator that it is defined for."""


def multiplier_and_shift(real: float | Fraction) -> tuple[int, int]:
    """M in [2**30, 2**31) and s in [2, 62] with M * 2**-s nearest to `real`, halves away from zero: rule R0.

    Equals TFLite's `QuantizeMultiplier` (frexp, round, renormalize). `real` must lie in [2**-32, 2**29 - 2**-3);
    a Fraction is taken exactly, a float is the float64 that it is.
    """
    require(math.isfinite(real) and real > 0, f"a rescaling factor must be finite and positive, not {real}")
    exact = Fraction(real)
    exponent = exact.numerator.bit_length() - exact.denominator.bit_length()
    exponent += exact >= Fraction(2) ** exponent
    multiplier = math.floor(exact * Fraction(2) ** (31 - exponent) + Fraction(1, 2))
    if multiplier == 1 << 31:
        multiplier, exponent = 1 << 30, exponent + 1
    shift = 31 - exponent
    if not SHIFTS[0] <= shift <= SHIFTS[1]:
        raise RuleError(f"a rescaling factor of {float(real):.6g} wants a shift of {shift}, outside [2, 62]")
    return multiplier, shift


def multipliers_and_shifts(
    reals: np.ndarray, shifts: Interval = SHIFTS
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """(M, s) of every factor as int32 arrays of their shape, with s inside `shifts`, and a note per repaired factor.

    A factor below the reach of the greatest shift keeps that shift and a multiplier of fewer bits. One that wants
    less than the least shift is a `RuleError`: only its scales can help it.
    """
    pairs = [_pair_within(real, shifts) for real in np.asarray(reals, np.float64).ravel().tolist()]
    multipliers, found, notes = zip(*pairs, strict=True) if pairs else ((), (), ())
    shape = np.shape(reals)
    return (
        np.asarray(multipliers, np.int32).reshape(shape),
        np.asarray(found, np.int32).reshape(shape),
        tuple(note for note in notes if note),
    )


def common_multipliers(reals: np.ndarray, shifts: Interval = SHIFTS) -> tuple[np.ndarray, np.ndarray]:
    """Signed multipliers at one shift, int32 [n] and [1], for factors of a sum: rule B1.

    The shift is that of the factor of greatest magnitude, lowered into `shifts`; the others take the nearest multiple
    of 2**-shift, halves away from zero.
    """
    factors = [Fraction(real) for real in np.asarray(reals, np.float64).tolist()]
    _, shift, _ = _pair_within(max(map(abs, factors)), shifts)
    multipliers = [_round_half_away(factor * (1 << shift)) for factor in factors]
    return np.asarray(multipliers, np.int32), np.asarray([shift], np.int32)


@lru_cache(maxsize=1 << 16)
def _pair_within(real: float | Fraction, shifts: Interval) -> tuple[int, int, str]:
    """One factor's multiplier, its shift inside `shifts`, and what had to be repaired."""
    least, greatest = shifts
    spelled = f"a rescaling factor of {float(real):.6g}"
    if 0 < real < Fraction(2) ** (30 - greatest):
        multiplier = _round_half_away(Fraction(real) * (1 << greatest))
        if multiplier < MULTIPLIERS[0]:
            return multiplier, greatest, f"{spelled} keeps {multiplier.bit_length()} of 31 bits at the shift {greatest}"
    multiplier, shift = multiplier_and_shift(real)
    require(least <= shift, f"{spelled} wants a shift of {shift}, less than {least}; raise the result's scale")
    return multiplier, shift, ""


def _round_half_away(value: Fraction) -> int:
    magnitude = math.floor(abs(value) + Fraction(1, 2))
    return magnitude if value >= 0 else -magnitude


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
    wide = np.asarray(weights, np.int64).reshape(-1, np.shape(weights)[-1])
    ends = np.stack([wide * low, wide * high])
    least = np.minimum(ends.min(0), 0).sum(0)
    greatest = np.maximum(ends.max(0), 0).sum(0)
    offset = np.asarray(bias, np.int64)
    lowest = int((least + np.minimum(offset, 0)).min(initial=0))
    highest = int((greatest + np.maximum(offset, 0)).max(initial=0))
    return lowest, highest
