"""The float graph as one function, with convolutions in the form in which XLA runs them fast."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from npuq.ir import Graph, Node, Op
from npuq.ir.ops.conv import Conv
from npuq.ir.ops.window import trimmed

Parameters = Mapping[str, jax.Array]
Lowering = Callable[..., jax.Array]

CPU_OPTIONS: dict[str, Any] = {
    # One sample runs on one thread: its sums then do not depend on how many cores or devices there are.
    "xla_cpu_multi_thread_eigen": False,
    # The default fuses reductions too, which makes some float networks twice as slow.
    "xla_cpu_experimental_ynn_fusion_type": ",".join(
        f"LIBRARY_FUSION_TYPE_INDIVIDUAL_{kind}" for kind in ("DOT", "CONVOLUTION")
    ),
}


def compile_options(platform: str) -> dict[str, Any]:
    """The compiler options of a forward on this kind of device."""
    return dict(CPU_OPTIONS) if platform == "cpu" else {}


def float_forward(graph: Graph, wanted: Sequence[str]) -> Callable[[Parameters, Sequence[jax.Array]], list[jax.Array]]:
    """The graph as a function of (parameters, inputs) to the values of `wanted`, elements in any order.

    Values of rank 4 come back channels last: XLA computes them so, and statistics ask for no order. Equal to
    `ir.function` up to float rounding, several times faster to run and to compile on a CPU.
    """

    def run(parameters: Parameters, inputs: Sequence[jax.Array]) -> list[jax.Array]:
        values: dict[str, jax.Array] = dict(parameters)
        values.update(zip(graph.inputs, inputs, strict=True))
        for node in graph.nodes:
            results = computed(node, [values[operand] for operand in node.operands])
            values.update(zip(node.results, results, strict=True))
        return [_last(values[name]) if values[name].ndim == 4 else values[name] for name in wanted]

    return run


def convolve(op: Conv, x: jax.Array, w: jax.Array, b: jax.Array | None = None) -> jax.Array:
    """A 2-D convolution computed channels last; one input channel per group as a sum of shifted products."""
    if x.ndim != 4:
        return op.evaluate(x, w, b)
    x, padding = trimmed(x, op.padding)
    op, x = replace(op, padding=padding), _last(x)
    y = _depthwise(op, x, w) if op.groups > 1 and w.shape[1] == 1 else _dense(op, x, w)
    return _first(y if b is None else y + b)


def _dense(op: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(
        x,
        jnp.transpose(w, (2, 3, 1, 0)),
        op.stride,
        op.padding,
        rhs_dilation=op.dilation,
        dimension_numbers=("NHWC", "HWIO", "NHWC"),
        feature_group_count=op.groups,
        precision=lax.Precision.HIGHEST,
    )


def _depthwise(op: Conv, x: jax.Array, w: jax.Array) -> jax.Array:
    """Add up one product per tap of the window, each on a strided slice of the padded input."""
    x = jnp.pad(jnp.repeat(x, w.shape[0] // op.groups, axis=3), ((0, 0), *op.padding, (0, 0)))
    covered = [(size - 1) * hole + 1 for size, hole in zip(w.shape[2:], op.dilation, strict=True)]
    steps = [(size - width) // step for size, width, step in zip(x.shape[1:3], covered, op.stride, strict=True)]
    y: jax.Array | None = None
    for row in range(w.shape[2]):
        for column in range(w.shape[3]):
            start = (row * op.dilation[0], column * op.dilation[1])
            stop = [at + count * step + 1 for at, count, step in zip(start, steps, op.stride, strict=True)]
            tap = lax.slice(x, (0, *start, 0), (x.shape[0], *stop, x.shape[3]), (1, *op.stride, 1))
            term = tap * w[:, 0, row, column]
            y = term if y is None else y + term
    assert y is not None
    return y


def _last(x: jax.Array) -> jax.Array:
    return jnp.transpose(x, (0, 2, 3, 1))


def _first(x: jax.Array) -> jax.Array:
    return jnp.transpose(x, (0, 3, 1, 2))


LOWERINGS: Mapping[type[Op], Lowering] = {Conv: convolve}
"""How an op is computed here; all others by their own `evaluate`."""


def computed(node: Node, operands: Sequence[jax.Array]) -> tuple[jax.Array, ...]:
    """What a node gives of its operands, in the form in which XLA runs it fast."""
    compute = LOWERINGS.get(type(node.op))
    found = node.op.evaluate(*operands) if compute is None else compute(node.op, *operands)
    return found if isinstance(found, tuple) else (found,)
