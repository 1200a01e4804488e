"""Graphs as functions: one loop runs their nodes, pure JAX over (parameters, inputs)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .graph import Graph, Node
from .op import Arrays, Op

Parameters = Mapping[str, jax.Array]
Compute = Callable[[Node, Sequence[Any]], Any]
"""A node and its operands to its result, or the tuple of its results."""
Change = Callable[[str, Any], Any]
"""A value's name and its array to the array that takes its place."""

FAST_KERNELS = (
    "xla_cpu_experimental_ynn_fusion_type",
    "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION",
)
"""XLA's option and its value. The default fuses reductions too, which makes some float networks twice as slow."""


def run_nodes(
    nodes: Iterable[Node], values: Mapping[str, Any], *, compute: Compute | None = None, change: Change | None = None
) -> dict[str, Any]:
    """Compute nodes in order from `values`, by name, and give those values with all results added.

    `compute` computes a node, by the op's own `evaluate` where None. `change` receives each result and gives
    the array that its readers get. A run can be jitted, differentiated and vmapped, stop at any node and go on over the
    held values, and call the host from either function.
    """
    found = dict(values)
    for node in nodes:
        operands = [found[name] for name in node.operands]
        computed = node.op.evaluate(*operands) if compute is None else compute(node, operands)
        for name, array in zip(node.results, computed if isinstance(computed, tuple) else (computed,), strict=True):
            found[name] = array if change is None else change(name, array)
    return found


def parameters(graph: Graph) -> dict[str, jax.Array]:
    """The constants as a PyTree on the device: the first argument of `function(graph)`."""
    with jax.enable_x64(True):
        # All at once: `jnp.asarray` would compile a little function for every shape among them.
        placed: dict[str, jax.Array] = jax.device_put({name: known.array for name, known in graph.constants.items()})
        return placed


def function(
    graph: Graph, wanted: Sequence[str] | None = None, *, compute: Compute | None = None, change: Change | None = None
) -> Callable[[Parameters, Sequence[Any]], Arrays]:
    """The graph as a pure function of (parameters, inputs), to be jitted, differentiated or vmapped at will.

    It gives the graph's outputs in order or, with `wanted`, the values of those names; `compute` and `change` are those
    of `run_nodes`. A graph that holds 64-bit integers must be called under `jax.enable_x64(True)`; `evaluate` does that
    by itself.
    """
    returned = tuple(graph.outputs.values()) if wanted is None else tuple(wanted)

    def run(parameters: Parameters, inputs: Sequence[Any]) -> Arrays:
        known = {**parameters, **dict(zip(graph.inputs, inputs, strict=True))}
        values = run_nodes(graph.nodes, known, compute=compute, change=change)
        return tuple(values[name] for name in returned)

    return run


def compiler_options(platform: str | None = None, *, one_thread: bool = False) -> dict[str, str | bool]:
    """XLA's options for a graph compiled for `platform`, the default one where None; empty where that is no CPU.

    Products and convolutions go to XLA's fast kernels where this XLA has them; the results are the same without.
    `one_thread` computes each sum on one thread, so that floats do not depend on the number of cores. The options
    belong to the compiled function, never to the process: training wants the defaults.
    """
    if (platform or jax.default_backend()) != "cpu":
        return {}
    options: dict[str, str | bool] = {"xla_cpu_multi_thread_eigen": False} if one_thread else {}
    return {**options, **dict([FAST_KERNELS] if _accepts(*FAST_KERNELS) else [])}


@cache
def _accepts(option: str, value: str) -> bool:
    """Whether this XLA knows an option of the CPU."""
    try:
        with jax.default_device(jax.local_devices(backend="cpu")[0]):
            jax.jit(lambda: 0, compiler_options={option: value}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


def evaluate(graph: Graph, wanted: Sequence[str] | None = None) -> Callable[..., Arrays]:
    """The graph with its own constants as a jitted function of its inputs, arrays in order, to a tuple of outputs.

    It passes options to XLA, which JAX refuses inside another `jax.jit` or `jax.grad`; `function(graph)` composes.
    """
    known = parameters(graph)
    run = jax.jit(function(graph, wanted), compiler_options=compiler_options())

    def call(*inputs: object) -> Arrays:
        with jax.enable_x64(True):
            arrays = [
                (jnp if isinstance(value, jax.Array) else np).asarray(value, type_.dtype.numpy)
                for value, type_ in zip(inputs, graph.input_types, strict=True)
            ]
            outputs: Arrays = run(known, arrays)
            return outputs

    return call


def evaluate_by_node(graph: Graph, wanted: Sequence[str]) -> Callable[..., list[np.ndarray]]:
    """The graph as a function of one run's inputs to the `wanted` results, compiled node by node.

    Layers repeat themselves, and each kind of them is compiled once. With `replacements`, an array for each
    wanted value, its readers get that array: each layer then runs alone, on known operands.
    """
    known = parameters(graph)

    def call(inputs: Sequence[Any], replacements: Sequence[Any] = ()) -> list[np.ndarray]:
        replaced = dict(zip(wanted, replacements, strict=True)) if replacements else {}
        computed: dict[str, Any] = {}

        def change(name: str, array: Any) -> Any:
            computed[name] = array
            return replaced.get(name, array)

        with jax.enable_x64(True):
            run = function(graph, (), compute=lambda node, operands: evaluate_op(node.op, *operands), change=change)
            run(known, inputs)
            return [np.asarray(computed[name]) for name in wanted]

    return call


def evaluate_op(op: Op, *operands: Any) -> Any:
    """One op on its operands, compiled once for all that are alike."""
    return _evaluate_op()(op, *operands)


@cache
def _evaluate_op() -> Callable[..., Any]:
    return jax.jit(lambda op, *operands: op.evaluate(*operands), static_argnums=0, compiler_options=compiler_options())
