"""Empirical bias correction: channels keep their means, node after node, and nothing but biases changes."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, PassError, TensorType, evaluate
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import Conv, MatMul
from npuq.ir.ops.quant import Dequantize
from npuq.ir.ops.reduce import ReduceMean
from npuq.passes.ptq.empirical_bias import empirical_bias

DATA = np.random.default_rng(1).normal(0.2, 1, (12, 4, 9, 7)).astype(np.float32)
SAMPLES = [(one[None],) for one in DATA]


def net() -> Graph:
    """Two convolutions and a matrix product, with biases."""
    random = np.random.default_rng(0)
    builder = Builder("net")

    def known(*sizes: int) -> str:
        return builder.constant(random.normal(0, 0.3, sizes).astype(np.float32), "k")

    window = partial(Conv, stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1))
    x = builder.input("x", TensorType(DType.F32, (1, 4, 9, 7)))
    a = builder.add(Relu(), builder.add(window(), x, known(8, 4, 3, 3), known(8), name="a"), name="r")
    b = builder.add(Relu(), builder.add(window(groups=2), a, known(6, 4, 3, 3), known(6), name="b"), name="s")
    d = builder.add(ReduceMean(axes=(2, 3), keep=False), b, name="d")
    return builder.build({"y": builder.add(MatMul(), d, known(6, 5), known(5), name="e")})


def means(graph: Graph, name: str) -> np.ndarray:
    """The mean of each channel over the data."""
    run = evaluate(graph, (name,))
    values = np.concatenate([np.asarray(run(*sample)[0], np.float64) for sample in SAMPLES])
    return np.asarray(values.mean(axis=(0, *range(2, values.ndim))))


def test_each_channel_keeps_its_mean() -> None:
    quantized = npuq.quantize(net(), DATA, weight_bits=4, effort=0)
    exact, before = quantized.float_graph, quantized.qdq
    after = empirical_bias(exact=exact, samples=SAMPLES)(before)
    assert [(node.op, node.results, node.types) for node in after.nodes] == [
        (node.op, node.results, node.types) for node in before.nodes
    ]
    for old, new in zip(before.nodes, after.nodes, strict=True):
        for one, other in zip(old.operands, new.operands, strict=True):
            if one in before.constants and before.constants[one].array.dtype != np.int32:
                np.testing.assert_array_equal(before.constants[one].array, after.constants[other].array)
    for name in "abe":
        wanted, was, now = means(exact, name), means(before, name), means(after, name)
        held = before.producers[before.producers[name].operands[2]].op
        assert isinstance(held, Dequantize)
        half = 0.5 * np.asarray(held.quant.scales)
        assert np.abs(was - wanted).max() > 3 * half.max()
        assert np.all(np.abs(now - wanted) < 1.001 * half + 1e-6)


def test_no_samples() -> None:
    quantized = npuq.quantize(net(), DATA, effort=0)
    with pytest.raises(PassError, match="net: empirical bias correction: no samples; at least one wanted"):
        empirical_bias(exact=quantized.float_graph, samples=[])(quantized.qdq)
