"""Every fault of calibration data gives one line that names place, numbers and what is wanted."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

from npuq.ir import Builder, DType, Graph, NpuqError, TensorType
from npuq.ir.ops.elementwise import Log, Mul
from npuq.ir.ops.shape import Gather, Reshape
from npuq.passes.calibration.observe import observe
from npuq.passes.calibration.samples import samples


def two_inputs() -> Graph:
    builder = Builder("net")
    a = builder.input("a", TensorType(DType.F32, (1, 2)))
    b = builder.input("b", TensorType(DType.F32, (2, 2)))
    return builder.build({"y": builder.add(Mul(), a, b, name="m")})


def one_input() -> Graph:
    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, (1, 3)))
    return builder.build({"y": builder.add(Log(), x, name="l")})


ONE = np.ones((2, 3), np.float32)


@pytest.mark.parametrize("data", [ONE, [ONE], {"x": ONE}, [{"x": ONE}], iter([(ONE,)]), [ONE[:1], [ONE[1:]]]])
def test_forms_of_data(data: Any) -> None:
    found = list(samples(one_input(), data))
    assert [[array.shape for array in sample] for sample in found] == [[(1, 3)], [(1, 3)]]


def test_batches_of_several_inputs_keep_each_inputs_own_axis() -> None:
    a, b = np.arange(6, dtype=np.float64).reshape(3, 2), np.arange(12, dtype=np.float32).reshape(6, 2)
    batches: list[Any] = [{"b": b, "a": a}, (a, b)]
    for batch in batches:
        found = list(samples(two_inputs(), [batch]))
        assert [sample[0].tolist() for sample in found] == [[[0, 1]], [[2, 3]], [[4, 5]]]
        assert [sample[1].shape for sample in found] == [(2, 2)] * 3
        assert found[0][0].dtype == np.float32


FAULTS: list[tuple[Any, str]] = [
    ([], "net: no calibration data; at least one sample wanted"),
    (np.ones((0, 3), np.float32), "net: no calibration data; at least one sample wanted"),
    ([{"y": ONE}], "net: calibration batch 0: inputs y; the graph wants x: f32[1,3]"),
    ([ONE, (ONE, ONE)], "net: calibration batch 1: 2 arrays; the graph wants x: f32[1,3]"),
    (
        np.ones((2, 4), np.float32),
        "net: calibration batch 0: input 'x' is float32[2, 4]; f32[1,3] wanted, or a multiple on axis 0",
    ),
    (np.ones(3, np.float32), "net: calibration batch 0: input 'x' is float32[3]; f32[1,3] wanted"),
    (np.ones((2, 3), np.uint8), "net: calibration batch 0: input 'x' is uint8[2, 3]; f32[1,3] wanted"),
    (
        [ONE, np.array([[1, 2, 3], [np.nan, 1, np.inf]], np.float32)],
        "input 'x', sample 3: 2 of 3 numbers are NaN or infinite",
    ),
    (np.array([[1e300, 1, 1]]), "input 'x', sample 0: 1 of 3 numbers are NaN or infinite"),
    (
        np.array([[1, 1, 1], [1, -1, 0]], np.float32),
        "%l, sample 1: 2 of 3 numbers are NaN or infinite; check the model and the range of its input",
    ),
]


@pytest.mark.parametrize(("data", "message"), FAULTS)
def test_faults_are_named(data: Any, message: str) -> None:
    with pytest.raises(NpuqError, match="^" + re.escape(message)):
        observe(one_input(), data, ["x", "l"])


def test_indices_beyond_a_table_are_named() -> None:
    builder = Builder("net")
    ids = builder.input("ids", TensorType(DType.I64, (1, 3)))
    flat = builder.add(Reshape(shape=(3,)), ids)
    builder.add(Gather(axis=0), builder.constant(np.zeros((20, 4), np.float32), "table"), flat, name="y")
    graph = builder.build({"y": "y"})
    assert len(list(samples(graph, [np.array([[0, 19, -20]])]))) == 1
    for index in (20, -21):
        with pytest.raises(NpuqError, match=f"^input 'ids', sample 1: index {index} for 20 rows, -20 to 19 wanted$"):
            list(samples(graph, np.array([[0, 1, 2], [3, index, 4]])))


def test_inputs_must_agree_in_number() -> None:
    batch = (np.ones((3, 2), np.float32), np.ones((4, 2), np.float32))
    with pytest.raises(NpuqError, match="the inputs hold 2 and 3 samples; the same number wanted"):
        list(samples(two_inputs(), [batch]))
    with pytest.raises(NpuqError, match=r"input 'b' is float32\[3, 2\]; whole runs of f32\[2,2\] wanted"):
        list(samples(two_inputs(), [(batch[0], np.ones((3, 2), np.float32))]))


def test_values_must_be_there_and_float() -> None:
    with pytest.raises(NpuqError, match="net: there is no value %z to observe"):
        observe(one_input(), ONE, ["z"])
    with pytest.raises(NpuqError, match="net: cannot observe %x: 3 bins, a power of two wanted"):
        observe(one_input(), ONE, ["x"], bins=3)
    with pytest.raises(NpuqError, match="no devices; at least one wanted"):
        observe(one_input(), ONE, ["x"], devices=[])
