"""Float and fake-quant graphs as standard ONNX models, with QuantizeLinear and DequantizeLinear pairs."""

from __future__ import annotations

from . import indexing as places
from . import movement, normalization, window
from . import pointwise as calculation
from .writer import EXPORTERS, require_opset, to_onnx

__all__ = ["EXPORTERS", "calculation", "movement", "normalization", "places", "require_opset", "to_onnx", "window"]
