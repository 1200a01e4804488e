"""Multipliers, shifts, rounding and proofs against Python ints: random, and at all the edges that could break them."""

from __future__ import annotations

import math
from fractions import Fraction
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npuq.ir import DType, RuleError
from npuq.ir.arithmetic import (
    INT32,
    LARGEST,
    accumulator_interval,
    common_multipliers,
    meet,
    multiplier_and_shift,
    multipliers_and_shifts,
    require_rounding,
    right_shift,
    within,
)
from npuq.ir.requantize import power_of_two, requantize, rounded_shift

from ..oracle.ops import quantize_multiplier, rescale

RANGES = {DType.I8: (-128, 127), DType.U8: (0, 255), DType.I16: (-32768, 32767), DType.I32: INT32}
LEAST_SHIFT = {"mul16": 17}
RANDOM = 1_000_000
"""Random cases per profile, a quarter in each result type."""


@cache
def jitted(rounding: str, interval: tuple[int, int], dtype: DType, zero_point: int) -> Any:
    low, high = RANGES[dtype]
    return jax.jit(
        lambda a, m, s: requantize(
            a, m, s, zero_point=zero_point, low=low, high=high, rounding=rounding, interval=interval, dtype=dtype
        )
    )


def product_of(
    rounding: str, interval: tuple[int, int], dtype: DType, zero_point: int, *operands: np.ndarray
) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(jitted(rounding, interval, dtype, zero_point)(*map(jnp.asarray, operands)), np.int64)


def python_ints(rounding: str, dtype: DType, zero_point: int, *operands: np.ndarray) -> np.ndarray:
    low, high = RANGES[dtype]
    each = zip(*(operand.tolist() for operand in operands), strict=True)
    return np.array([min(max(rescale(a, m, s, rounding) + zero_point, low), high) for a, m, s in each])


def edges(rounding: str, bound: int) -> tuple[np.ndarray, ...]:
    """Ends and neighbours of zero, of powers of two and of every tie's own neighbourhood, at all shifts."""
    powers = [sign * (1 << bit) + step for bit in range(bound.bit_length()) for sign in (1, -1) for step in (-1, 0, 1)]
    accumulators = np.array(sorted({a for a in powers if -bound <= a <= bound} | {0, -bound, bound}), np.int64)
    multipliers = np.array([1 << 30, (1 << 30) + 1, 3 << 29, 0x7FFEFFFF, 0x7FFF0000, (1 << 31) - 1], np.int32)
    shifts = np.arange(LEAST_SHIFT.get(rounding, 2), 63, dtype=np.int32)
    grid = np.meshgrid(accumulators, multipliers, shifts, indexing="ij")
    a, m, s = (axis.ravel() for axis in grid)
    # The accumulators whose products lie next to the half-way points 0.5, 1.5, 127.5 and -0.5, -128.5.
    halves = [(1, 2), (3, 2), (255, 2), (-1, 2), (-257, 2), (65535, 2)]
    near = [
        (int(Fraction(n, d) * (1 << int(shift)) / int(m)) + step, int(m), int(shift))
        for n, d in halves
        for m in multipliers
        for shift in shifts
        for step in (-1, 0, 1, 2)
    ]
    kept = [(a, m, s) for a, m, s in near if -bound <= a <= bound]
    close = np.array(kept, np.int64).T
    return np.concatenate([a, close[0]]), *(
        np.concatenate(pair).astype(np.int32) for pair in ((m, close[1]), (s, close[2]))
    )


def intervals(rounding: str) -> tuple[int, ...]:
    """A bound in each lane: float64's, int64's and, where the profile reaches so far, the wide one."""
    return tuple(bound for bound in (1 << 21, (1 << 31) - 1, LARGEST[rounding]) if bound <= LARGEST[rounding])


@pytest.mark.parametrize("rounding", LARGEST)
def test_requantize_equals_python_ints_at_the_edges(rounding: str) -> None:
    for bound in intervals(rounding):
        operands = edges(rounding, bound)
        for dtype, zero_point in ((DType.I8, 0), (DType.I8, -128), (DType.I16, 5), (DType.I32, 0)):
            computed = product_of(rounding, (-bound, bound), dtype, zero_point, *operands)
            np.testing.assert_array_equal(computed, python_ints(rounding, dtype, zero_point, *operands))


