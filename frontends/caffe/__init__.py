"""Caffe networks to float graphs."""

from __future__ import annotations

from . import arithmetic, movement, window
from .load import check, load
from .reference import original

__all__ = ["arithmetic", "check", "load", "movement", "original", "window"]
