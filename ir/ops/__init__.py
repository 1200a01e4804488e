"""The ops, one class each; importing this package fills the registry."""

from __future__ import annotations

from . import (
    activation,
    conv,
    elementwise,
    logic,
    norm,
    npu_matrix,
    npu_pointwise,
    npu_window,
    observe,
    pool,
    quant,
    reduce,
    resize,
    shape,
)

__all__ = [
    "activation",
    "conv",
    "elementwise",
    "logic",
    "norm",
    "npu_matrix",
    "npu_pointwise",
    "npu_window",
    "observe",
    "pool",
    "quant",
    "reduce",
    "resize",
    "shape",
]
