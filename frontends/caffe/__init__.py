"""Caffe networks to float graphs."""

from __future__ import annotations

from . import arithmetic, movement, window
from .load import to_graph
from .reference import original

__all__ = ["arithmetic", "movement", "original", "to_graph", "window"]
