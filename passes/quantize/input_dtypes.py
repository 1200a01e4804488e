"""Integer inputs of a type of their own, such as the bytes of a picture, ahead of what the NPU computes with."""

from __future__ import annotations

from collections.abc import Mapping

from npuq.ir import Builder, DType, Graph, NpuqError, rewrite
from npuq.ir.ops.quant import Dequantize, Quantize

from ..pipeline import graph_pass
from ..scales import Range, spread


@graph_pass("input-dtypes")
def input_dtypes(graph: Graph, *, dtypes: Mapping[str, DType], extremes: Mapping[str, Range]) -> Graph:
    """Let inputs of a fake-quant graph arrive as integers of `dtypes`: i8, u8 or i16.

    A pair of quantize and dequantize of that type goes before the pairs of the input's readers, which convert what it
    gives to integers of their own. i8 and i16 are symmetric; u8 spreads over [low, high] of `extremes`, widened to hold
    zero, so that bytes from 0 to 255 have the scale 1. An input whose readers take that type already is left alone.
    Raises NpuqError for an input that is no real number, or whose readers have fewer bits than its type.
    """
    pairs = {name: pair for name, dtype in dtypes.items() if (pair := _pair(graph, name, dtype, extremes)) is not None}

    def entry(builder: Builder, name: str) -> str:
        if name not in pairs:
            return name
        integers = builder.add(pairs[name], name, name=f"{name}.{pairs[name].dtype}")
        quant = pairs[name].quant
        return builder.add(
            Dequantize(scales=quant.scales, zero_points=quant.zero_points), integers, name=f"{name}.real"
        )

    return rewrite(graph, lambda builder, node, operands: None, entry=entry)


def _pair(graph: Graph, name: str, dtype: DType, extremes: Mapping[str, Range]) -> Quantize | None:
    """What quantizes an input first; None where its one reader does just that."""
    if not graph.inputs[name].dtype.is_float:
        raise NpuqError(f"input {name}: {graph.inputs[name].dtype}; its type can be chosen for float inputs only")
    readers = [user.op for user in graph.users[name] if isinstance(user.op, Quantize)]
    if not readers or len(readers) < len(graph.users[name]) or name not in extremes:
        raise NpuqError(f"input {name}: the host reads it in float; it cannot arrive as {dtype.numpy}")
    least = min(op.dtype.bits for op in readers)
    if dtype.bits > least:
        raise NpuqError(
            f"input {name}: {dtype.numpy} into {least} bits; give it int8 or uint8, or its readers {dtype.bits} bits"
        )
    if all(op.dtype is dtype for op in readers):
        return None
    low, high = dtype.range
    quant = spread(extremes[name], low, high, symmetric=low < 0)
    return Quantize(scales=quant.scales, zero_points=quant.zero_points, dtype=dtype, low=low, high=high)
