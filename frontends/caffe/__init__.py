"""Caffe networks to float graphs."""

from __future__ import annotations

from . import arithmetic, movement, window
from .load import check, load
from .reference import original
from .registry import Layer, converts, layers

__all__ = ["Layer", "arithmetic", "check", "converts", "layers", "load", "movement", "original", "window"]
