"""The laws of traits, proved on the examples of all registered ops: what an op says of itself is true."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from npuq.ir import DType, Op, RuleError, TensorType, registry, results_of
from npuq.ir.op import UNBOUNDED, Bounds, attribute_types
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.npu.result import Accumulating, Clamped, Integer, Operand, Requantized
from npuq.ir.ops.shape import Pad
from npuq.passes.target import load_target, targets

from .examples import EXAMPLES, Example

RUNS = frozenset(name for target in targets() for name in load_target(target).integer_ops)
"""The names of all ops that a target that comes with npuq runs."""

REALS, INTEGERS = (0.375, -0.8125, 0.6875, -0.25, 41.5), (17, -101, 99, -13)


def elements(rng: np.random.Generator, type_: TensorType, among: Sequence[float]) -> np.ndarray:
    """Elements of a type, drawn from few numbers; bools are drawn from both."""
    if type_.dtype is DType.BOOL:
        return rng.random(type_.shape) < 0.5
    low, high = type_.dtype.range if type_.dtype.is_integer else UNBOUNDED
    numbers = among if low < 0 else [abs(number) for number in among]
    chosen: np.ndarray = np.clip(rng.choice(numbers, type_.shape), low, high)
    return chosen.astype(type_.dtype.numpy)


def drawn(example: Example, seed: int = 0) -> list[np.ndarray]:
    """Operands whose elements are few numbers, which no arithmetic gives by chance."""
    rng = np.random.default_rng(seed)
    return [elements(rng, type_, INTEGERS if type_.dtype.is_integer else REALS) for type_ in example.operands]


def evaluated(op: Op, operands: Iterable[np.ndarray]) -> tuple[np.ndarray, ...]:
    """The results as arrays."""
    with jax.enable_x64(True):
        found = jax.jit(op.evaluate)(*operands)
        return tuple(map(np.asarray, found if isinstance(found, tuple) else (found,)))


def numbers(*arrays: np.ndarray) -> set[float]:
    return {number for array in arrays for number in array.ravel().tolist()}


def ends(array: np.ndarray) -> Bounds:
    return float(array.min()), float(array.max())


MOVING = [one for one in EXAMPLES if one.op.moved(one.operands)]


@pytest.mark.parametrize("example", MOVING, ids=str)
def test_results_consist_of_elements_that_move(example: Example) -> None:
    operands = drawn(example)
    filled = [np.asarray(example.op.value)] if isinstance(example.op, Pad) else []
    if all(array.size for array in operands):
        assert numbers(*evaluated(example.op, operands)) <= numbers(*example.op.moved(operands), *filled)


COMPUTING = {type(one.op) for one in EXAMPLES if not isinstance(one.op, Integer)} - {type(one.op) for one in MOVING}
"""Without integer ops: an entry of a table does not move, since its scale is another."""


@pytest.mark.parametrize("name", sorted(cls.name for cls in COMPUTING))
def test_an_op_whose_elements_move_says_so(name: str) -> None:
    """Some example gives a number that no operand holds."""
    examples = [example for example in EXAMPLES if example.op.name == name]
    cases = ((example.op, drawn(example, seed)) for seed in range(8) for example in examples)
    assert any(
        result.dtype == np.bool_ or not numbers(result) <= numbers(*operands)
        for op, operands in cases
        for result in evaluated(op, operands)
    )


BOUNDED = [
    one
    for one in EXAMPLES
    if one.op.bounds(*((-1.0, 1.0),) * len(one.operands)) != UNBOUNDED
    and all(type_.size for type_ in one.operands)
    and not isinstance(one.op, Clamped)
]
"""The clamps of integer ops are proved by the oracles."""


@pytest.mark.parametrize("example", BOUNDED, ids=str)
def test_no_result_leaves_its_bounds(example: Example) -> None:
    for among in ((-9e3, 9e3), (-0.9, 0.4, 0.7), (3.0, 6.0), (-2.0, -1.0)):
        operands = [elements(np.random.default_rng(1), type_, among) for type_ in example.operands]
        low, high = example.op.bounds(*map(ends, operands))
        for result in evaluated(example.op, operands):
            real = result[~np.isnan(result)].astype(np.float64)
            assert (real >= low - 1e-6 * abs(low)).all()
            assert (real <= high + 1e-6 * abs(high)).all()


def on_integers(example: Example) -> Example | None:
    """The example with i8 for floats; None where the op takes floats alone."""
    operands = (type_.with_dtype(DType.I8) if type_.dtype.is_float else type_ for type_ in example.operands)
    found = Example(example.op, tuple(operands))
    try:
        results_of(found.op, found.operands)
    except RuleError:
        return None
    return found


def test_every_op_of_a_target_counts_its_products() -> None:
    run = [on_integers(one) for one in EXAMPLES if one.op.name in RUNS or isinstance(one.op, Integer)]
    counts = {one.op.name: one.op.macs(*one.operands) for one in run if one is not None}
    assert set(counts) == RUNS | {name for name in registry() if name.startswith("npu.")}
    assert min(counts.values()) >= 0


def test_an_op_that_does_not_count_its_products_is_refused() -> None:
    with pytest.raises(RuleError, match=r"^add does not define its number of products$"):
        Add().macs(TensorType(DType.F32, (2,)), TensorType(DType.F32, (2,)))


def test_every_op_of_the_integer_level_is_an_integer_op() -> None:
    assert {name for name, cls in registry().items() if issubclass(cls, Integer)} == {
        name for name in registry() if name.startswith("npu.")
    }


def test_every_op_that_records_an_accumulator_proves_it() -> None:
    for name, cls in registry().items():
        assert ("accumulator" in attribute_types(cls)) == issubclass(cls, Accumulating), name
        if issubclass(cls, Accumulating):
            assert cls.accumulator_bounds is not Accumulating.accumulator_bounds, f"{name} proves no accumulator"


SUMS = tuple(one for one in EXAMPLES if isinstance(one.op, Requantized))


@pytest.mark.parametrize("example", SUMS, ids=str)
def test_no_sum_leaves_the_bounds_of_its_accumulator(example: Example) -> None:
    """A factor of 1 and no zero point make the sum the result; the bounds are those of the operands at hand."""
    rng = np.random.default_rng(0)
    names = list(inspect.signature(example.op.infer).parameters)
    operands = []
    for name, type_ in zip(names, example.operands, strict=True):
        least, greatest = type_.dtype.range
        among = {"multiplier": (1 << 30,), "shift": (30,)}.get(name, (max(least, -1 << 20), 0, min(greatest, 1 << 20)))
        operands.append(elements(rng, type_, among))
    known = [
        Operand(type_, (int(array.min()), int(array.max())), array)
        for type_, array in zip(example.operands, operands, strict=True)
    ]
    op: Any = example.op
    low, high = bounds = op.accumulator_bounds(*known)
    least, greatest = DType.I32.range
    plain = {"zero_point": 0, "low": least, "high": greatest, "dtype": DType.I32, "rounding": "single_half_up"}
    (sums,) = evaluated(replace(op, accumulator=bounds, **plain), operands)
    shift = 30 if op.sums_have_64_bits and not op.left_shift else 0
    assert low / 2**shift - 1 <= sums.min()
    assert sums.max() <= high / 2**shift + 1


def test_what_a_proof_needs_and_does_not_know_is_refused() -> None:
    (example,) = (one for one in SUMS if one.op.name == "npu.matmul")
    operands = (Operand(type_, type_.dtype.range) for type_ in example.operands)
    assert isinstance(example.op, Accumulating)
    with pytest.raises(RuleError, match=r"^operand i8\[4,5\] is computed, a constant wanted$"):
        example.op.accumulator_bounds(*operands)
