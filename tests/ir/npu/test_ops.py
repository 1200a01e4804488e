"""Every integer op equals the oracle, bit for bit, over shapes, widths and the values that hurt most."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from npuq.ir import DType, Op, RuleError, TensorType, parse_type, registry, results_of
from npuq.ir.arithmetic import INT32, accumulator_interval, common_multipliers, multipliers_and_shifts
from npuq.ir.ops.npu.interpolate import Interpolate
from npuq.ir.ops.npu.matrix import BatchMatMul, MatMul
from npuq.ir.ops.npu.pointwise import Add, Lut, Mul, Requantize, Softmax
from npuq.ir.ops.npu.reduce import CumSum, ReduceSum
from npuq.ir.ops.npu.result import Requantized
from npuq.ir.ops.npu.softmax import SoftmaxFixed
from npuq.ir.ops.npu.window import AveragePool2d, Conv2d, MaxPool2d, ResizeLinear

from ...oracle.ops import ORACLE, conv2d_sums

FILLS = ("random", "least", "greatest", "worst")
I8, I16 = np.int8, np.int16


@cache
def compiled(op: Op) -> Callable[..., jax.Array]:
    """The jitted op, one for all operands of the same types."""
    return jax.jit(op.evaluate)


def run(op: Op, *operands: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(compiled(op)(*map(jnp.asarray, operands)))


def agree(op: Op, *operands: np.ndarray) -> np.ndarray:
    """Compare the op with the oracle and its inference; give the result."""
    inferred = results_of(op, tuple(TensorType(DType.of(operand.dtype), operand.shape) for operand in operands))
    computed = run(op, *operands)
    wanted = ORACLE[op.name](op.attributes, *(operand.astype(np.int64) for operand in operands))
    assert inferred == (TensorType(DType.of(computed.dtype), computed.shape),)
    np.testing.assert_array_equal(computed.astype(np.int64), wanted, strict=True)
    return computed


def filled(rng: np.random.Generator, shape: tuple[int, ...], dtype: Any, fill: str) -> np.ndarray:
    """Random integers, or the least or the greatest everywhere."""
    info = np.iinfo(dtype)
    if fill == "least":
        return np.full(shape, info.min, dtype)
    if fill == "greatest":
        return np.full(shape, info.max, dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def operands(
    rng: np.random.Generator, x: tuple[int, ...], w: tuple[int, ...], dtype: Any, fill: str
) -> tuple[np.ndarray, ...]:
    """x, weights and bias; the worst weights have the signs of x's greatest sum."""
    weights = filled(rng, w, I8, "random")
    if fill == "worst":
        weights = np.where(weights < 0, np.int8(-128), np.int8(-128 if w[-1] % 2 else 127)).astype(I8)
    data = filled(rng, x, dtype, "least" if fill == "worst" else fill)
    return data, weights, rng.integers(-1000, 1000, w[-1]).astype(np.int32)


def rescaling(interval: tuple[int, int], count: int, reach: float = 300.0) -> tuple[np.ndarray, np.ndarray]:
    """Multipliers and shifts that bring the interval's ends to about `reach`."""
    reals = reach / max(map(abs, interval)) * np.linspace(0.3, 1.7, count)
    return multipliers_and_shifts(reals)[:2]


