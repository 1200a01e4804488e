"""Graphs whose known integers change: they run piece by piece on a few samples, so that later pieces see it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import jax
import numpy as np

from npuq.ir import Builder, Graph, Node, compiler_options, rewrite, run_nodes

from ..calibration.observe import cpu_workers
from ..calibration.samples import Sample
from ..lowering.registry import is_dequantized_constant

Values = dict[str, Any]


@dataclass(eq=False)
class Stepwise:
    """A float or fake-quant graph that has run up to `at` on each of `samples`.

    `known` has the constants, dequantized ones by the name of the dequantized value; later pieces see its changes.
    `held` has each sample's values that later nodes read.
    """

    graph: Graph
    samples: Sequence[Sample]
    at: int = 0
    known: Values = field(init=False)
    held: list[Values] = field(init=False)

    def __post_init__(self) -> None:
        constants = {name: constant.array for name, constant in self.graph.constants.items()}
        with jax.enable_x64(True):
            known = run_nodes(filter(self._is_known, self.graph.nodes), constants)
            self.known = {name: np.asarray(array) for name, array in known.items()}
        self.held = [dict(zip(self.graph.inputs, sample, strict=True)) for sample in self.samples]

    def run(self, stop: int, wanted: Collection[str]) -> list[Values]:
        """Run all nodes before `stop`; return, per sample, the values of `wanted` and those that later nodes read."""
        nodes = [node for node in self.graph.nodes[self.at : stop] if not self._is_known(node)]
        made = (*self.held[0], *(result for node in nodes for result in node.results))
        kept = tuple(name for name in made if name in wanted or self._last.get(name, -1) >= stop)
        known = {name: self.known[name] for node in nodes for name in node.operands if name in self.known}

        def piece(known: Values, values: Values) -> Values:
            computed = run_nodes(nodes, {**known, **values})
            return {name: computed[name] for name in kept}

        compiled = jax.jit(piece, compiler_options=compiler_options(one_thread=True))

        def run(values: Values) -> Values:
            with jax.enable_x64(True):
                return dict(compiled(known, values))

        first = run(self.held[0])
        with ThreadPoolExecutor(cpu_workers()) as pool:
            self.held = [first, *pool.map(run, self.held[1:])]
        self.at = stop
        return self.held

    def _is_known(self, node: Node) -> bool:
        return is_dequantized_constant(self.graph, node.results[0])

    @cached_property
    def _last(self) -> dict[str, int]:
        """The index of the last node that reads each value."""
        return {name: index for index, node in enumerate(self.graph.nodes) for name in node.operands}


def with_integers(graph: Graph, found: Mapping[str, np.ndarray]) -> Graph:
    """The graph with other integers behind dequantized constants, by the names of the dequantized values."""

    def put(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if node.results[0] not in found:
            return None
        constant = builder.constant(found[node.result], node.operands[0], graph.types[node.operands[0]].quant)
        return builder.add(node.op, constant, name=node.result, loc=node.loc)

    return rewrite(graph, put)
