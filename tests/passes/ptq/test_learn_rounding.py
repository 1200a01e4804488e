"""Learned rounding: near the best of all choices, on the same grid, better for the network, the same on every run."""

from __future__ import annotations

import itertools
from functools import partial

import numpy as np
import pytest

import npuq
from npuq.ir import Builder, DType, Graph, PassError, TensorType, evaluate
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.conv import Conv, MatMul
from npuq.ir.ops.quant import Dequantize
from npuq.ir.ops.reduce import ReduceMean
from npuq.passes.pipeline import Pass
from npuq.passes.ptq.learn_rounding import learn_rounding
from npuq.passes.ptq.round_rows import round_rows

DATA = np.random.default_rng(1).normal(0, 1, (12, 4, 9, 7)).astype(np.float32)
DATA[:, 1:3] = DATA[:, :1] + 0.3 * DATA[:, 1:3]


def net() -> Graph:
    """A convolution, one in groups, a depthwise one, a matrix product."""
    random = np.random.default_rng(0)
    builder = Builder("net")

    def known(*sizes: int) -> str:
        return builder.constant(random.normal(0, 0.3, sizes).astype(np.float32), "k")

    window = partial(Conv, stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1))
    x = builder.input("x", TensorType(DType.F32, (1, 4, 9, 7)))
    a = builder.add(Relu(), builder.add(window(), x, known(8, 4, 3, 3), known(8), name="a"), name="r")
    b = builder.add(Relu(), builder.add(window(groups=2), a, known(6, 4, 3, 3), known(6), name="b"), name="s")
    c = builder.add(window(groups=6), b, known(6, 1, 3, 3), known(6), name="c")
    d = builder.add(ReduceMean(axes=(2, 3), keep=False), c, name="d")
    return builder.build({"y": builder.add(MatMul(), d, known(6, 5), name="e")})


def noise(graph: Graph, exact: Graph) -> float:
    """The squared error of the outputs over the data, relative to their squares."""
    run, wanted = evaluate(graph), evaluate(exact)
    pairs = [(np.asarray(run(one[None])[0]), np.asarray(wanted(one[None])[0])) for one in DATA]
    return float(sum(((x - y) ** 2).sum() for x, y in pairs) / sum((y**2).sum() for _, y in pairs))


def integers(graph: Graph) -> dict[str, np.ndarray]:
    """Known integers by the name of what they are dequantized to."""
    return {
        node.result: graph.constants[node.operands[0]].array
        for node in graph.nodes
        if isinstance(node.op, Dequantize) and node.operands[0] in graph.constants
    }


def test_rows_are_near_the_best_of_all_choices() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=(200, 3)) @ random.normal(size=(3, 8)) + 0.1 * random.normal(size=(200, 8))
    weights, steps = random.normal(0, 2, (5, 8)), np.full((5, 1), 0.5)
    y = x @ weights.T + random.normal(0, 0.1, (200, 5))
    found = round_rows(weights, steps, x.T @ x / 200, y.T @ x / 200, 7)

    def errors(q: np.ndarray) -> np.ndarray:
        return np.asarray(((y - x @ (q * steps).T) ** 2).mean(axis=0))

    assert np.all((found == np.floor(weights / steps)) | (found == np.ceil(weights / steps)) | (np.abs(found) == 7))
    below, above = np.floor(weights / steps).clip(-7, 7), np.ceil(weights / steps).clip(-7, 7)
    every = [errors(np.where(choice, above, below)) for choice in itertools.product((False, True), repeat=8)]
    best, nearest = np.min(every, axis=0), errors(np.round(weights / steps).clip(-7, 7))
    assert np.all(errors(found) < 0.6 * nearest)
    assert errors(found).sum() < 1.2 * best.sum()


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_coarse_weights_go_up_or_down_to_the_networks_good(drop: float) -> None:
    quantized = npuq.quantize(net(), DATA, weight_bits=4, method="mse")
    before, exact = quantized.qdq, quantized.float_graph
    after = learn_rounding(exact=exact, samples=[(one[None],) for one in DATA], drop=drop)(before)
    assert noise(after, exact) < 0.25 * noise(before, exact)
    assert [(node.op, node.types) for node in after.nodes] == [(node.op, node.types) for node in before.nodes]
    old, new = integers(before), integers(after)
    assert old.keys() == new.keys()
    for name, known in new.items():
        if known.dtype.name == "int4":
            assert np.abs(known.astype(np.int32) - old[name].astype(np.int32)).max() == 1


def test_effort_2_learns_coarse_weights_alone_whatever_the_order_of_samples() -> None:
    passes: list[str] = []

    def after_pass(index: int, pass_: Pass, graph: Graph) -> None:
        passes.append(pass_.name)

    one = npuq.quantize(net(), DATA, weight_bits=4, effort=2, after_pass=after_pass)
    other = npuq.quantize(net(), DATA[::-1], weight_bits=4, effort=2)
    assert passes[-3:] == ["insert-fake-quant", "learn-rounding", "lower-to-integer"]
    assert one.program.bytes == other.program.bytes
    passes.clear()
    npuq.quantize(net(), DATA, effort=2, after_pass=after_pass)
    assert "learn-rounding" not in passes


def test_weights_of_more_bits_stay() -> None:
    quantized = npuq.quantize(net(), DATA)
    after = learn_rounding(exact=quantized.float_graph, samples=[(DATA[:1],)], most_bits=4)(quantized.qdq)
    assert after == quantized.qdq


def test_without_samples_nothing_is_learned() -> None:
    quantized = npuq.quantize(net(), DATA)
    with pytest.raises(PassError, match=r"^net: learned rounding: no samples; at least one wanted$"):
        learn_rounding(exact=quantized.float_graph, samples=[])(quantized.qdq)
