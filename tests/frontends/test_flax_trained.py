"""Flax networks trained on real pictures: imported they compute what Flax computes, in 8 bits they classify as well."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax  # type: ignore[import-untyped]  # has no type marker
import pytest
from flax import nnx

import npuq
from examples.train_fashion import ResNet, Split, batches, pixels, read, train
from npuq.ir import Graph
from tests import zoo
from tests.frontends.flax_nets import VisionTransformer

TRAINED = 4096
CALIBRATED = 128
EVALUATED = 512
TOLERANCE = 1e-4
"""Of the output's greatest number."""

LEAST = 0.55
"""Of the evaluated pictures float gets right after so little training; chance gets a tenth."""

MARGIN = 0.02
"""Of the evaluated pictures, fewer right in 8 bits than in float."""

Trained = tuple[Callable[..., Graph], Callable[[np.ndarray], Any]]
"""`npuq.load` of a net, which wants its example inputs yet, and the net itself."""


def trained_resnet(data: Split) -> Trained:
    variables = train(data, epochs=1)
    net = partial(ResNet().apply, train=False)
    return partial(npuq.load, net, weights=variables), partial(jax.jit(net), variables)


def trained_transformer(data: Split) -> Trained:
    module, optimizer, rng = VisionTransformer(nnx.Rngs(0)), optax.adam(3e-3), np.random.default_rng(0)
    module.eval()  # type: ignore[no-untyped-call]  # untyped in Flax
    definition, weights, *rest = nnx.split(module, nnx.Param, ...)

    def loss(weights: Any, x: jax.Array, labels: jax.Array) -> jax.Array:
        logits = nnx.merge(definition, weights, *rest)(x)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()  # type: ignore[no-any-return]

    @jax.jit
    def step(weights: Any, state: Any, x: jax.Array, labels: jax.Array) -> tuple[Any, Any]:
        update, state = optimizer.update(jax.grad(loss)(weights, x, labels), state)
        return optax.apply_updates(weights, update), state

    state = optimizer.init(weights)
    for images, labels in (batch for _ in range(2) for batch in batches(data, 64, rng)):
        weights, state = step(weights, state, pixels(images), jnp.asarray(labels, jnp.int32))
    net = nnx.merge(definition, weights, *rest)
    return partial(npuq.load, net), jax.jit(net)


@pytest.mark.slow
@pytest.mark.zoo
@pytest.mark.parametrize("trained", [trained_resnet, trained_transformer])
def test_a_trained_net_keeps_its_outputs_and_its_accuracy(trained: Callable[[Split], Trained]) -> None:
    training, test = (read(zoo.path("fashion_mnist"), prefix) for prefix in ("train", "t10k"))
    load, net = trained(Split(training.images[:TRAINED], training.labels[:TRAINED]))
    x, labels = pixels(test.images[:EVALUATED]), test.labels[:EVALUATED]
    wanted = np.asarray(net(x))
    known = np.mean(wanted.argmax(1) == labels)
    assert known >= LEAST

    (ours,) = npuq.evaluate(load(inputs=x))(x)
    assert np.abs(ours - wanted).max() <= TOLERANCE * np.abs(wanted).max()

    quantized = npuq.quantize(load(inputs=x[:1]), pixels(training.images[:CALIBRATED]))
    assert not [node for node in quantized.graph.nodes if node.host]
    (simulated,) = quantized.simulate(x)
    assert np.mean(simulated.argmax(1) == labels) >= known - MARGIN
