"""The ops, one class each; importing this package fills the registry."""

from __future__ import annotations

from . import (
    activation,
    bits,
    conv,
    elementwise,
    layer_norm,
    logic,
    norm,
    order,
    pool,
    quant,
    recurrent,
    reduce,
    resize,
    sample,
    scatter,
    shape,
    trigonometry,
)
from .npu import division as npu_division
from .npu import interpolate as npu_interpolate
from .npu import matrix as npu_matrix
from .npu import norm as npu_norm
from .npu import pointwise as npu_pointwise
from .npu import recurrent as npu_recurrent
from .npu import softmax as npu_softmax
from .npu import window as npu_window

__all__ = [
    "activation",
    "bits",
    "conv",
    "elementwise",
    "layer_norm",
    "logic",
    "norm",
    "npu_division",
    "npu_interpolate",
    "npu_matrix",
    "npu_norm",
    "npu_pointwise",
    "npu_recurrent",
    "npu_softmax",
    "npu_window",
    "order",
    "pool",
    "quant",
    "recurrent",
    "reduce",
    "resize",
    "sample",
    "scatter",
    "shape",
    "trigonometry",
]