@pytest.mark.parametrize("rounding", LARGEST)
def test_requantize_equals_python_ints_on_a_million_random_cases(rounding: str) -> None:
    rng = np.random.default_rng(1)
    bounds = intervals(rounding)
    count = RANDOM // (len(RANGES) * len(bounds))
    for bound in bounds:
        for dtype in RANGES:
            a = rng.integers(-bound, bound, count, np.int64, endpoint=True) >> rng.integers(0, 30, count)
            m = rng.integers(1 << 30, 1 << 31, count).astype(np.int32)
            s = rng.integers(LEAST_SHIFT.get(rounding, 2), 63, count).astype(np.int32)
            # Half of the shifts bring the result near the result type's own range, where rounding shows.
            wanted = 31 + np.log2(np.maximum(np.abs(a), 1)) - rng.uniform(-1, dtype.bits, count)
            s = np.where(rng.random(count) < 0.5, np.clip(wanted, s.min(), 62), s).astype(np.int32)
            computed = product_of(rounding, (-bound, bound), dtype, 0, a, m, s)
            np.testing.assert_array_equal(computed, python_ints(rounding, dtype, 0, a, m, s))


def test_a_multiplier_of_few_bits_is_exact_too() -> None:
    for bound in intervals("single_half_up"):
        a, _, s = edges("single_half_up", bound)
        for m in (0, 1, 3, 1 << 20):
            operands = a, np.full(a.shape, m, np.int32), s
            computed = product_of("single_half_up", (-bound, bound), DType.I8, 1, *operands)
            np.testing.assert_array_equal(computed, python_ints("single_half_up", DType.I8, 1, *operands))


@pytest.mark.parametrize("rounding", ["single_half_up", "pot_half_away", "floor"])
def test_rounded_shift_equals_fractions(rounding: str) -> None:
    values = np.array([sign * n + step for n in (0, 1 << 30, 1 << 45) for sign in (1, -1) for step in range(-3, 4)])
    for shift in (2, 3, 29, 31, 46, 61):
        with jax.enable_x64(True):
            computed = rounded_shift(
                jnp.asarray(values),
                jnp.asarray(shift),
                zero_point=1,
                low=-128,
                high=127,
                rounding=rounding,
                dtype=DType.I8,
            )
        for value, result in zip(values.tolist(), np.asarray(computed).tolist(), strict=True):
            exact = Fraction(value, 1 << shift)
            if rounding == "floor":
                rounded = math.floor(exact)
            elif rounding == "single_half_up" or exact >= 0:
                rounded = math.floor(exact + Fraction(1, 2))
            else:
                rounded = -math.floor(-exact + Fraction(1, 2))
            assert result == min(max(rounded + 1, -128), 127), (value, shift)


def test_powers_of_two_are_exact() -> None:
    exponents = np.arange(-1022, 1024)
    with jax.enable_x64(True):
        assert np.asarray(power_of_two(jnp.asarray(exponents))).tolist() == [2.0**e for e in exponents.tolist()]


@given(st.floats(2.0**-32, 2.0**29 - 1))
def test_multiplier_and_shift_is_tflites(real: float) -> None:
    multiplier, shift = multiplier_and_shift(real)
    assert (multiplier, shift) == quantize_multiplier(real)
    assert 1 << 30 <= multiplier < 1 << 31
    assert 2 <= shift <= 62
    assert abs(Fraction(multiplier, 1 << shift) / Fraction(real) - 1) <= Fraction(1, 1 << 31)


def test_multiplier_and_shift_at_its_ends() -> None:
    assert multiplier_and_shift(2.0**-32) == (1 << 30, 62)
    assert multiplier_and_shift(math.nextafter(2.0**-32, 0)) == (1 << 30, 62)
    assert multiplier_and_shift(2.0**29 - 0.25) == ((1 << 31) - 1, 2)
    assert multiplier_and_shift(0.5) == (1 << 30, 31)
    assert multiplier_and_shift(1 - 2.0**-33) == (1 << 30, 30)
    assert multiplier_and_shift(1 / 3) == (1431655765, 32)
    assert right_shift(31) == 0


