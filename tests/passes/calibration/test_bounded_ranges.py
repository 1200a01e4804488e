"""Ranges with headroom end where the ops say that values must."""

from __future__ import annotations

import numpy as np

import npuq
from npuq.ir import Builder, DType, Graph, TensorType
from npuq.ir.ops import activation, elementwise, pool, reduce, shape
from npuq.passes.calibration.choose_ranges import bounded_ranges
from npuq.passes.precision import HEADROOM


def net() -> Graph:
    builder = Builder("bounds")
    x = builder.input("x", TensorType(DType.F32, (1, 4, 6, 6)))
    clipped = builder.add(activation.Clip(low=-1.0, high=6.0), x, name="clipped")
    positive = builder.add(activation.Relu(), clipped, name="positive")
    gate = builder.add(activation.Sigmoid(), x, name="gate")
    both = builder.add(shape.Concat(axis=1), positive, gate, name="both")
    builder.add(reduce.ReduceMean(axes=(2, 3), keep=True), clipped, name="mean")
    largest = builder.add(
        pool.MaxPool(window=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1)), both, name="largest"
    )
    scaled = builder.add(elementwise.Mul(), largest, builder.constant(np.array([2], np.float32), "two"), name="scaled")
    return builder.build({"y": builder.add(elementwise.Add(), "mean", "mean", name="sum"), "z": scaled})


def test_a_range_ends_where_its_value_must() -> None:
    wide = (-20.0, 20.0)
    names = ("x", "clipped", "positive", "gate", "both", "mean", "largest", "scaled")
    found = bounded_ranges(net(), {(name, 16): wide for name in names})
    assert found == {
        ("x", 16): wide,
        ("clipped", 16): (-1.0, 6.0),
        ("positive", 16): (0.0, 6.0),
        ("gate", 16): (0.0, 1.0),
        ("both", 16): (0.0, 6.0),
        ("mean", 16): (-1.0, 6.0),
        ("largest", 16): (0.0, 6.0),
        ("scaled", 16): wide,
    }


def test_a_narrower_range_stays() -> None:
    assert bounded_ranges(net(), {("positive", 16): (0.5, 2.0)}) == {("positive", 16): (0.5, 2.0)}


def test_headroom_reaches_no_further_than_a_clip() -> None:
    data = np.random.default_rng(0).normal(0, 8, (4, 4, 6, 6)).astype(np.float32)
    scales = npuq.quantize(net(), data, bits=16).scales
    assert np.isclose(scales["clipped"], 6 / 32767)
    assert np.isclose(scales["x"], HEADROOM * np.abs(data).max() / 32767)
