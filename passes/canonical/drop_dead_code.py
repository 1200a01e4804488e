"""Removal of what no output needs."""

from __future__ import annotations

from npuq.ir import Graph, rewrite

from ..conditions import no_dead_code
from ..pipeline import graph_pass


@graph_pass("drop-dead-code", ensures=(no_dead_code,))
def drop_dead_code(graph: Graph) -> Graph:
    """Keep the nodes and constants that an output needs, equal constants once; inputs stay, used or not."""
    return rewrite(graph, lambda builder, node, operands: None)
