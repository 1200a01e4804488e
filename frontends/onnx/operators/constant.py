"""Converters of the operators that hold arrays."""

from __future__ import annotations

import numpy as np

from npuq.ir import require

from ...context import Context, Node
from ..registry import converts


@converts("Constant")
def constant(context: Context, node: Node) -> str:
    """Exactly one of the value attributes holds the array."""
    present = [name for name in ("value", "value_float", "value_floats", "value_int", "value_ints") if node.has(name)]
    require(len(present) == 1, "one of value, value_float, value_floats, value_int, value_ints wanted")
    (name,) = present
    if name == "value":
        return context.own_constant(node.tensor(name))
    dtype = np.float32 if "float" in name else np.int64
    return context.own_constant(np.asarray(node.attributes[name], dtype))
