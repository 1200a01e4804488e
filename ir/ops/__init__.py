"""The ops, one class each; importing this package fills the registry."""

from __future__ import annotations

from . import (
    activation,
    conv,
    elementwise,
    layer_norm,
    logic,
    norm,
    npu_division,
    npu_matrix,
    npu_norm,
    npu_pointwise,
    npu_recurrent,
    npu_window,
    observe,
    pool,
    quant,
    recurrent,
    reduce,
    resize,
    shape,
)

__all__ = [
    "activation",
    "conv",
    "elementwise",
    "layer_norm",
    "logic",
    "norm",
    "npu_division",
    "npu_matrix",
    "npu_norm",
    "npu_pointwise",
    "npu_recurrent",
    "npu_window",
    "observe",
    "pool",
    "quant",
    "recurrent",
    "reduce",
    "resize",
    "shape",
]