def settle(op: Any, *cases: tuple[np.ndarray, ...], **fields: Any) -> None:
    """Prove each case's accumulator, check the proof with the oracle's sums, and compare the op under all proofs."""
    intervals = []
    for data, weights, bias in cases:
        info = np.iinfo(data.dtype)
        low, high = accumulator_interval(weights, bias, info.min, info.max)
        if op is Conv2d:
            attributes = Conv2d(**fields).attributes
            sums = conv2d_sums(attributes, *(array.astype(np.int64) for array in (data, weights, bias)))
            assert low <= sums.min()
            assert sums.max() <= high
        intervals.append((low, high))
    interval = min(low for low, _ in intervals), max(high for _, high in intervals)
    for data, weights, bias in cases:
        narrow = data.dtype == I8
        wide = {} if narrow else {"low": -32768, "high": 32767, "dtype": DType.I16}
        rescale = rescaling(interval, weights.shape[-1], 300.0 if narrow else 70000.0)
        assert agree(op(accumulator=interval, **fields, **wide), data, weights, bias, *rescale).size


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "native": ((2, 7, 6, 32), (3, 3, 32, 33), {"padding": ((1, 1), (1, 1))}),
    "native-zero-point": ((1, 7, 6, 32), (3, 2, 32, 8), {"padding": ((2, 1), (0, 3)), "pad_value": -7}),
    "native-stride-dilation": ((2, 11, 9, 5), (3, 2, 5, 40), {"stride": (2, 3), "dilation": (2, 1)}),
    "stem": ((2, 12, 12, 3), (3, 3, 3, 32), {"stride": (2, 2), "padding": ((0, 1), (0, 1))}),
    "narrow": ((1, 6, 6, 3), (3, 3, 3, 4), {"padding": ((1, 1), (1, 1))}),
    "pointwise": ((2, 5, 4, 24), (1, 1, 24, 17), {}),
    "pointwise-stride": ((2, 5, 4, 24), (1, 1, 24, 17), {"stride": (2, 2), "padding": ((1, 0), (0, 0))}),
    "depthwise": ((2, 7, 6, 9), (3, 3, 1, 9), {"groups": 9, "padding": ((1, 1), (1, 1)), "pad_value": 5}),
    "depthwise-stride": ((1, 9, 9, 4), (5, 5, 1, 4), {"groups": 4, "padding": ((2, 2), (1, 2)), "stride": (2, 2)}),
    "depthwise-multiplier": ((1, 5, 5, 3), (3, 3, 1, 6), {"groups": 3, "dilation": (1, 2)}),
    "depthwise-large": ((1, 13, 13, 2), (12, 12, 1, 2), {"groups": 2}),
    "grouped": ((2, 6, 5, 12), (3, 3, 4, 6), {"groups": 3, "stride": (1, 2), "padding": ((1, 0), (1, 1))}),
    "transposed": ((1, 4, 5, 6), (2, 2, 6, 7), {"expand": (2, 2), "padding": ((1, 1), (1, 1)), "pad_value": 3}),
    "transposed-cropped": ((1, 4, 5, 32), (3, 3, 32, 3), {"expand": (2, 3), "padding": ((-1, 1), (0, -2))}),
    "one-row": ((1, 1, 1, 40), (1, 1, 40, 50), {}),
    "one-channel": ((1, 8, 8, 1), (3, 3, 1, 40), {"padding": ((1, 1), (1, 1))}),
}


@pytest.mark.parametrize("name", CONVOLUTIONS)
def test_convolution(name: str) -> None:
    x, w, fields = CONVOLUTIONS[name]
    rng = np.random.default_rng(1)
    for dtype in (I8, I16):
        settle(Conv2d, *(operands(rng, x, w, dtype, fill) for fill in FILLS), **fields)


def test_convolution_of_int4_weights_and_wide_bias() -> None:
    rng = np.random.default_rng(2)
    data = filled(rng, (1, 4, 4, 8), I8, "random")
    weights = rng.integers(-8, 8, (1, 1, 8, 5)).astype(DType.I4.numpy)
    bias = rng.integers(-(1 << 20), 1 << 20, 5)
    settle(Conv2d, (data, weights, bias))


def test_convolution_whose_sums_leave_int32() -> None:
    """In float64, far beyond int32, by a bias that the target's wide accumulator takes."""
    rng = np.random.default_rng(3)
    for dtype in (I8, I16):
        data, weights, _ = operands(rng, (1, 5, 5, 32), (3, 3, 32, 33), dtype, "random")
        settle(Conv2d, (data, weights, rng.integers(-(1 << 44), 1 << 44, 33)))


