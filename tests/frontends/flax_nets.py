"""Flax networks that several tests share."""

from __future__ import annotations

import jax
from flax import nnx

PATCH = 4
PATCHES = (28 // PATCH) ** 2


class Block(nnx.Module):
    """A transformer block: attention and a multilayer perceptron, each after a norm and beside a shortcut."""

    def __init__(self, rngs: nnx.Rngs, width: int = 16) -> None:
        self.before, self.between = nnx.LayerNorm(width, rngs=rngs), nnx.RMSNorm(width, rngs=rngs)
        self.attention = nnx.MultiHeadAttention(num_heads=2, in_features=width, decode=False, rngs=rngs)
        self.up, self.down = nnx.Linear(width, 2 * width, rngs=rngs), nnx.Linear(2 * width, width, rngs=rngs)
        self.dropout = nnx.Dropout(0.5, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        """Map f32[n,tokens,width] to the same shape."""
        x = x + self.attention(self.before(x))
        return self.dropout(x + self.down(nnx.gelu(self.up(self.between(x)))))


class VisionTransformer(nnx.Module):
    """Patches of a picture as tokens with learned positions, two blocks, the mean of the tokens, linear."""

    def __init__(self, rngs: nnx.Rngs, width: int = 32) -> None:
        self.patches = nnx.Conv(1, width, (PATCH, PATCH), strides=PATCH, rngs=rngs)
        self.positions = nnx.Param(0.1 * jax.random.normal(rngs.params(), (PATCHES, width)))
        self.first, self.second = Block(rngs, width), Block(rngs, width)
        self.norm, self.classifier = nnx.LayerNorm(width, rngs=rngs), nnx.Linear(width, 10, rngs=rngs)

    def __call__(self, image: jax.Array) -> jax.Array:
        """Map pixels f32[n,28,28,1] in [0,1] to logits f32[n,10]."""
        x = self.patches(image)
        x = x.reshape(x.shape[0], PATCHES, -1) + self.positions[...]
        return self.classifier(self.norm(self.second(self.first(x))).mean(axis=1))
