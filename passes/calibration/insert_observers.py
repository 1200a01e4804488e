"""The observed level: the float graph with an `observe` op on every value that gets a scale."""

from __future__ import annotations

from dataclasses import fields

from npuq.ir import Builder, DType, Graph, NpuqError
from npuq.ir.ops.observe import Observe

from ..pipeline import graph_pass
from .statistics import Statistics

RESULTS = tuple(field.name for field in fields(Statistics))
"""The results of an `observe` op, in its order."""


@graph_pass("insert-observers")
def insert_observers(graph: Graph, *, values: tuple[str, ...] = (), bins: int = 2048) -> Graph:
    """Append an `observe` op on each of `values` (by default all float32 ones) and return its results too.

    The new outputs are named `VALUE.minimum`, `.maximum`, `.zeros`, `.exponent` and `.counts`.
    """
    chosen = values or tuple(
        name for name, type_ in graph.types.items() if type_.dtype is DType.F32 and name not in graph.constants
    )
    builder = Builder(graph.name, dict(graph.inputs), dict(graph.constants), list(graph.nodes), dict(graph.types))
    outputs = dict(graph.outputs)
    for value in chosen:
        if value not in graph.types:
            raise NpuqError(f"{graph.name}: there is no value %{value} to observe")
        names = [f"{value}.{result}" for result in RESULTS]
        taken = [name for name in names if name in outputs]
        if taken:
            raise NpuqError(f"{graph.name}: an output is named {taken[0]!r} already; rename it")
        loc = graph.producers[value].loc if value in graph.producers else ""
        outputs.update(zip(names, builder.add_all(Observe(bins=bins), value, names=names, loc=loc), strict=True))
    return builder.build(outputs, prune=False)
