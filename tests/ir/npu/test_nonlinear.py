"""Integer division and normalization equal the oracle bit for bit, and stay within their stated worst errors."""

from __future__ import annotations

import math
from decimal import Decimal, localcontext
from typing import Any

import numpy as np
import pytest

from npuq.ir import DType, Op, RuleError, parse_type, results_of
from npuq.ir.arithmetic import common_multipliers, multipliers_and_shifts
from npuq.ir.ops.npu.division import Div, Hypot
from npuq.ir.ops.npu.norm import LARGEST_BIAS, WIDE_BITS, LayerNorm, RmsNorm, normal_fraction, variance_fraction
from npuq.ir.ops.npu.pointwise import Add

from .test_ops import FILLS, I8, I16, agree, filled, run

WIDE: dict[str, Any] = {"low": -32768, "high": 32767, "dtype": DType.I16}


def test_division_of_all_pairs() -> None:
    every = np.arange(-128, 128, dtype=I8)
    for zero_points in ((0, 0), (-128, 127)):
        for factor, shift in ((1, 0), (3 << 28, 24), ((1 << 31) - 1, 31), (1 << 30, 44)):
            agree(Div(factor=factor, shift=shift, zero_points=zero_points, zero_point=-3), every[:, None], every)


def test_division_of_16_bits() -> None:
    rng = np.random.default_rng(0)
    ends = np.array([-32768, -32767, -2, -1, 0, 1, 2, 3, 32766, 32767], I16)
    for zero_points in ((0, 0), (-32768, 32767)):
        for factor, shift in ((1, 0), ((1 << 31) - 1, 0), ((1 << 31) - 1, 16), (5, 44)):
            op = Div(factor=factor, shift=shift, zero_points=zero_points, **WIDE)
            agree(op, ends[:, None], ends)
            agree(op, filled(rng, (2, 1, 50), I16, "random"), filled(rng, (20, 1), I16, "random"))
    agree(Div(factor=1 << 30, shift=28), filled(rng, (40,), I16, "random"), filled(rng, (40,), I8, "random"))


def test_division_by_zero_saturates() -> None:
    op = Div(factor=1, shift=0, zero_points=(1, 2), zero_point=3)
    assert run(op, np.array([5, 1, -5], I8), np.array([2], I8)).tolist() == [127, 3, -128]


def test_lengths() -> None:
    rng = np.random.default_rng(5)
    every = np.arange(-128, 128, dtype=I8)
    for zero_points in ((0, 0), (-128, 127)):
        for weights in ((8192, 8192), (8192, 77)):
            op = Hypot(weights=weights, zero_points=zero_points, zero_point=-9)
            agree(op, every[:, None], every, *multipliers_and_shifts(np.array([0.7 / 8192]))[:2])
    ends = np.array([-32768, -32767, -181, -1, 0, 1, 2, 181, 32767], I16)
    for x in (ends, filled(rng, (60,), I16, "random")):
        for zero_points in ((0, 0), (-32768, 32767)):
            agree(
                Hypot(zero_points=zero_points, **WIDE),
                x[:, None],
                x,
                *multipliers_and_shifts(np.array([0.7 / 8192]))[:2],
            )


