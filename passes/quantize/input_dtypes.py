"""Inputs that arrive as integers of a chosen type, such as the bytes of a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated

from npuq.ir import Builder, DType, Graph, NpuqError, rewrite
from npuq.ir.ops.quant import Dequantize, Quantize

from ..calibration.statistics import Statistics
from ..pipeline import FOUND, graph_pass
from ..scales import Range, spread

INPUT_DTYPES = {"int8": DType.I8, "uint8": DType.U8, "int16": DType.I16, "float32": None, "None": None}
"""The types of a program's inputs; None leaves the choice to their readers."""

InputDtypes = str | Sequence[str] | Mapping[str, str]
"""One type for all float inputs, one for each input in order, or types by name."""

NO_STATISTICS: Mapping[str, Statistics] = {}


def require_dtypes(dtypes: InputDtypes) -> None:
    """Raise `NpuqError` for a type that no input can have."""
    given = (dtypes,) if isinstance(dtypes, str) else dtypes.values() if isinstance(dtypes, Mapping) else dtypes
    for dtype in given:
        if dtype not in INPUT_DTYPES:
            raise NpuqError(f"{dtype!r}; one of {', '.join(INPUT_DTYPES)} wanted")


@graph_pass("input-dtypes")
def input_dtypes(
    graph: Graph,
    *,
    dtypes: Annotated[str | tuple[str, ...] | Mapping[str, str], require_dtypes],
    extremes: Mapping[str, Range] = FOUND,
    statistics: Mapping[str, Statistics] = NO_STATISTICS,
) -> Graph:
    """Let inputs of a fake-quant graph arrive as integers of `dtypes`: int8, uint8 or int16.

    A pair of quantize and dequantize of that type goes before the pairs of the input's readers, which convert it to
    integers of their own. int8 and int16 are symmetric; uint8 spreads over the input's `statistics`, or its `extremes`,
    widened to hold zero, so that bytes from 0 to 255 have the scale 1. An input whose readers have that type already is
    left alone. Raises NpuqError for an input that is no real number, or whose readers have fewer bits than its type.
    """
    reach = {**extremes, **{name: statistics[name].range for name in graph.inputs if name in statistics}}
    chosen = chosen_dtypes(graph, dtypes)
    pairs = {name: pair for name, dtype in chosen.items() if (pair := _pair(graph, name, dtype, reach)) is not None}

    def entry(builder: Builder, name: str) -> str:
        if name not in pairs:
            return name
        integers = builder.add(pairs[name], name, name=f"{name}.{pairs[name].dtype}")
        quant = pairs[name].quant
        return builder.add(
            Dequantize(scales=quant.scales, zero_points=quant.zero_points), integers, name=f"{name}.real"
        )

    return rewrite(graph, lambda builder, node, operands: None, entry=entry)


def chosen_dtypes(graph: Graph, dtypes: InputDtypes | None) -> dict[str, DType]:
    """The types of inputs that have one, by name; raises `NpuqError` for unknown types and inputs."""
    if dtypes is None:
        return {}
    if isinstance(dtypes, str):
        dtypes = {name: dtypes for name, type_ in graph.inputs.items() if type_.dtype.is_float}
    elif not isinstance(dtypes, Mapping):
        if len(dtypes) != len(graph.inputs):
            raise NpuqError(f"input_dtype: {len(dtypes)} types for {len(graph.inputs)} inputs; one for each wanted")
        dtypes = dict(zip(graph.inputs, dtypes, strict=True))
    for name, dtype in dtypes.items():
        if name not in graph.inputs:
            raise NpuqError(f"input_dtype: there is no input {name!r}; there are {', '.join(graph.inputs)}")
        if dtype not in INPUT_DTYPES:
            raise NpuqError(f"input_dtype of {name}: {dtype!r}; one of {', '.join(INPUT_DTYPES)} wanted")
    found = {name: INPUT_DTYPES[dtype] for name, dtype in dtypes.items()}
    return {name: dtype for name, dtype in found.items() if dtype is not None}


def _pair(graph: Graph, name: str, dtype: DType, extremes: Mapping[str, Range]) -> Quantize | None:
    """The quantize that precedes an input's readers; None if they have its type already."""
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