def test_sums_deeper_than_an_int8_lane_take_float64() -> None:
    rng = np.random.default_rng(4)
    for dtype in (I8, I16):
        settle(MatMul, *(operands(rng, (2, 1 << 18), (1 << 18, 2), dtype, fill) for fill in ("random", "worst")))


@pytest.mark.parametrize("shape", [(3, 20), (1, 40), (40,), (2, 3, 7)], ids=str)
def test_matmul(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(5)
    for dtype in (I8, I16):
        settle(MatMul, *(operands(rng, shape, (shape[-1], 9), dtype, fill) for fill in FILLS), zero_point=3)


@pytest.mark.parametrize("dtypes", [(I8, I8), (I16, I8), (I16, I16)], ids=str)
def test_batch_matmul(dtypes: tuple[Any, Any]) -> None:
    rng = np.random.default_rng(6)
    for zero_points in ((0, 0), (-128, 127), (5, 0)):
        for fill in FILLS:
            a = filled(rng, (2, 1, 3, 5), dtypes[0], fill)
            b = filled(rng, (4, 5, 6), dtypes[1], fill)
            wide = any(dtype is I16 for dtype in dtypes)
            op = BatchMatMul(zero_points=zero_points, accumulator=(-(1 << 53), 1 << 53) if wide else INT32)
            agree(op, a, b, *rescaling((-(1 << 33), 1 << 33) if wide else (-80000, 80000), 1))


@pytest.mark.parametrize("rounding", ["single_half_up", "tflite_double", "pot_half_away", "floor", "mul16"])
def test_add(rounding: str) -> None:
    rng = np.random.default_rng(7)
    every = np.arange(-128, 128, dtype=I8)
    for zero_points in ((0, 0), (-128, 127)):
        for m, s in (((1 << 30, 1 << 30), 31), ((-(1 << 31), (1 << 31) - 1), 38), ((1 << 30, -(1 << 30)), 30)):
            op = Add(zero_points=zero_points, rounding=rounding, zero_point=-3)
            factors = np.asarray(m, np.int32), np.asarray([s], np.int32)
            agree(op, every[:, None], every, *factors)
            agree(op, filled(rng, (2, 1, 5), I16, "random"), filled(rng, (3, 1), I16, "least"), *factors)


@pytest.mark.parametrize("rounding", ["single_half_up", "tflite_double", "half_away"])
def test_add_of_shifted_operands(rounding: str) -> None:
    every = np.arange(-128, 128, dtype=I8)
    for scales in ((0.5, 0.5, 0.25), (0.034, 0.0819, 0.05), (0.5, 0.001, 0.7)):
        twice = 2 * max(scales[:2])
        reals = np.array([scales[0] / twice, scales[1] / twice, twice / (scales[2] * (1 << 20))])
        for zero_points in ((0, 0), (-128, 127)):
            op = Add(zero_points=zero_points, rounding=rounding, zero_point=-3, left_shift=20)
            multipliers, shifts, _ = multipliers_and_shifts(reals)
            agree(op, every[:, None], every, multipliers, shifts)
            agree(op, every[:, None], every, multipliers * np.array([1, -1, 1], np.int32), shifts)
    greatest = np.full(3, (1 << 31) - 1, np.int32), np.array([2, 2, 40], np.int32)
    agree(Add(left_shift=22, rounding=rounding), every[:, None], every, *greatest)


def test_add_rounds_ties_at_every_shift() -> None:
    every = np.arange(-128, 128, dtype=I8)
    for s in (2, 3, 30, 31, 44, 45, 53, 54, 62):
        for m in ((1 << 30, 1 << 30), (3, -1), ((1 << 31) - 1, 1)):
            agree(Add(), every[:, None], every, np.asarray(m, np.int32), np.asarray([s], np.int32))


def test_mul() -> None:
    every = np.arange(-128, 128, dtype=I8)
    for zero_points in ((0, 0), (-128, 127)):
        for real in (0.004, 0.5 / 127):
            agree(Mul(zero_points=zero_points), every[:, None], every, *multipliers_and_shifts(np.array([real]))[:2])
    ends = np.array([-32768, -1, 0, 1, 32767], I16)
    for zero_points in ((0, 0), (-32768, 32767)):
        op = Mul(zero_points=zero_points, accumulator=(-(1 << 40), 1 << 40), low=-32768, high=32767, dtype=DType.I16)
        agree(op, ends[:, None], ends, *multipliers_and_shifts(np.array([2.0**-19]))[:2])


def test_requantize() -> None:
    rng = np.random.default_rng(8)
    for dtype, zero_point, wide in ((I8, -128, INT32), (I16, 77, INT32), (np.int32, 5, (-(1 << 40), 1 << 40))):
        for fill in FILLS:
            x = filled(rng, (3, 50), dtype, fill)
            factors = multipliers_and_shifts(300.0 / np.iinfo(dtype).max * np.linspace(0.2, 1.2, 50))[:2]
            agree(Requantize(input_zero_point=zero_point, accumulator=wide, zero_point=9), x, *factors)
    agree(Requantize(low=0, high=255, dtype=DType.U8), filled(rng, (4,), np.uint8, "random"), *rescaling((0, 300), 1))


def test_lut() -> None:
    rng = np.random.default_rng(9)
    x = rng.permuted(np.tile(np.arange(-128, 128, dtype=I8), 3)).reshape(2, 128, 3)
    for shape in ((256,), (3, 256)):
        for dtype in (I8, I16):
            agree(Lut(), x, filled(rng, shape, dtype, "random"))


@pytest.mark.parametrize("n", [8, 9, 10, 11, 12])
def test_interpolate_at_every_integer(n: int) -> None:
    rng = np.random.default_rng(n)
    every = np.arange(-32768, 32768).astype(I16)
    for fill in ("random", "least", "greatest"):
        table = filled(rng, ((1 << n) + 1,), I16, fill)
        found = agree(Interpolate(), every.reshape(16, -1), table).reshape(-1)
        np.testing.assert_array_equal(found[:: 1 << (16 - n)], table[:-1])
        assert table.min() <= found.min() <= found.max() <= table.max()
    zigzag = np.where(np.arange((1 << n) + 1) % 2, 32767, -32768).astype(I16)
    agree(Interpolate(), every, zigzag)
    for dtype in (I8, I16):
        agree(
            Interpolate(), rng.permutation(every)[:6000].reshape(10, 200, 3), filled(rng, (3, zigzag.size), dtype, "")
        )


def test_products_of_16_bit_data_with_weights_of_every_width() -> None:
    rng = np.random.default_rng(20)
    for bits in WEIGHTS:
        for name in ("native", "narrow", "depthwise", "grouped", "transposed"):
            shape, w, fields = CONVOLUTIONS[name]
            settle(Conv2d, *(sixteen_bits(rng, shape, w, bits, fill) for fill in FILLS), **fields)
        settle(MatMul, *(sixteen_bits(rng, (3, 2, 50), (50, 7), bits, fill) for fill in FILLS))
    rest = (np.zeros(5, np.int32), *multipliers_and_shifts(np.full(5, 0.1))[:2])
    narrow = filled(rng, (3, 9), I8, "random"), of_width(rng, (9, 5), 4, "random")
    agree(MatMul(accumulator=(-(1 << 20), 1 << 20)), *narrow, *rest)


def sixteen_bits(
    rng: np.random.Generator, x: tuple[int, ...], w: tuple[int, ...], bits: int, fill: str
) -> tuple[np.ndarray, ...]:
    """16-bit data with weights of some bits and a bias of up to 40; the worst weights make the greatest sum."""
    data = filled(rng, x, I16, "least" if fill == "worst" else fill)
    return data, of_width(rng, w, bits, fill), rng.integers(-1 << 40, 1 << 40, w[-1])


WEIGHTS = (4, 8, 16)
WIDE: Any = {"low": -32768, "high": 32767, "dtype": DType.I16}


def of_width(rng: np.random.Generator, shape: tuple[int, ...], bits: int, fill: str) -> np.ndarray:
    """Weights of 4, 8 or 16 bits: random, or all at one end."""
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    numbers = rng.integers(low, high, shape, endpoint=True)
    numbers = {"least": np.full(shape, low), "greatest": np.full(shape, high), "worst": np.full(shape, low)}.get(
        fill, numbers
    )
    return numbers.astype({4: DType.I4, 8: DType.I8, 16: DType.I16}[bits].numpy)


def test_products_and_sums_of_two_16_bit_tensors() -> None:
    rng = np.random.default_rng(21)
    for fill in FILLS:
        a, b = (filled(rng, shape, I16, fill) for shape in ((2, 1, 5, 40), (3, 40, 4)))
        for zero_points in ((0, 0), (-32768, 32767)):
            reach = 40 << 32
            op = BatchMatMul(zero_points=zero_points, accumulator=(-reach, reach), **WIDE)
            agree(op, a, b, *rescaling((-reach, reach), 1, 70000.0))
        agree(Requantize(accumulator=(-32768, 32767), **WIDE), a, *multipliers_and_shifts(np.array([1.7]))[:2])
        agree(Requantize(accumulator=(-32768, 32767)), a, *multipliers_and_shifts(np.array([1 / 257]))[:2])
        m, s = common_multipliers(np.array([0.7, -1.3]))
        agree(Add(**WIDE), a, a, m, s)
        agree(AveragePool2d(window=(1, 2), **WIDE), a, *multipliers_and_shifts(np.array([0.51]))[:2])
        agree(ReduceSum(axes=(3,), **WIDE), a, *multipliers_and_shifts(np.array([1 / 39]))[:2])
        rows, columns = (rng.integers(-(1 << 14), (1 << 14) + 1, shape).astype(I16) for shape in ((7, 1), (2, 5)))
        reach = (1 << 16) * (1 << 28) * 5
        agree(
            ResizeLinear(accumulator=(-reach, reach), **WIDE), a, rows, columns, *rescaling((-reach, reach), 1, 70000.0)
        )


POOLS: tuple[tuple[tuple[int, ...], dict[str, Any]], ...] = (
    ((2, 7, 6, 3), {"window": (2, 2), "stride": (2, 2)}),
    ((1, 7, 6, 3), {"window": (3, 3), "stride": (2, 1), "padding": ((1, 1), (1, 2))}),
    ((1, 9, 9, 2), {"window": (2, 3), "dilation": (3, 2), "padding": ((0, 1), (2, 0))}),
    ((1, 5, 4, 2), {"window": (5, 4)}),
)


@pytest.mark.parametrize(("shape", "fields"), POOLS, ids=str)
def test_pooling(shape: tuple[int, ...], fields: dict[str, Any]) -> None:
    rng = np.random.default_rng(10)
    for dtype in (I8, I16):
        for fill in FILLS:
            x = filled(rng, shape, dtype, fill)
            space = agree(MaxPool2d(**fields), x).shape[1:3]
            for zero_point in (0, -128):
                op = AveragePool2d(**fields, input_zero_point=zero_point, zero_point=-1)
                agree(op, x, *rescaling((-5000, 5000), 1))
                counts = rng.integers(1, 9, space)
                agree(op, x, *multipliers_and_shifts(0.3 / counts)[:2])


@pytest.mark.parametrize("axes", [(1, 2), (3,), (0, 1, 2, 3), ()], ids=str)
@pytest.mark.parametrize("keep", [True, False])
def test_reduce_sum(axes: tuple[int, ...], keep: bool) -> None:
    rng = np.random.default_rng(11)
    for dtype in (I8, I16):
        for fill in FILLS:
            op = ReduceSum(axes=axes, keep=keep, input_zero_point=-100, zero_point=2)
            agree(op, filled(rng, (2, 7, 5, 4), dtype, fill), *rescaling((-20000, 20000), 1))


@pytest.mark.parametrize("axis", [0, 2])
@pytest.mark.parametrize("exclusive", [False, True])
@pytest.mark.parametrize("reverse", [False, True])
def test_cumsum(axis: int, exclusive: bool, reverse: bool) -> None:
    rng = np.random.default_rng(13)
    for dtype in (I8, I16):
        for fill in FILLS:
            op = CumSum(axis=axis, exclusive=exclusive, reverse=reverse, input_zero_point=-100, zero_point=2)
            agree(op, filled(rng, (5, 2, 7), dtype, fill), *rescaling((-20000, 20000), 1))


def test_a_long_cumsum_leaves_32_bits() -> None:
    op = CumSum(axis=0, accumulator=(0, 1 << 40), low=0, high=2**31 - 1, dtype=DType.I32)
    x = np.full(70_000, 32767, I16)
    assert agree(op, x, *multipliers_and_shifts(np.array([0.5]))[:2])[-1] == 70_000 * 32767 // 2


def test_resize_linear() -> None:
    rng = np.random.default_rng(12)
    for fill in FILLS:
        x = filled(rng, (2, 4, 3, 5), I8, fill)
        rows, columns = (rng.integers(-2048, 2049, shape).astype(I16) for shape in ((7, 4), (2, 3)))
        reach = 255 * 2048 * 2048 * 12
        op = ResizeLinear(input_zero_point=-128, accumulator=(-reach, reach))
        agree(op, x, rows, columns, *rescaling((-(1 << 32), 1 << 32), 1))


def test_softmax() -> None:
    rng = np.random.default_rng(13)
    table = np.rint(np.exp(np.arange(-255, 1) * 0.03) * (1 << 30)).astype(np.int32)
    for fill in FILLS:
        x = filled(rng, (3, 7, 2), I8, fill)
        for axis in (0, 1, 2):
            agree(Softmax(axis=axis, steps=127 * 256), x, table)
            agree(Softmax(axis=axis, steps=255 * 256 + 91, zero_point=-128), x, table)


def test_softmax_with_a_reciprocal() -> None:
    rng = np.random.default_rng(14)
    table = np.rint(np.exp(np.arange(-255, 1) * 0.03) * ((1 << 31) - 1)).astype(np.int32)
    for fill in FILLS:
        for shape in ((3, 7, 2), (1, 511, 1)):
            for axis in (0, 1, 2):
                agree(SoftmaxFixed(axis=axis), filled(rng, shape, I8, fill), table)
    agree(SoftmaxFixed(axis=0), rng.integers(-20, 20, (9, 50)).astype(I8), table)


def test_softmax_of_16_bits() -> None:
    rng = np.random.default_rng(22)
    for scale in (1e-5, 3e-4, 0.01):
        table = np.rint(np.exp(np.arange(-255, 1) * np.array([[256.0], [1.0]]) * scale) * (1 << 30)).astype(np.int32)
        for fill in FILLS:
            x = filled(rng, (3, 70, 2), I16, fill)
            for axis in (0, 1, 2):
                found = agree(Softmax(axis=axis, steps=32767 * 256, **WIDE), x, table)
                agree(Softmax(axis=axis, steps=255 * 256, zero_point=-128), x, table)
                e = np.exp((x - x.max(axis, keepdims=True).astype(np.float64)) * scale)
                assert np.abs(found - 32767 * e / e.sum(axis, keepdims=True)).max() < 0.51


def test_an_op_vmaps_to_the_same_integers() -> None:
    """A batch is one more leading axis over a graph of batch 1."""
    rng = np.random.default_rng(14)
    for name in ("native", "stem", "pointwise", "depthwise", "grouped", "transposed"):
        x, w, fields = CONVOLUTIONS[name]
        data, weights, bias = operands(rng, (4, *x), w, I8, "random")
        op = Conv2d(accumulator=accumulator_interval(weights, bias, -128, 127), **fields)
        rest = (weights, bias, *rescaling(op.accumulator, w[-1]))
        with jax.enable_x64(True):
            batch = jax.jit(jax.vmap(op.evaluate, (0, None, None, None, None)))(data, *rest)
        for one, result in zip(data, batch, strict=True):
            np.testing.assert_array_equal(run(op, one, *rest), result)


def test_every_integer_op_has_an_oracle() -> None:
    assert {name for name in registry() if name.startswith("npu.")} == set(ORACLE)


CONV = ("i8[1,4,4,6]", "i8[3,3,6,8]", "i32[8]", "i32[8]", "i32[8]")
REFUSED: tuple[tuple[Op, tuple[str, ...], str], ...] = (
    (Conv2d(), ("u8[1,4,4,6]", *CONV[1:]), "u8 operand, i8 or i16 wanted"),
    (Conv2d(), (CONV[0], "i16[3,3,6,8]", *CONV[2:]), "i16 weights of i8 data, i4 or i8 wanted"),
    (Conv2d(), (*CONV[:2], "i32[7]", *CONV[3:]), "bias of shape (7,), (8,) wanted"),
    (Conv2d(groups=4), CONV, "6 channels in, 6 x 4 wanted"),
    (Conv2d(groups=3), ("i8[1,4,4,18]", *CONV[1:]), "8 channels out do not divide into 3 groups"),
    (Conv2d(expand=(0, 1)), CONV, "expand (0, 1), at least 1 wanted"),
    (Conv2d(pad_value=128), CONV, "input zero point 128 outside i8's [-128, 127]"),
    (Conv2d(), (*CONV[:3], "i32[4]", "i32[4]"), "multiplier of shape (4,), (1,) or (8,) wanted"),
    (Conv2d(), (*CONV[:3], "i32[8]", "i32[1]"), "multipliers (8,) and shifts (1,) differ in shape"),
    (Conv2d(), (*CONV[:3], "i64[8]", "i32[8]"), "multiplier of i64, i32 wanted"),
    (Conv2d(low=-129), CONV, "clamp [-129, 127] outside i8's [-128, 127]"),
    (Conv2d(zero_point=200), CONV, "zero point 200 outside i8's [-128, 127]"),
    (Conv2d(dtype=DType.I64), CONV, "i64 result, an integer to 32 bits wanted"),
    (Conv2d(rounding="half_up"), CONV, "there is no rounding 'half_up'; there are single_half_up, tflite_double"),
    (Conv2d(accumulator=(1, 0)), CONV, "accumulator [1, 0] is empty"),
    (Conv2d(accumulator=(0, 1 << 32), rounding="floor"), CONV, "accumulator [0, 4294967296] is too wide for floor's"),
    (MatMul(), ("i8[2,5]", "i8[6,8]", *CONV[2:]), "5 columns times 6 rows"),
    (BatchMatMul(), ("i8[2,5]", "i8[6,8]", "i32[1]", "i32[1]"), "5 columns times 6 rows"),
    (
        BatchMatMul(zero_points=(0, 300)),
        ("i8[2,5]", "i8[5,8]", "i32[1]", "i32[1]"),
        "input zero point 300 outside i8's",
    ),
    (Mul(accumulator=(1 << 20, 1 << 21)), ("i8[2]", "i8[2]", "i32[1]", "i32[1]"), "nothing in common with"),
    (Add(), ("i64[2]", "i8[2]", "i32[2]", "i32[1]"), "i64 operand, an integer of at most 32 bits wanted"),
    (Mul(), ("i32[2]", "i8[2]", "i32[1]", "i32[1]"), "i32 operand, an integer of at most 16 bits wanted"),
    (Add(), ("i8[2]", "i8[2]", "i32[1]", "i32[1]"), "multipliers i32[1], i32[2] wanted"),
    (Lut(), ("i16[2]", "i8[256]"), "i16 operand, i8 wanted"),
    (Interpolate(), ("i8[2,3]", "i16[257]"), "i8 operand, i16 wanted"),
    (Interpolate(), ("i16[2,3]", "i16[256]"), "table of shape (256,) for (2, 3): 257, 513, 1025, 2049, 4097 entries,"),
    (Interpolate(), ("i16[2,3]", "i16[2,257]"), "table of shape (2, 257) for (2, 3): 257, 513"),
    (Interpolate(), ("i16[2,3]", "i32[257]"), "table of i32, i8 or i16 wanted"),
    (Interpolate(worst=-1.0), ("i16[2,3]", "i16[257]"), "worst error -1.0, finite and positive wanted"),
    (Softmax(axis=1, steps=1), ("i16[2,3]", "i32[256]"), "table i32[256], i32[2,256] wanted"),
    (Softmax(axis=1, steps=1), ("i32[2,3]", "i32[256]"), "i32 operand, i8 or i16 wanted"),
    (Lut(), ("i8[2,3]", "i8[2,256]"), "table of shape (2, 256), (256,) or (3, 256) wanted"),
    (MaxPool2d(window=(2, 2), padding=((2, 0), (0, 0))), ("i8[1,4,4,1]",), "padding (2, 0) of a window that reaches 1"),
    (AveragePool2d(window=(2, 2)), ("i8[1,4,4,1]", "i32[2,3]", "i32[2,3]"), "(1,) or (3, 3) wanted"),
    (ReduceSum(axes=(1, 1)), ("i8[2,3]", "i32[1]", "i32[1]"), "axes (1, 1) of rank 2"),
    (CumSum(axis=2), ("i8[2,3]", "i32[1]", "i32[1]"), "axis 2 of 2 axes"),
    (CumSum(axis=0), ("i32[2,3]", "i32[1]", "i32[1]"), "i32 operand, an integer of at most 16 bits wanted"),
    (CumSum(axis=0, input_zero_point=128), ("i8[2]", "i32[1]", "i32[1]"), "input zero point 128 outside i8's"),
    (ResizeLinear(), ("i8[1,4,4,1]", "i16[8,3]", "i16[8,4]", "i32[1]", "i32[1]"), "rows i16[8,3], i16[..., 4] wanted"),
    (Softmax(axis=2, steps=1), ("i8[2,3]", "i32[256]"), "axis 2 of rank 2"),
    (SoftmaxFixed(axis=2), ("i8[2,3]", "i32[256]"), "axis 2 of rank 2"),
    (SoftmaxFixed(axis=1), ("i16[2,3]", "i32[256]"), "i16 operand, i8 wanted"),
    (SoftmaxFixed(axis=1), ("i8[2,3]", "i32[257]"), "table i32[257], i32[256] wanted"),
    (SoftmaxFixed(axis=1), ("i8[2,512]", "i32[256]"), "softmax over 512 elements, 1 to 511 wanted"),
    (Add(left_shift=20), ("i8[2]", "i8[2]", "i32[2]", "i32[1]"), "multiplier of shape (2,), (3,) wanted"),
    (Add(left_shift=20), ("i16[2]", "i8[2]", "i32[3]", "i32[3]"), "left_shift 20 of 32768"),
    (Softmax(axis=1, steps=0), ("i8[2,3]", "i32[256]"), "0 steps, 1 to 2147483647 wanted"),
    (Softmax(axis=1, steps=1), ("i8[2,70000]", "i32[256]"), "softmax over 70000 elements, 1 to 65536 wanted"),
)


@pytest.mark.parametrize(("op", "types", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refusals_name_rule_and_numbers(op: Op, types: tuple[str, ...], message: str) -> None:
    with pytest.raises(RuleError) as caught:
        results_of(op, tuple(map(parse_type, types)))
    assert message in str(caught.value)


def test_results_of_requantized_ops_are_bare() -> None:
    (result,) = results_of(Conv2d(), tuple(map(parse_type, ("q8<0.5>[1,4,4,6]", *CONV[1:]))))
    assert result == parse_type("i8[1,2,2,8]")
    assert issubclass(Conv2d, Requantized)
