"""Removal of integer products with zero, by which exporters keep an input alive that nothing needs."""

from __future__ import annotations

import numpy as np

from npuq.ir import Builder, Graph, Node, rewrite
from npuq.ir.ops.elementwise import Mul

from ..pipeline import graph_pass


@graph_pass("drop-zero-products")
def drop_zero_products(graph: Graph) -> Graph:
    """Put zeros in the place of every integer product with zeros. Floats stay: zero times infinity is no number."""

    def drop(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if not isinstance(node.op, Mul) or not node.type.dtype.is_integer:
            return None
        known = [graph.constants[operand].array for operand in node.operands if operand in graph.constants]
        if all(array.any() for array in known):
            return None
        return builder.constant(np.zeros(node.type.shape, node.type.dtype.numpy), node.result)

    return rewrite(graph, drop)
