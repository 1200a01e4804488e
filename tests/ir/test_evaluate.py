"""The loop that runs a graph: jitted, differentiated, vmapped, step by step, with values replaced, with the host."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.experimental import io_callback

from npuq.ir import (
    Builder,
    DType,
    Graph,
    Node,
    TensorType,
    compiler_options,
    evaluate,
    evaluate_by_node,
    function,
    parameters,
    run_nodes,
    verify,
)
from npuq.ir.ops.elementwise import Add, Exp, Mul
from npuq.ir.ops.reduce import TopK
from npuq.ir.ops.shape import Slice

X = np.array([[1, 2, 3, 0], [-1, 0, 1, 2]], np.float32)
W = np.array([1, -2, 3, 0.5], np.float32)


def net() -> Graph:
    """exp of the halves of x * w, added up; the product is returned too."""
    builder = Builder("net")
    x = builder.input("x", TensorType(DType.F32, X.shape))
    product = builder.add(Mul(), x, builder.constant(W, "w"), name="product")
    left = builder.add(Slice(starts=(0, 0), stops=(2, 2), steps=(1, 1)), product, name="left")
    right = builder.add(Slice(starts=(0, 2), stops=(2, 4), steps=(1, 1)), product, name="right")
    total = builder.add(Add(), left, right, name="total")
    return verify(builder.build({"y": builder.add(Exp(), total, name="y"), "product": product}))


def y_of(product: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(product[:, :2] + product[:, 2:]))


def test_evaluation_gives_the_outputs_in_order_or_what_is_wanted() -> None:
    y, product = evaluate(net())(X)
    np.testing.assert_array_equal(product, X * W)
    np.testing.assert_allclose(y, y_of(X * W), rtol=1e-6)
    right, x = evaluate(net(), ["right", "x"])(X)
    np.testing.assert_array_equal(right, (X * W)[:, 2:])
    np.testing.assert_array_equal(x, X)


def test_evaluation_refuses_a_wrong_number_of_inputs() -> None:
    with pytest.raises(ValueError, match="zip"):
        evaluate(net())()


def test_graphs_with_wide_integers_and_nodes_with_several_results_evaluate() -> None:
    builder = Builder("g")
    x = builder.input("x", TensorType(DType.F32, X.shape))
    best, at = builder.add_all(TopK(axis=1, count=2), x, names=("best", "at"))
    graph = builder.build({"at": at, "best": best})
    for places, elements in (evaluate(graph)(X), evaluate_by_node(graph, [at, best])([X])):
        assert places.dtype == np.int64
        np.testing.assert_array_equal(places, [[2, 1], [3, 2]])
        np.testing.assert_array_equal(elements, [[3, 2], [2, 1]])


def test_functions_are_jitted_differentiated_and_vmapped() -> None:
    run, known = function(net()), parameters(net())
    np.testing.assert_allclose(jax.jit(run)(known, [X])[0], y_of(X * W), rtol=1e-6)
    gradient = jax.grad(lambda parameters: run(parameters, [jnp.asarray(X)])[0].sum())(known)["w"]
    np.testing.assert_allclose(gradient, (np.tile(y_of(X * W), 2) * X).sum(axis=0), rtol=1e-5)
    (batch, _) = jax.vmap(lambda x: run(known, [x]))(jnp.stack([X, -X]))
    np.testing.assert_allclose(batch, np.stack([y_of(X * W), y_of(-X * W)]), rtol=1e-5)


def test_a_graph_runs_step_by_step_over_held_values() -> None:
    graph = net()
    held = run_nodes(graph.nodes[:3], {**parameters(graph), "x": X})
    assert set(held) == {"x", "w", "product", "left", "right"}
    np.testing.assert_allclose(run_nodes(graph.nodes[3:], held)["y"], y_of(X * W), rtol=1e-6)
    held["right"] = -held["right"]
    np.testing.assert_allclose(
        run_nodes(graph.nodes[3:], held)["y"], np.exp((X * W)[:, :2] - (X * W)[:, 2:]), rtol=1e-6
    )


def test_results_are_replaced_for_those_that_read_them() -> None:
    seen: list[str] = []

    def change(name: str, array: Any) -> Any:
        seen.append(name)
        return 2 * array if name == "product" else array

    y, product = function(net(), change=change)(parameters(net()), [X])
    assert seen == ["product", "left", "right", "total", "y"]
    np.testing.assert_array_equal(product, 2 * X * W)
    np.testing.assert_allclose(y, y_of(2 * X * W), rtol=1e-6)


def test_a_node_is_computed_as_it_is_asked() -> None:
    def compute(node: Node, operands: Sequence[Any]) -> Any:
        return operands[0] - operands[1] if node.op == Add() else node.op.evaluate(*operands)

    y, _ = function(net(), compute=compute)(parameters(net()), [X])
    np.testing.assert_allclose(y, np.exp((X * W)[:, :2] - (X * W)[:, 2:]), rtol=1e-6)


def test_the_host_computes_nodes_and_sees_values_of_a_compiled_run() -> None:
    seen = {}

    def compute(node: Node, operands: Sequence[Any]) -> Any:
        if node.op != Add():
            return node.op.evaluate(*operands)
        return jax.pure_callback(np.add, operands[0], *operands, vmap_method="sequential")

    def change(name: str, array: jax.Array) -> jax.Array:
        if name == "total":
            io_callback(lambda value: seen.update({name: np.asarray(value)}), None, array)
        return array

    tapped = jax.jit(function(net(), compute=compute, change=change))
    np.testing.assert_allclose(tapped(parameters(net()), [X])[0], y_of(X * W), rtol=1e-6)
    jax.effects_barrier()  # type: ignore[no-untyped-call]  # untyped in JAX
    np.testing.assert_array_equal(seen["total"], (X * W)[:, :2] + (X * W)[:, 2:])
    mapped = jax.vmap(function(net(), compute=compute), in_axes=(None, 0))
    np.testing.assert_allclose(mapped(parameters(net()), [np.stack([X, -X])])[0][1], y_of(-X * W), rtol=1e-6)


def test_node_by_node_each_layer_can_run_on_given_operands() -> None:
    run = evaluate_by_node(net(), ["total", "product", "y"])
    total, product, y = run([X])
    for found, wanted in zip((y, product, total), evaluate(net(), ["y", "product", "total"])(X), strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6)
    given = [np.zeros((2, 2), np.float32), np.ones((2, 4), np.float32), np.zeros((2, 2), np.float32)]
    total, product, y = run([X], given)
    np.testing.assert_array_equal(product, X * W)
    np.testing.assert_array_equal(total, np.full((2, 2), 2))
    np.testing.assert_array_equal(y, np.ones((2, 2)))


def test_options_that_this_xla_does_not_know_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module("npuq.ir.evaluate")
    name, value = module.FAST_KERNELS
    assert compiler_options("cpu") == {name: value}
    monkeypatch.setattr(module, "FAST_KERNELS", ("xla_cpu_no_such_option", "1"))
    assert compiler_options("cpu") == {}
    assert compiler_options("cpu", one_thread=True) == {"xla_cpu_multi_thread_eigen": False}
    assert compiler_options("gpu", one_thread=True) == {}
    np.testing.assert_allclose(evaluate(net())(X)[0], y_of(X * W), rtol=1e-6)