@pytest.mark.parametrize(
    ("real", "message"),
    [
        (0.0, "must be finite and positive, not 0.0"),
        (-1.0, "must be finite and positive, not -1.0"),
        (math.inf, "must be finite and positive, not inf"),
        (math.nan, "must be finite and positive, not nan"),
        (2.0**-33, "a rescaling factor of 1.16415e-10 wants a shift of 63, outside [2, 62]"),
        (2.0**29 - 0.125, "a rescaling factor of 5.36871e+08 wants a shift of 1, outside [2, 62]"),
    ],
)
def test_multiplier_and_shift_refuses(real: float, message: str) -> None:
    with pytest.raises(RuleError) as caught:
        multiplier_and_shift(real)
    assert message in str(caught.value)


def test_multipliers_of_many_factors_keep_their_shape_and_repair_the_smallest() -> None:
    reals = np.array([[0.3, 2.0**-32], [2.0**-40, 1e-30]])
    multipliers, shifts, notes = multipliers_and_shifts(reals)
    assert multipliers.dtype == shifts.dtype == np.int32
    assert multipliers.tolist() == [[1288490189, 1 << 30], [1 << 22, 0]]
    assert shifts.tolist() == [[32, 62], [62, 62]]
    assert notes == (
        "a rescaling factor of 9.09495e-13 keeps 23 of 31 bits at the shift 62",
        "a rescaling factor of 1e-30 keeps 0 of 31 bits at the shift 62",
    )
    just_below = math.nextafter(0.5, 0) * 2.0**-62
    assert multipliers_and_shifts(np.array([just_below, 2.0**-63]))[0].tolist() == [0, 1]
    with pytest.raises(RuleError, match=r"factor of 1\.5 wants a shift of 30, less than 31; raise the result's scale"):
        multipliers_and_shifts(np.array([1.5]), (31, 62))


def test_common_multipliers_share_the_shift_of_the_greatest() -> None:
    multipliers, shift = common_multipliers(np.array([0.25, -1.5]))
    assert multipliers.tolist() == [1 << 28, -(3 << 29)]
    assert shift.tolist() == [30]
    multipliers, shift = common_multipliers(np.array([1.0, 1e-12]), (11, 30))
    assert multipliers.tolist() == [1 << 30, 0]
    assert shift.tolist() == [30]


weights = st.lists(st.lists(st.integers(-128, 127), min_size=3, max_size=3), min_size=1, max_size=12)


@given(weights, st.lists(st.integers(-1000, 1000), min_size=3, max_size=3), st.randoms(use_true_random=False))
def test_no_partial_sum_in_any_order_leaves_the_proven_interval(
    w: list[list[int]], bias: list[int], random: Any
) -> None:
    low, high = random.choice([(-128, 127), (0, 127), (-5, 3), (2, 9)])
    proven = accumulator_interval(np.array(w, np.int8), np.array(bias, np.int32), low, high)
    reached = [0]
    for channel in range(3):
        for greatest in (True, False):
            ends = [(low * row[channel], high * row[channel]) for row in w]
            terms = [max(pair) if greatest else min(pair) for pair in ends] + [bias[channel]]
            terms.sort(reverse=greatest)
            reached += np.cumsum(terms).tolist()
        drawn = [random.randint(low, high) * row[channel] for row in w] + [bias[channel]]
        random.shuffle(drawn)
        reached += np.cumsum(drawn).tolist()
    assert proven == (min(reached), max(reached)), "the interval holds all partial sums and is reached at both ends"


def test_intervals() -> None:
    assert meet((-5, 9), (-2, 100)) == (-2, 9)
    assert within((0, 1), (0, 1))
    assert not within((-1, 1), (0, 1))
    with pytest.raises(RuleError, match=r"accumulator \[0, 1\] has nothing in common with \[2, 3\]"):
        meet((0, 1), (2, 3))
    with pytest.raises(RuleError, match="there is no rounding 'round'"):
        require_rounding("round", (0, 0))
    require_rounding("mul16", (-(1 << 47), 1 << 47))
    with pytest.raises(RuleError, match="too wide for mul16's"):
        require_rounding("mul16", (0, (1 << 47) + 1))
