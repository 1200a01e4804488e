"""The ops, one class each; importing this package fills the registry."""

from __future__ import annotations

from . import conv, elementwise, quant, shape

__all__ = ["conv", "elementwise", "quant", "shape"]
