"""From float ops to integer ops: one table, filled by one module per family."""

from __future__ import annotations

from . import arithmetic, movement, norm, pointwise, recurrent, reduction, window  # noqa: F401  # fill it
from .registry import LOWERINGS, Kind, activations, kind_of

__all__ = ["LOWERINGS", "Kind", "activations", "kind_of"]
