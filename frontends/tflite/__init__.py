"""TFLite models to float graphs."""

from __future__ import annotations

from . import arithmetic, blocks, movement, window
from .load import check, load
from .reference import original

__all__ = [
    "arithmetic",
    "blocks",
    "check",
    "load",
    "movement",
    "original",
    "window",
]
