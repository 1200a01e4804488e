"""Every value of a graph, op by op: layers repeat themselves, and each kind of them is compiled once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import jax
import numpy as np

from npuq.ir import Graph, compiler_options, parameters


@cache
def _evaluated() -> Callable[..., Any]:
    """An op on its operands, compiled once for all that are alike: the layers of a network repeat themselves."""
    return jax.jit(
        lambda op, *operands: op.evaluate(*operands), static_argnums=0, compiler_options=dict(compiler_options())
    )


class Probe:
    """A graph as a function from one run's inputs to the named values.

    With `given`, an array for each name, whatever reads such a value sees the given array instead: each layer is then
    alone with operands that are known.
    """

    def __init__(self, graph: Graph, names: Sequence[str]) -> None:
        self.graph, self.names, self.known = graph, list(names), parameters(graph)

    def __call__(self, inputs: Sequence[np.ndarray], given: Sequence[np.ndarray] = ()) -> list[np.ndarray]:
        known = dict(zip(self.names, given, strict=True)) if given else {}
        values: dict[str, Any] = {**self.known, **dict(zip(self.graph.inputs, inputs, strict=True))}
        results: dict[str, Any] = {}
        with jax.enable_x64(True):
            for node in self.graph.nodes:
                computed = _evaluated()(node.op, *(values[operand] for operand in node.operands))
                parts = computed if isinstance(computed, tuple) else (computed,)
                for name, array in zip(node.results, parts, strict=True):
                    results[name] = array
                    values[name] = known.get(name, array)
            return [np.asarray(results[name]) for name in self.names]
