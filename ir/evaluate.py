"""Graphs as functions: pure JAX over (parameters, inputs)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

from .graph import Graph

Parameters = Mapping[str, jax.Array]
Arrays = tuple[jax.Array, ...]


def parameters(graph: Graph) -> dict[str, jax.Array]:
    """The constants as a PyTree on the device: the first argument of `function(graph)`."""
    with jax.enable_x64(True):
        # All at once: `jnp.asarray` would compile a little function for every shape among them.
        placed: dict[str, jax.Array] = jax.device_put({name: known.array for name, known in graph.constants.items()})
        return placed


def function(graph: Graph, wanted: Sequence[str] | None = None) -> Callable[[Parameters, Sequence[jax.Array]], Arrays]:
    """The graph as a pure function of (parameters, inputs), to be jitted, differentiated or vmapped at will.

    It gives the graph's outputs in order or, with `wanted`, the values of those names. A graph that holds 64-bit
    integers must be called under `jax.enable_x64(True)`; `evaluate` does that by itself.
    """
    returned = tuple(graph.outputs.values()) if wanted is None else tuple(wanted)

    def run(parameters: Parameters, inputs: Sequence[jax.Array]) -> Arrays:
        values: dict[str, jax.Array] = dict(parameters)
        values.update(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            computed = node.op.evaluate(*(values[operand] for operand in node.operands))
            results = computed if isinstance(computed, tuple) else (computed,)
            values.update(zip(node.results, results, strict=True))
        return tuple(values[name] for name in returned)

    return run


@cache
def compiler_options() -> Mapping[str, str]:
    """What XLA is told about a compiled forward: on CPUs, to give products and convolutions to its quick int8 kernels.

    They belong to the compiled function, never to the process: training wants the defaults. Empty where the device or
    this XLA does not know the option; the results are the same, but slower.
    """
    if jax.default_backend() != "cpu":
        return {}
    fusions = "LIBRARY_FUSION_TYPE_INDIVIDUAL_DOT,LIBRARY_FUSION_TYPE_INDIVIDUAL_CONVOLUTION"
    options = {"xla_cpu_experimental_ynn_fusion_type": fusions}
    try:
        jax.jit(lambda: 0, compiler_options=options).lower().compile()
    except jax.errors.JaxRuntimeError:
        return {}
    return MappingProxyType(options)


def evaluate(
    graph: Graph, wanted: Sequence[str] | None = None, *, options: Mapping[str, str] | None = None
) -> Callable[..., Arrays]:
    """The graph with its own constants as a jitted function of its inputs, arrays in order, to a tuple of outputs.

    `options` are XLA's; `compiler_options()` where None.
    """
    known = parameters(graph)
    run = jax.jit(function(graph, wanted), compiler_options=dict(compiler_options() if options is None else options))

    def call(*inputs: object) -> Arrays:
        with jax.enable_x64(True):
            arrays = [
                (jnp if isinstance(value, jax.Array) else np).asarray(value, type_.dtype.numpy)
                for value, type_ in zip(inputs, graph.input_types, strict=True)
            ]
            outputs: Arrays = run(known, arrays)
            return outputs

    return call
