"""The turn of a network's inputs from channels last to channels first."""

from __future__ import annotations

from dataclasses import replace

from npuq.ir import Builder, Graph, TensorType, rewrite
from npuq.ir.ops.shape import Transpose

from ..pipeline import graph_pass


@graph_pass("channels-first-inputs")
def channels_first_inputs(graph: Graph) -> Graph:
    """Let each input [N,H,W,C] be given as [N,C,H,W].

    The transpose that this takes meets the one before the first convolution, and `cancel-transposes` removes both.
    """
    turned = {name: _first(type_) if type_.rank == 4 else type_ for name, type_ in graph.inputs.items()}

    def entry(builder: Builder, name: str) -> str:
        if graph.inputs[name].rank != 4:
            return name
        return builder.add(Transpose(order=(0, 2, 3, 1)), name, name=f"{name}.channels_last")

    return rewrite(replace(graph, inputs=turned), lambda builder, node, operands: None, entry=entry)


def _first(type_: TensorType) -> TensorType:
    n, h, w, c = type_.shape
    return type_.with_shape(n, c, h, w)
