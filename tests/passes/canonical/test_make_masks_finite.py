"""Masks of minus infinity become finite, quantize, and mask as before."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import npuq
from npuq.ir import evaluate
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.canonical.make_masks_finite import make_masks_finite

from ..rewriting import rewritten, unchanged

ADDED = """
graph @net(%scores: f32[2,2]) {
  const %mask: f32[2,2] = [0.0, -inf, 0.0, 0.0]
  %sum = add %scores, %mask : f32[2,2]
  %flat = reshape %sum {shape=(1, 4)} : f32[1,4]
  %y = softmax %flat {axis=1} : f32[1,4]
  return %y
}
"""


def test_an_added_mask_becomes_finite() -> None:
    rewritten(make_masks_finite(), ADDED, ADDED.replace("-inf", "-1.2676506002282294e+30").replace("%mask", "%mask.1"))


def test_a_known_choice_becomes_a_sum() -> None:
    before = """
    graph @net(%scores: f32[2,2]) {
      const %keep: bool[2,2] = [True, False, True, True]
      const %none: f32[] = [-inf]
      %chosen = where %keep, %scores, %none : f32[2,2]
      %y = softmax %chosen {axis=1} : f32[2,2]
      return %y
    }
    """
    after = """
    graph @net(%scores: f32[2,2]) {
      const %none.1.1: f32[2,2] = [0.0, -1.2676506002282294e+30, 0.0, 0.0]
      %chosen = add %scores, %none.1.1 : f32[2,2]
      %y = softmax %chosen {axis=1} : f32[2,2]
      return %y
    }
    """
    rewritten(make_masks_finite(), before, after)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("return %y", "return %y, %sum"),
        ("return %y", "%z = exp %sum : f32[2,2]\n  return %y, %z"),
        ("add %scores", "mul %scores"),
        ("-inf", "-1000.0"),
        ("-inf", "inf"),
        ("return %y", "%z = equal %y, %y : bool[1,4]\n  return %y, %z"),
    ],
    ids=["an output", "read by others", "a product", "a finite mask", "infinity", "asked for nan"],
)
def test_what_else_sees_infinity_keeps_it(old: str, new: str) -> None:
    unchanged(make_masks_finite(), ADDED.replace(old, new))


RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(8, 1, 4, 8)).astype(np.float32)
PADDED = np.stack([np.arange(4) >= 4 - index % 3 for index in range(8)])[:, None, None]
ENDLESS = np.float32(-np.inf)
TREE = np.tri(4) > 0

WAYS = {
    "added": ["Add scores causal masked"],
    "chosen": ["Where tree scores endless masked"],
    "padding": ["Where padded endless zero mask", "Add mask scores masked"],
    "both": ["Where padded endless zero mask", "Add scores causal sum", "Add sum mask masked"],
    "slopes": ["Add scores slopes sloped", "Where padded endless sloped masked"],
}
"""How scores are masked: an operator, what it reads, what it makes; each a model of its own."""

CONSTANTS: dict[str, np.ndarray] = {
    "tree": TREE,
    "causal": np.where(TREE, np.float32(0), ENDLESS),
    "endless": np.asarray(ENDLESS),
    "zero": np.zeros((), np.float32),
    "slopes": -np.abs(np.subtract.outer(np.arange(4), np.arange(4))).astype(np.float32),
} | {name: RANDOM.normal(size=(8, 8)).astype(np.float32) / 2 for name in ("to_q", "to_k", "to_v")}


def attention(way: str) -> onnx.ModelProto:
    """One head that sees masked scores, as exporters write it."""
    lines = [
        *(f"MatMul x to_{part} {part}" for part in "qkv"),
        "Transpose k k_turned",
        "MatMul q k_turned scores",
        *WAYS[way],
        "Softmax masked shares",
        "MatMul shares v y",
    ]
    nodes = []
    for operator, *operands, result in map(str.split, lines):
        attributes: dict[str, Any] = {"perm": [0, 2, 1]} if operator == "Transpose" else {}
        nodes.append(helper.make_node(operator, operands, [result], **attributes))
    read = {name for node in nodes for name in node.input}
    inputs = {"x": (TensorProto.FLOAT, (1, 4, 8)), "padded": (TensorProto.BOOL, (1, 1, 4))}
    graph = helper.make_graph(
        nodes,
        "attention",
        [helper.make_tensor_value_info(name, *type_) for name, type_ in inputs.items() if name in read],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 4, 8))],
        [numpy_helper.from_array(array, name) for name, array in CONSTANTS.items() if name in read],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("way", WAYS)
def test_masked_attention_quantizes(way: str) -> None:
    model = attention(way)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    graph = npuq.load(model)
    samples = list(zip(X, PADDED, strict=True)) if "padded" in graph.inputs else [(x,) for x in X]
    exact = np.stack([session.run(None, dict(zip(graph.inputs, one, strict=True)))[0] for one in samples])
    for form in (graph, canonicalize()(graph)):
        run = evaluate(form)
        found = np.stack([run(*one)[0] for one in samples])
        np.testing.assert_allclose(found, exact, atol=1e-4 * np.ptp(exact))
    quantized = npuq.quantize(graph, samples)
    assert quantized.scaled.notes == quantized.wide_ranges == ()
    got = np.stack([quantized.simulate(*one)[0] for one in samples])
    assert 10 * math.log10(np.square(exact).sum() / np.square(got - exact).sum()) > 25
    assert quantized.report.wide_ranges == ()
    assert all(layer.own_sqnr_db is None or layer.own_sqnr_db > 25 for layer in quantized.report.layers)
    hosted = {layer.op for layer in quantized.report.layers if layer.reason}
    assert "where" in hosted if "padded" in graph.inputs else not hosted
    assert_masks(quantized, samples)


def assert_masks(quantized: npuq.Quantized, samples: list[Any]) -> None:
    """What is masked has no influence at all: not one integer changes with it."""
    for x, *padded in samples[1:3]:
        other = x.copy()
        if padded:
            hidden, rows = padded[0][0, 0], ~padded[0][0, 0]
        else:
            hidden, rows = np.arange(4) > 1, np.arange(4) <= 1
        other[0, hidden] = -3 * x[0, ::-1][hidden]
        one, two = (quantized.simulate(each, *padded)[0] for each in (x, other))
        np.testing.assert_array_equal(one[0, rows], two[0, rows])


def test_a_mask_works_that_no_sample_used() -> None:
    graph = npuq.load(attention("padding"))
    nothing = np.zeros((1, 1, 4), bool)
    quantized = npuq.quantize(graph, [(x, nothing) for x in X])
    assert_masks(quantized, list(zip(X, PADDED, strict=True)))
