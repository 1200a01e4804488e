"""Convolutions and poolings in every spelling of their geometry compute what onnxruntime computes."""

from __future__ import annotations

import random

import jax
import jax.numpy as jnp
import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from npuq.frontends import load
from npuq.ir import NpuqError, evaluate, function, parameters, verify


def model(op: str, shape: list[int], weights: list[np.ndarray], attributes: dict[str, object]) -> ModelProto:
    """A model of one node with constant weights."""
    names = [f"w{index}" for index in range(len(weights))]
    node = helper.make_node(op, ["x", *names], ["y"])
    node.attribute.extend(helper.make_attribute(name, value) for name, value in attributes.items())
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for array, name in zip(weights, names, strict=True)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 19)], ir_version=9)


def in_onnxruntime(source: ModelProto, x: np.ndarray) -> np.ndarray | None:
    """What onnxruntime computes, or None where it refuses the model."""
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = onnxruntime.InferenceSession(source.SerializeToString(), options)
        output = np.asarray(session.run(None, {"x": x})[0])
        return output if output.size else None
    except Exception:  # onnxruntime's classes of error have no common one
        return None


def compare(source: ModelProto, shape: list[int]) -> bool:
    """Require equal results; False where one of the two refuses the model, as the other does too."""
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    wanted = in_onnxruntime(source, x)
    try:
        graph = verify(load(source))
    except NpuqError:
        assert wanted is None
        return False
    if wanted is None:
        return False
    (y,) = evaluate(graph)(x)
    np.testing.assert_allclose(y, wanted, rtol=1e-4, atol=1e-4)
    return True


def geometry(rng: random.Random, rank: int, *, dilated: bool = True) -> dict[str, object]:
    """Random strides, one of the ways to pad, and dilations, which onnxruntime forgets where it pads by itself."""
    attributes: dict[str, object] = {"strides": [rng.randint(1, 3) for _ in range(rank)]}
    automatic = rng.choice(["NOTSET", "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"])
    if automatic == "NOTSET":
        attributes["pads"] = [rng.randint(0, 2) for _ in range(2 * rank)]
    else:
        attributes["auto_pad"] = automatic
    if dilated and automatic in ("NOTSET", "VALID"):
        attributes["dilations"] = [rng.randint(1, 2) for _ in range(rank)]
    return attributes


@pytest.mark.parametrize("op", ["Conv", "ConvTranspose"])
def test_convolutions(op: str) -> None:
    rng, compared = random.Random(op), 0
    for _ in range(12):
        rank = rng.choice([1, 2, 2, 3])
        groups, per_group, outputs = rng.choice([1, 2, 4]), rng.choice([1, 1, 3]), rng.choice([1, 2])
        shape = [rng.randint(1, 2), groups * per_group, *(rng.randint(7, 9) for _ in range(rank))]
        attributes = {**geometry(rng, rank), "group": groups}
        window = [rng.randint(1, 3) for _ in range(rank)]
        channels = (groups * outputs, per_group) if op == "Conv" else (groups * per_group, outputs)
        if op == "ConvTranspose":
            attributes["output_padding"] = [rng.randint(0, stride - 1) for stride in attributes["strides"]]  # type: ignore[attr-defined]  # a list
            if rng.random() < 0.3:
                attributes["output_shape"] = [2 * size + rng.randint(0, 2) for size in shape[2:]]
        generator = np.random.default_rng(rng.randrange(99))
        weights = [
            generator.standard_normal(part).astype(np.float32) for part in ((*channels, *window), groups * outputs)
        ]
        compared += compare(model(op, shape, weights, attributes), shape)
    assert compared >= 6


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
def test_poolings(op: str) -> None:
    rng, compared = random.Random(op), 0
    for _ in range(16):
        rank = rng.choice([1, 2, 2, 3])
        shape = [rng.randint(1, 2), 2, *(rng.randint(7, 9) for _ in range(rank))]
        attributes = {
            **geometry(rng, rank, dilated=op == "MaxPool"),
            "kernel_shape": [rng.randint(2, 4) for _ in range(rank)],
            "ceil_mode": rng.randint(0, 1),
        }
        if op == "AveragePool":
            attributes["count_include_pad"] = rng.randint(0, 1)
        compared += compare(model(op, shape, [], attributes), shape)
    assert compared >= 10


def test_a_window_larger_than_any_that_is_unrolled() -> None:
    for op in ("MaxPool", "AveragePool"):
        shape = [1, 2, 17, 15]
        assert compare(model(op, shape, [], {"kernel_shape": [13, 12], "pads": [6, 0, 0, 5], "strides": [2, 1]}), shape)


def test_places_that_are_read_are_an_op_and_unread_ones_dropped() -> None:
    source = model("MaxPool", [1, 1, 4], [], {"kernel_shape": [2]})
    source.graph.node[0].output.append("places")
    assert [node.op.name for node in load(source).nodes] == ["max_pool"]
    source.graph.output.append(helper.make_tensor_value_info("places", TensorProto.INT64, None))
    assert [node.op.name for node in load(source).nodes] == ["max_pool", "max_pool_places"]


@pytest.mark.parametrize("op", ["Conv", "MaxPool", "AveragePool"])
def test_windows_have_gradients_and_batch_under_vmap(op: str) -> None:
    w = np.random.default_rng(0).standard_normal((6, 1, 3, 3)).astype(np.float32)
    attributes = {
        "pads": [1, 1, 1, 1],
        "strides": [2, 1],
        **({"group": 3} if op == "Conv" else {"kernel_shape": [3, 3]}),
    }
    graph = load(model(op, [1, 3, 5, 5], [w] if op == "Conv" else [], attributes))
    known = parameters(graph)
    xs = jnp.asarray(np.random.default_rng(1).standard_normal((2, 1, 3, 5, 5)), jnp.float32)

    @jax.jit
    def run(x: jax.Array) -> jax.Array:
        return function(graph)(known, [x])[0]

    @jax.jit
    def total(x: jax.Array) -> jax.Array:
        return jnp.sum(run(x) ** 2)

    nudge = jnp.zeros_like(xs[0]).at[0, 1, 2, 2].set(1e-2)
    slope = (total(xs[0] + nudge) - total(xs[0] - nudge)) / 2e-2
    np.testing.assert_allclose(jax.jit(jax.grad(total))(xs[0])[0, 1, 2, 2], slope, rtol=1e-2, atol=1e-3)
    each = jnp.stack([run(x) for x in xs])
    np.testing.assert_allclose(jax.vmap(run)(xs), each, rtol=1e-6)
