"""TFLite models to float graphs."""

from __future__ import annotations

from . import arithmetic, blocks, movement, window
from .load import check, load
from .reference import original
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