def factors(count: tuple[int, ...], gain: float, fraction: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Multipliers, biases and the shift of gains up to `gain` LSB, of both signs."""
    gains = rng.uniform(-gain, gain, count)
    multipliers, shift = common_multipliers(gains.ravel(), (7, 62 - fraction))
    total = shift + np.int32(fraction)
    biases = np.rint(np.clip(rng.uniform(-9, 9, count) * 2.0 ** total[0], -LARGEST_BIAS, LARGEST_BIAS))
    return multipliers.reshape(count), biases.astype(np.int64), total


SHAPES: tuple[tuple[tuple[int, ...], int, tuple[int, ...]], ...] = (
    ((3, 5), 1, (5,)),
    ((2, 3, 4), 1, (3, 4)),
    ((1, 3, 4), 2, (3, 1)),
    ((2, 1), 1, (1,)),
    ((1, 16384), 1, (1,)),
)


@pytest.mark.parametrize(("shape", "axis", "broad"), SHAPES, ids=str)
def test_normalization(shape: tuple[int, ...], axis: int, broad: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    count = math.prod(shape[axis:])
    for dtype in (I8, I16):
        wide: dict[str, Any] = WIDE if dtype is I16 else {}
        most = variance_fraction(count, DType.of(dtype).bits)
        for fraction, epsilon in ((most, 12345), (0, 1 << 60)):
            given = factors(broad, 25.0 if dtype is I8 else 7000.0, normal_fraction(count), rng)
            fields = {"axis": axis, "fraction": fraction, "epsilon": epsilon, **wide}
            for fill in FILLS:
                x = filled(rng, shape, dtype, fill)
                x.reshape(-1)[0] += fill == "worst"
                agree(LayerNorm(**fields), x, *given)
                agree(RmsNorm(**fields, input_zero_point=-128, zero_point=2), x, *given)


def test_normalisation_of_wide_sums() -> None:
    """20 bits in i32, also as operands of the sums before."""
    rng = np.random.default_rng(4)
    given = factors((300,), 7000.0, normal_fraction(300), rng)
    limit = 1 << (WIDE_BITS - 1)
    for x in (rng.integers(-limit, limit, (3, 300)), rng.choice([-limit, limit - 1], (3, 300))):
        fields = {"axis": 1, "fraction": variance_fraction(300, WIDE_BITS), "epsilon": 5, **WIDE}
        agree(LayerNorm(**fields), x.astype(np.int32), *given)
        agree(RmsNorm(**fields), x.astype(np.int32), *given)
        m, s = common_multipliers(np.array([1.3, -0.01]), (11, 62))
        agree(
            Add(low=-limit, high=limit - 1, dtype=DType.I32),
            x.astype(np.int32),
            filled(rng, (300,), I16, "random"),
            m,
            s,
        )


def test_normalisation_rounds_by_the_profile() -> None:
    rng = np.random.default_rng(2)
    x = filled(rng, (4, 32), I8, "random")
    given = factors((32,), 25.0, normal_fraction(32), rng)
    for rounding in ("tflite_double", "floor", "tosa_double"):
        agree(LayerNorm(axis=1, fraction=10, rounding=rounding), x, *given)


@pytest.mark.parametrize("dtype", [I8, I16])
@pytest.mark.parametrize("kind", [LayerNorm, RmsNorm])
def test_normalisation_stays_within_its_worst_error(dtype: Any, kind: Any) -> None:
    """Against 60 decimal digits: at most 1/2 LSB and N2's small terms."""
    rng = np.random.default_rng(3)
    n, scale, gain = 24, 0.01, 20.0 if dtype is I8 else 6000.0
    f, fraction = variance_fraction(n, DType.of(dtype).bits), normal_fraction(n)
    epsilon = 1e-5 * n * n * 4**f / scale**2
    rows = [filled(rng, (40, n), dtype, "random"), rng.integers(0, 2, (20, n)).astype(dtype)]
    x = np.concatenate(rows)
    multiplier, bias, shift = factors((n,), gain, fraction, rng)
    op = kind(axis=1, fraction=f, epsilon=max(round(epsilon), 1), **(WIDE if dtype is I16 else {}))
    found = run(op, x, multiplier, bias, shift).tolist()
    with localcontext() as context:
        context.prec = 60
        one = Decimal(2) ** int(shift[0])
        for row, got in zip(x.tolist(), found, strict=True):
            mean = Decimal(sum(row)) / n if kind is LayerNorm else Decimal(0)
            variance = sum((element - mean) ** 2 for element in row) / n
            root = (variance + Decimal("1e-5") / Decimal(scale) ** 2).sqrt()
            for element, m, b, y in zip(row, multiplier.tolist(), bias.tolist(), got, strict=True):
                g = Decimal(m) * Decimal(2) ** fraction / one
                exact = (element - mean) / root * g + Decimal(b) / one
                exact = min(max(exact, Decimal(op.low)), Decimal(op.high))
                slack = abs(g) * Decimal(2) ** -fraction * (1 + Decimal(2) ** -20)
                slack += abs(g) * Decimal(n).sqrt() / (4 * variance * n * n * 4**f + 1)
                assert abs(y - exact) <= Decimal("0.5") + slack, (row, y, exact)


REFUSED: tuple[tuple[Op, tuple[str, ...], str], ...] = (
    (Hypot(weights=(8193, 1)), ("i8[2]", "i8[2]", "i32[1]", "i32[1]"), "weights (8193, 1), 0 to 8192 wanted"),
    (Div(factor=0, shift=3), ("i8[2]", "i8[2]"), "factor 0, 1 to 2147483647 wanted"),
    (Div(factor=1, shift=45), ("i8[2]", "i8[2]"), "shift 45, 0 to 44 wanted"),
    (Div(factor=1, shift=0, zero_points=(0, 128)), ("i8[2]", "i8[2]"), "input zero point 128 outside i8's"),
    (Div(factor=1, shift=0), ("i32[2]", "i8[2]"), "i32 operand, an integer of at most 16 bits wanted"),
    (LayerNorm(axis=1, fraction=0), ("u8[2,3]", "i32[3]", "i64[3]", "i32[1]"), "u8 operand, i8, i16 or i32 wanted"),
    (LayerNorm(axis=2, fraction=0), ("i8[2,3]", "i32[3]", "i64[3]", "i32[1]"), "axis 2 of rank 2"),
    (LayerNorm(axis=1, fraction=21), ("i8[2,3]", "i32[3]", "i64[3]", "i32[1]"), "fraction 21, 0 to 20 wanted"),
    (LayerNorm(axis=1, fraction=0, epsilon=0), ("i8[2,3]", "i32[3]", "i64[3]", "i32[1]"), "epsilon 0, 1 to 2^60"),
    (LayerNorm(axis=0, fraction=0), ("i8[16385]", "i32[1]", "i64[1]", "i32[1]"), "statistics of 16385 elements, 1 to"),
    (LayerNorm(axis=1, fraction=0), ("i8[2,3]", "i8[3]", "i64[3]", "i32[1]"), "multiplier of i8, i32 wanted"),
    (LayerNorm(axis=1, fraction=0), ("i8[2,3]", "i32[3]", "i64[1]", "i32[1]"), "bias i64[1], i64 of (3,) wanted"),
    (LayerNorm(axis=1, fraction=0), ("i8[1,3]", "i32[2,1]", "i64[2,1]", "i32[1]"), "multiplier of (2, 1) for data of"),
    (LayerNorm(axis=1, fraction=0), ("i8[2,3]", "i32[3]", "i64[3]", "i32[3]"), "shift i32[3], i32[1] wanted"),
    (
        RmsNorm(axis=1, fraction=0, input_zero_point=200),
        ("i8[2,3]", "i32[3]", "i64[3]", "i32[1]"),
        "input zero point 200 outside i8's",
    ),
)


@pytest.mark.parametrize(("op", "types", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refusals_name_rule_and_numbers(op: Op, types: tuple[str, ...], message: str) -> None:
    with pytest.raises(RuleError) as caught:
        results_of(op, tuple(map(parse_type, types)))
    assert message in str(caught.value)
