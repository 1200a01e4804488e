"""An ONNX model in onnxruntime."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npuq.ir import Graph, NpuqError, one_line

from ..reference import TOLERANCE, Arrays, Original
from ..specialize import Shapes, Values
from .read import read_model
from .specialize import specialize

if TYPE_CHECKING:
    from onnx import ModelProto


ROUNDED = 0.1
"""The tolerance of models that quantize: ties may round either way, and later layers amplify that."""


def original(
    source: str | Path | ModelProto,
    shapes: Shapes | None = None,
    *,
    values: Values | None = None,
    outputs: Sequence[str] | None = None,
) -> Original:
    """Return the model in onnxruntime, with its inner values."""
    try:
        import onnxruntime  # noqa: F401  # reported early
    except ImportError:
        raise NpuqError("onnxruntime is not installed: pip install 'npuq[onnxruntime]'") from None
    if values or outputs:
        source = specialize(read_model(Path(source)) if isinstance(source, (str, Path)) else source, values, outputs)
    return Original(
        "onnxruntime",
        lambda inputs: _run(source, inputs, None),
        lambda graph, inputs: _run(source, inputs, graph),
        ROUNDED if _rounds(source) else TOLERANCE,
    )


def _rounds(source: str | Path | ModelProto) -> bool:
    """Whether a model quantizes anything, statically or dynamically."""
    model = read_model(Path(source)) if isinstance(source, (str, Path)) else source
    return any("Quant" in node.op_type or "QLinear" in node.op_type for node in model.graph.node)


def _run(source: Any, inputs: Arrays, graph: Graph | None) -> Arrays:
    """Compute the outputs or, with a graph, the inner values of the same names."""
    import onnx
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.add_session_config_entry("session.x64quantprecision", "1")  # else sums of 8-bit products saturate
    model: Any = str(source) if isinstance(source, (str, Path)) else source.SerializeToString()
    if graph is not None:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        proto = onnx.load(source) if isinstance(source, (str, Path)) else onnx.ModelProto.FromString(model)
        made = {name for node in proto.graph.node for name in node.output if name in graph.producers}
        shown = {value.name for value in proto.graph.output}
        proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(made - shown))
        model = proto.SerializeToString()
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        names = [value.name for value in session.get_outputs()]
        return dict(zip(names, map(np.asarray, session.run(None, dict(inputs))), strict=True))
    except Exception as error:  # onnxruntime's errors have no common class
        raise NpuqError(f"onnxruntime cannot run the model: {one_line(error)[:300]}") from None
