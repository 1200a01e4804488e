"""Integer recurrent layers equal an oracle of Python integers, bit for bit, and follow the float layers closely."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from npuq.ir import DType, Op, RuleError, TensorType, parse_type, results_of
from npuq.ir.arithmetic import multipliers_and_shifts
from npuq.ir.ops.npu.interpolate import interpolated
from npuq.ir.ops.npu.recurrent import Gru, Lstm, Rnn

from ...oracle.ops import ORACLE
from .test_ops import I8, I16, filled

STEPS, BATCH, FEATURES, HIDDEN = 4, 3, 5, 3
GATES = {Lstm: 4, Gru: 3, Rnn: 1}
FUNCTIONS = {Lstm: 3, Gru: 2, Rnn: 1}
INPUTS = (11, 12, 12)


def table(rng: np.random.Generator, entries: int) -> np.ndarray:
    """A rising table that reaches both ends."""
    return np.sort(np.append(rng.integers(-32768, 32767, entries - 2), [-32768, 32767])).astype(I16)


def settle(kind: Any, dtype: Any, fill: str, *, lengths: bool = False, peepholes: bool = False, **fields: Any) -> None:
    """Compare one op with the oracle on random operands."""
    rng = np.random.default_rng(len(fill))
    d = 2 if fields.get("direction") == "bidirectional" else 1
    rows, wide = GATES[kind] * HIDDEN, dtype is I16
    reach = 32768 if wide else 128
    fields |= {"low": -reach, "high": reach - 1, "dtype": DType.I16 if wide else DType.I8}
    fields["accumulator"] = (-(1 << 40), 1 << 40) if wide else (-(1 << 24), 1 << 24)
    fields["inputs"] = INPUTS[: FUNCTIONS[kind]] * d
    one = 1 << 30
    fields["hidden_out"] = (one + 12345, (38 if wide else 46) + (7 if kind is Gru else 0) - (8 if kind is Rnn else 0))
    operands = [filled(rng, (STEPS, BATCH, FEATURES), dtype, fill)]
    operands += [filled(rng, (d, rows, size), dtype, "random") for size in (FEATURES, HIDDEN)]
    operands.append(rng.integers(-1000, 1000, (d, 2, rows)))
    reals = rng.uniform(0.2, 2, (d, 2, rows)) * (1 << 22) / (2 * reach * reach)
    operands += multipliers_and_shifts(reals)[:2]
    operands.append(np.stack([[table(rng, 257) for _ in range(FUNCTIONS[kind])] for _ in range(d)]))
    operands.append(filled(rng, (d, BATCH, HIDDEN), dtype, fill))
    if kind is not Rnn:
        fields["cell_in" if kind is Lstm else "hidden_in"] = (one + 77, 20 if wide else 24)
    if kind is Lstm:
        fields |= {"cell_out": (one + 99, 40 if wide else 46), "cell_zero_point": 4}
        operands.append(filled(rng, (d, BATCH, HIDDEN), dtype, fill))
        if peepholes or lengths:
            operands.append(rng.integers(-(1 << 20), 1 << 20, (d, 3 * HIDDEN)).astype(np.int32) * peepholes)
    if lengths:
        operands.append(np.array([STEPS, 0, 2], np.int32))
    agree(kind(**fields), *operands)


def agree(op: Op, *operands: np.ndarray) -> None:
    """Compare all results of the op with the oracle and its inference."""
    inferred = results_of(op, tuple(TensorType(DType.of(operand.dtype), operand.shape) for operand in operands))
    with jax.enable_x64(True):
        found = jax.jit(op.evaluate)(*map(jnp.asarray, operands))
    wanted = ORACLE[op.name](op.attributes, *(operand.astype(np.int64) for operand in operands))
    for type_, one_, other in zip(inferred, found, wanted, strict=True):
        assert type_ == TensorType(DType.of(one_.dtype), one_.shape)
        np.testing.assert_array_equal(np.asarray(one_).astype(np.int64), other)


@pytest.mark.parametrize("dtype", [I8, I16])
@pytest.mark.parametrize("kind", [Lstm, Gru, Rnn])
def test_layers(kind: Any, dtype: Any) -> None:
    settle(kind, dtype, "random")
    settle(kind, dtype, "least", direction="bidirectional", lengths=True, zero_point=7)
    settle(kind, dtype, "greatest", direction="reverse", lengths=True, clip=3 << 19)


@pytest.mark.parametrize("dtype", [I8, I16])
def test_options(dtype: Any) -> None:
    rounding = "floor" if dtype is I8 else "single_half_up"
    settle(Lstm, dtype, "random", peepholes=True, lengths=True, input_forget=True, rounding=rounding)
    settle(Gru, dtype, "random", linear_before_reset=True, direction="bidirectional")


def test_interpolation_everywhere() -> None:
    """All 65536 integers in tables of every size, against exact quotients."""
    rng = np.random.default_rng(0)
    every = np.arange(-32768, 32768)
    for n in range(8, 13):
        entries = rng.integers(-32768, 32768, (1 << n) + 1).astype(I16)
        with jax.enable_x64(True):
            found = np.asarray(jax.jit(interpolated)(jnp.asarray(entries), jnp.asarray(every)))
        width = 1 << (16 - n)
        index, offset = np.divmod(every + 32768, width)
        wide = entries.astype(np.int64)
        wanted = (2 * (wide[index] * width + (wide[index + 1] - wide[index]) * offset) + width) // (2 * width)
        np.testing.assert_array_equal(found, wanted)


FACTOR = (1 << 30, 40)
OPERANDS = (
    "i8[5,3,4]",
    "i8[1,2,4]",
    "i8[1,2,2]",
    "i64[1,2,2]",
    "i32[1,2,2]",
    "i32[1,2,2]",
    "i16[1,1,257]",
    "i8[1,3,2]",
)


def changed(place: int, text: str) -> tuple[str, ...]:
    return (*OPERANDS[:place], text, *OPERANDS[place + 1 :])


REFUSED: tuple[tuple[Op, tuple[str, ...], str], ...] = (
    (Rnn(inputs=(12,), hidden_out=FACTOR), changed(0, "u8[5,3,4]"), "u8 operand, i8 or i16 wanted"),
    (Rnn(inputs=(12,), hidden_out=FACTOR), changed(0, "i8[3,4]"), "operands i8[3,4] and i8[1,2,2], rank 3 wanted"),
    (Rnn(inputs=(12,), hidden_out=FACTOR), changed(1, "i16[1,2,4]"), "weights of i16 and of i8, one type wanted"),
    (Rnn(inputs=(12,), hidden_out=FACTOR), changed(1, "i8[1,3,4]"), "weights i8[1,3,4], (1, 2, 4) wanted"),
    (Rnn(inputs=(12,), hidden_out=FACTOR), changed(3, "i32[1,2,2]"), "bias i32[1,2,2], i64[1,2,2] wanted"),
    (Rnn(inputs=(12,), hidden_out=FACTOR), changed(6, "i16[1,1,256]"), "table i16[1,1,256], i16[1,1,2^n + 1], n 8 to"),
    (Rnn(inputs=(12,), hidden_out=FACTOR), changed(7, "i16[1,3,2]"), "initial state i16[1,3,2], i8[1,3,2] wanted"),
    (Rnn(inputs=(12, 1), hidden_out=FACTOR), OPERANDS, "2 input fractions, 1 wanted"),
    (Rnn(inputs=(20,), hidden_out=FACTOR), OPERANDS, "input fractions (20,), 1 to 19 wanted"),
    (Rnn(inputs=(12,), hidden_out=(0, 40)), OPERANDS, "factor (0, 40), (1 to 2^31 - 1, 2 to 62) wanted"),
    (Rnn(inputs=(12,), hidden_out=FACTOR, clip=-1), OPERANDS, "clip -1, 0 to 2^30 wanted"),
)


@pytest.mark.parametrize(("op", "types", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refusals_name_rule_and_numbers(op: Op, types: tuple[str, ...], message: str) -> None:
    with pytest.raises(RuleError) as caught:
        results_of(op, tuple(map(parse_type, types)))
    assert message in str(caught.value)
