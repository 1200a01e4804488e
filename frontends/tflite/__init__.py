"""TFLite models to float graphs."""

from __future__ import annotations

from . import arithmetic, blocks, movement, window
from .load import to_graph
from .reference import original

__all__ = ["arithmetic", "blocks", "movement", "original", "to_graph", "window"]
