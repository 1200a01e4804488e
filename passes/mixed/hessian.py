"""Traces of a loss's Hessian at each point, and the rise of the loss that they predict (HAWQ)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir import NpuqError, compiler_options, parameters

from .points import instrumented
from .variants import NARROW, Variants, on_grid

Loss = Callable[..., Any]
"""A function of the outputs and, where there are labels, the sample's label to a scalar."""

Arrays = dict[str, jax.Array]

AT_ONCE = 4
"""Probes that run together: each has its own copy of every value."""


def hessian_traces(
    function: Callable[[Arrays], jax.Array], at: Arrays, draw: Callable[[Any], Arrays], keys: jax.Array
) -> Arrays:
    """Hutchinson's estimate of the trace of each diagonal block of a Hessian: the mean of v . H v over the probes.

    `at` has the arguments of `function`; `draw` makes a probe v from each key: arrays of +1 and -1 (of +s and -s for
    s^2 times the trace). H v has all blocks at once: the share of one in another's estimate has the mean zero.
    """

    def along(key: Any) -> Arrays:
        probe = draw(key)
        _, product = jax.jvp(jax.grad(function), (at,), (probe,))
        return {name: jnp.vdot(probe[name], product[name]) for name in at}

    return {name: found.mean() for name, found in jax.lax.map(along, keys, batch_size=AT_ONCE).items()}


def predicted_rise(
    variants: Variants,
    loss: Loss | None = None,
    labels: Sequence[Any] | None = None,
    *,
    probes: int = 16,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> np.ndarray:
    """The mean rise of the loss that each narrow point causes, f64[points].

    It is tr(H) / n * |d|^2 / 2 with the trace of the loss's Hessian over the n numbers at the point and their rounding
    error d (Dong et al., HAWQ-V2: Hessian aware trace-weighted quantization, 2020; there for weights, here for results
    too). Biases have no part, negative traces count as zero. `loss` takes the tuple of float outputs of one sample and,
    with `labels`, the sample's label. The default is the squared distance of the outputs from the exact ones over their
    mean power: its Hessian is that of Gauss and Newton, its rise the predicted error.
    """
    one = jax.jit(_for_one(variants, loss, probes), compiler_options=compiler_options(one_thread=True))
    total = np.zeros(len(variants.points))
    for index, sample in enumerate(variants.samples):
        with jax.enable_x64(True):
            label = None if labels is None else labels[index]
            total += np.asarray(one(sample, label, jax.random.fold_in(jax.random.key(seed), index)), np.float64)
        if progress is not None:
            progress(index + 1)
    return np.maximum(total / len(variants.samples), 0.0)


def _for_one(variants: Variants, loss: Loss | None, probes: int) -> Callable[..., jax.Array]:
    """The rise at each point as a function of one sample, its label, and a random key."""
    function = instrumented(variants.units, variants.points)
    known, powers = parameters(variants.units.graph), variants.powers

    def run(inputs: Sequence[jax.Array], label: Any, key: jax.Array) -> jax.Array:
        zeros: Arrays = {}
        steps: Arrays = {}

        def look(index: int, name: str, x: jax.Array) -> jax.Array:
            if not variants.is_bias(variants.points[index], name):
                zeros[_key(index, name)] = jnp.zeros_like(x)
                steps[_key(index, name)] = _step(variants, index, name, x)
            return x

        exact = function(known, inputs, look)

        def risen(deltas: Arrays) -> jax.Array:
            def move(index: int, name: str, x: jax.Array) -> jax.Array:
                key = _key(index, name)
                return x + deltas[key] if key in deltas else x

            outputs = function(known, inputs, move)
            if loss is None:
                pairs = zip(outputs, exact, powers, strict=True)
                return sum((jnp.square(y - x).sum() / power for y, x, power in pairs), jnp.float32(0)) / len(powers)
            found = jnp.asarray(loss(outputs) if label is None else loss(outputs, label), jnp.float32)
            if found.shape:
                raise NpuqError(f"loss: it gives an array {list(found.shape)}, a single number wanted")
            return found

        traces = hessian_traces(risen, zeros, lambda probe: _signs(probe, steps, zeros), jax.random.split(key, probes))
        rises = jnp.zeros(len(variants.points), jnp.float32)
        for name, trace in traces.items():
            rises = rises.at[int(name.split()[0])].add(trace / 2)
        return rises

    return run


def _step(variants: Variants, index: int, name: str, x: jax.Array) -> jax.Array:
    """The root mean square of the rounding error of narrow integers at a point."""
    known = variants.known.get(index)
    narrow = on_grid(x, variants.grids[index, NARROW]) if known is None else known[name][NARROW]
    return jnp.sqrt(jnp.square(narrow - x).mean())


def _signs(key: jax.Array, steps: Arrays, like: Arrays) -> Arrays:
    """Arrays of each step with random signs; one draw for all, as many draws take long to compile."""
    ends = np.cumsum([array.size for array in like.values()])
    signs = jnp.split(jax.random.rademacher(key, (int(ends[-1]),), jnp.float32), ends[:-1].tolist())
    pairs = zip(signs, like.items(), strict=True)
    return {name: part.reshape(array.shape) * steps[name] for part, (name, array) in pairs}


def _key(index: int, name: str) -> str:
    return f"{index} {name}"
