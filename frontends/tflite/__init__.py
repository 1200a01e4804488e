"""TFLite models to float graphs."""

from __future__ import annotations

from . import arithmetic, blocks, movement, window
from .judge import original
from .load import check, load
from .registry import Operation, converts, operators

__all__ = [
    "Operation",
    "arithmetic",
    "blocks",
    "check",
    "converts",
    "load",
    "movement",
    "operators",
    "original",
    "window",
]
