"""Graph to graph: canonical form, calibration, lowering, quantization, corrections, mixed precision."""

from __future__ import annotations

from .spec import parse

__all__ = ["parse"]
