"""Hutchinson's traces against the Hessian itself."""

from __future__ import annotations

from itertools import product

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from npuq.passes.mixed.hessian import Arrays, hessian_traces

FIRST, SECOND = [[0.3, -0.7], [0.2, 0.9], [-1.1, 0.4]], [0.8, -0.5, 1.2]
X = np.array([[0.5, -1.5], [1.0, 0.25]])


def loss(parameters: Arrays) -> jax.Array:
    """A network of nine weights, far from linear."""
    hidden = jnp.tanh(X @ parameters["first"].T)
    return jnp.square(jnp.exp(0.3 * hidden) @ parameters["second"] - 1.0).sum()


def exact(at: Arrays) -> dict[str, float]:
    """The traces of the diagonal blocks of the whole matrix of second derivatives."""
    hessian = jax.hessian(loss)(at)
    return {name: float(np.trace(hessian[name][name].reshape(array.size, -1))) for name, array in at.items()}


def test_the_mean_over_all_signs_is_the_trace() -> None:
    with jax.enable_x64(True):
        at = {"first": jnp.asarray(FIRST), "second": jnp.asarray(SECOND)}
        signs = jnp.asarray(list(product((-1.0, 1.0), repeat=9)))

        def draw(index: jax.Array) -> Arrays:
            return {"first": signs[index, :6].reshape(3, 2), "second": signs[index, 6:]}

        found = hessian_traces(loss, at, draw, jnp.arange(len(signs)))
        wanted = exact(at)
        assert min(map(abs, wanted.values())) > 0.1
        assert {name: float(trace) for name, trace in found.items()} == pytest.approx(wanted, rel=1e-9)


def test_a_few_hundred_random_probes_come_near() -> None:
    with jax.enable_x64(True):
        at = {"first": jnp.asarray(FIRST), "second": jnp.asarray(SECOND)}

        def draw(key: jax.Array) -> Arrays:
            parts = zip(jax.random.split(key, 2), at.items(), strict=True)
            return {name: jax.random.rademacher(part, array.shape, float) for part, (name, array) in parts}

        found = hessian_traces(loss, at, draw, jax.random.split(jax.random.key(0), 600))
        assert {name: float(trace) for name, trace in found.items()} == pytest.approx(exact(at), rel=0.15)
