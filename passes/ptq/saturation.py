"""The ranges outside which pointwise functions are constant: operands beyond need no integers of their own."""

from __future__ import annotations

import math

from npuq.ir import Op
from npuq.ir.ops.activation import Gelu, HardSigmoid, HardSwish, Mish, Sigmoid, Silu, Tanh

Range = tuple[float, float]

LIMITS: dict[type[Op], Range] = {
    HardSwish: (-3.0, math.inf),
    Sigmoid: (-8.0, 8.0),
    Tanh: (-4.0, 4.0),
    Silu: (-9.0, math.inf),
    Mish: (-9.0, math.inf),
    Gelu: (-4.0, math.inf),
}
"""The range outside which a function is constant up to 0.0014, a quarter of a step of 8 bits from 0 to 1."""


def saturation(op: Op) -> Range:
    """The range outside which the function is constant at 8 bits."""
    if isinstance(op, HardSigmoid):
        ends = (-op.beta / op.alpha, (1 - op.beta) / op.alpha) if op.alpha else (0.0, 0.0)
        return min(ends), max(ends)
    return LIMITS.get(type(op), (-math.inf, math.inf))
