"""Recurrent layers as ONNX has them: scans over time in one or both directions.

x [T, N, I] gives y [T, D, N, H] and the last state h [D, N, H], with D directions; w [D, G*H, I] and r [D, G*H, H]
hold the G gates one after another. Steps from a sequence's length on give zeros and leave its state; a reverse
direction begins at each sequence's last step. Results stand at the steps that they were computed from.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp

from ..errors import RuleError, require
from ..op import Arrays, Op, op
from ..types import DType, TensorType

__all__ = ["Gru", "Lstm", "Recurrent", "Rnn"]

Direction = Literal["forward", "reverse", "bidirectional"]
State = tuple[jax.Array, ...]
Step = Callable[[State, jax.Array], State]
Cell = tuple[Step, State, jax.Array]
"""A step from a state and the sums with x, the first states, and the sums with x of all steps."""
Function = Callable[[jax.Array], jax.Array]
Functions = tuple[Function, ...]


def backwards(direction: Direction) -> tuple[bool, ...]:
    """For each direction, whether it runs backwards."""
    return (False, True) if direction == "bidirectional" else (direction == "reverse",)


def _elu(x: jax.Array, alpha: float) -> jax.Array:
    return jnp.where(x < 0, alpha * jnp.expm1(jnp.minimum(x, jnp.zeros((), x.dtype))), x)


ACTIVATIONS: Mapping[str, tuple[Callable[..., jax.Array], tuple[float, ...]]] = {
    "Relu": (jax.nn.relu, ()),
    "Tanh": (jnp.tanh, ()),
    "Sigmoid": (jax.nn.sigmoid, ()),
    "Affine": (lambda x, alpha, beta: alpha * x + beta, (1.0, 0.0)),
    "LeakyRelu": (lambda x, alpha: jnp.where(x < 0, alpha * x, x), (0.01,)),
    "ThresholdedRelu": (lambda x, alpha: jnp.where(x >= alpha, x, jnp.zeros((), x.dtype)), (1.0,)),
    "ScaledTanh": (lambda x, alpha, beta: alpha * jnp.tanh(beta * x), (1.0, 1.0)),
    "HardSigmoid": (lambda x, alpha, beta: jnp.clip(alpha * x + beta, 0.0, 1.0), (0.2, 0.5)),
    "Elu": (_elu, (1.0,)),
    "Softsign": (jax.nn.soft_sign, ()),
    "Softplus": (jax.nn.softplus, ()),
}
"""The functions that a gate may have, by ONNX's names, with the defaults of their constants alpha and beta."""


def activation(text: str) -> Function:
    """The function that an activation's text names: `Tanh`, or `HardSigmoid(0.3, 0.5)` for constants of its own."""
    name, constants = activation_parts(text)
    return lambda x: ACTIVATIONS[name][0](x, *constants)


def activation_parts(text: str) -> tuple[str, tuple[float, ...]]:
    """An activation's name and its constants; leading ones may be given, the others keep their defaults."""
    name, _, rest = text.removesuffix(")").partition("(")
    require(name in ACTIVATIONS, f"there is no activation {text!r}; there are {', '.join(ACTIVATIONS)}")
    defaults = ACTIVATIONS[name][1]
    try:
        given = tuple(float(number) for number in rest.split(",")) if rest else ()
    except ValueError:
        raise RuleError(f"activation {text!r}: numbers wanted between the brackets") from None
    require(len(given) <= len(defaults), f"activation {text!r}: {len(given)} numbers, at most {len(defaults)} wanted")
    return name, given + defaults[len(given) :]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recurrent(Op):
    """A recurrent layer: directions, activations per direction, and a limit of what they read (0: none)."""

    gates: ClassVar[int]
    functions: ClassVar[tuple[str, ...]]
    """The default activations of one direction."""

    direction: Direction = "forward"
    activations: tuple[str, ...] = ()
    clip: float = 0.0

    @property
    def directions(self) -> int:
        return len(backwards(self.direction))

    def named(self, direction: int) -> tuple[str, ...]:
        """The activations of one direction."""
        count = len(self.functions)
        return self.activations[direction * count : (direction + 1) * count] or self.functions

    def checked(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        biases: tuple[TensorType, ...],
        states: tuple[TensorType, ...],
        lengths: TensorType | None,
    ) -> tuple[TensorType, TensorType]:
        """The types of all steps and of the last state; requires operands that fit each other."""
        d, wanted = self.directions, self.directions * len(self.functions)
        require(len(self.activations) in (0, wanted), f"{len(self.activations)} activations, {wanted} wanted")
        for text in self.activations:
            activation_parts(text)
        require(self.clip >= 0, f"clip {self.clip}, at least 0 wanted")
        require(x.dtype.is_float and x.rank == 3, f"operand {x}, floats [steps, batch, features] wanted")
        steps, batch, features = x.shape
        require(r.rank == 3, f"recurrent weights {r}, rank 3 wanted")
        hidden = r.shape[2]
        rows = self.gates * hidden
        named = (("weights", w, (d, rows, features)), ("recurrent weights", r, (d, rows, hidden)))
        expected = (*named, *(("bias", bias, (d, rows)) for bias in biases))
        for what, type_, shape in (*expected, *(("initial state", state, (d, batch, hidden)) for state in states)):
            require(type_ == TensorType(x.dtype, shape), f"{what} {type_}, {TensorType(x.dtype, shape)} wanted")
        require_lengths(lengths, x)
        return x.with_shape(steps, d, batch, hidden), x.with_shape(d, batch, hidden)

    def limited(self, text: str) -> Function:
        """An activation behind the clip."""
        function = activation(text)
        return (lambda x: function(jnp.clip(x, -self.clip, self.clip))) if self.clip > 0 else function


def require_lengths(lengths: TensorType | None, x: TensorType) -> None:
    """Require one i32 length per sequence."""
    if lengths is not None:
        wanted = TensorType(DType.I32, x.shape[1:2])
        require(lengths == wanted, f"lengths {lengths}, {wanted} wanted")


def reverse_steps(x: jax.Array, lengths: jax.Array | None) -> jax.Array:
    """The first steps of each sequence [T, N, ...], as many as it is long, in reverse order."""
    if lengths is None:
        return jnp.flip(x, 0)
    steps = jnp.arange(x.shape[0], dtype=jnp.int32)[:, None]
    source = jnp.where(steps < lengths, lengths - 1 - steps, steps)
    return jnp.take_along_axis(x, source.reshape(*source.shape, *(1,) * (x.ndim - 2)), 0)


def scan_steps(
    step: Step, states: State, x: jax.Array, lengths: jax.Array | None, *, backwards: bool, outside: int = 0
) -> tuple[jax.Array, State]:
    """Run `step(states, x[t])` over time; give the first state at every step [T, N, H] and the last states.

    Steps behind a sequence's end give `outside`.
    """

    def advance(carry: State, entry: tuple[jax.Array, jax.Array]) -> tuple[State, jax.Array]:
        index, now = entry
        after = step(carry, now)
        if lengths is None:
            return after, after[0]
        running = (index < lengths)[:, None]
        kept = tuple(jnp.where(running, new, old) for new, old in zip(after, carry, strict=True))
        return kept, jnp.where(running, after[0], jnp.asarray(outside, after[0].dtype))

    ordered = reverse_steps(x, lengths) if backwards else x
    last, every = jax.lax.scan(advance, states, (jnp.arange(x.shape[0], dtype=jnp.int32), ordered))
    return reverse_steps(every, lengths) if backwards else every, last


def scan_directions(
    direction: Direction, cell: Callable[[int], Cell], lengths: jax.Array | None = None, *, outside: int = 0
) -> Arrays:
    """Scan every direction d from `cell(d)`; give all steps [T, D, N, H] and the last states [D, N, H].

    A cell computes the sums with x of all steps at once.
    """
    found = []
    for d, back in enumerate(backwards(direction)):
        every, last = scan_steps(*cell(d), lengths, backwards=back, outside=outside)
        found.append((every, *last))
    steps, *states = zip(*found, strict=True)
    return jnp.stack(steps, 1), *map(jnp.stack, states)


def _product(x: jax.Array, w: jax.Array) -> jax.Array:
    """x [..., K] times the rows of w [M, K]."""
    return jnp.matmul(x, w.T, precision=jax.lax.Precision.HIGHEST)


@op("lstm")
class Lstm(Recurrent):
    """Long short-term memory, gates i, o, f, c: (y, h, c); `activations` f, g, h for each direction.

    b is the sum of both biases; peepholes [D, 3*H] hold those of i, o, f. `input_forget` makes f = 1 - i.
    """

    gates: ClassVar[int] = 4
    functions: ClassVar[tuple[str, ...]] = ("Sigmoid", "Tanh", "Tanh")

    input_forget: bool = False

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        b: TensorType,
        h0: TensorType,
        c0: TensorType,
        peepholes: TensorType | None = None,
        lengths: TensorType | None = None,
    ) -> tuple[TensorType, TensorType, TensorType]:
        y, h = self.checked(x, w, r, (b,), (h0, c0), lengths)
        wanted = TensorType(x.dtype, (h.shape[0], 3 * h.shape[2]))
        require(peepholes in (None, wanted), f"peepholes {peepholes}, {wanted} wanted")
        return y, h, h

    def evaluate(self, *operands: jax.Array) -> Arrays:
        x, w, r, b, h0, c0, *rest = operands
        peepholes, lengths = (*rest, None, None)[:2]

        def cell(d: int) -> Cell:
            holes = None if peepholes is None else jnp.split(peepholes[d], 3)
            f, g, h = self.named(d)
            # The clip limits what gates read, not what a cell gives.
            functions = (self.limited(f), self.limited(g), activation(h))
            return partial(self._step, functions, r[d], holes), (h0[d], c0[d]), _product(x, w[d]) + b[d]

        return scan_directions(self.direction, cell, lengths)

    def _step(
        self, functions: Functions, r: jax.Array, holes: list[jax.Array] | None, state: State, sums: jax.Array
    ) -> State:
        (f, g, h), (hidden, cell) = functions, state
        i, o, forget, candidate = jnp.split(sums + _product(hidden, r), 4, -1)
        if holes is not None:
            i, forget = i + holes[0] * cell, forget + holes[2] * cell
        i = f(i)
        forget = 1 - i if self.input_forget else f(forget)
        cell = forget * cell + i * g(candidate)
        if holes is not None:
            o = o + holes[1] * cell
        return f(o) * h(cell), cell


@op("gru")
class Gru(Recurrent):
    """Gated recurrent unit, gates z, r, h: (y, h); `activations` f, g for each direction.

    `linear_before_reset` applies the reset gate to the product of the state, biased by rb, instead of to the state.
    """

    gates: ClassVar[int] = 3
    functions: ClassVar[tuple[str, ...]] = ("Sigmoid", "Tanh")

    linear_before_reset: bool = False

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        wb: TensorType,
        rb: TensorType,
        h0: TensorType,
        lengths: TensorType | None = None,
    ) -> tuple[TensorType, TensorType]:
        return self.checked(x, w, r, (wb, rb), (h0,), lengths)

    def evaluate(self, *operands: jax.Array) -> Arrays:
        x, w, r, wb, rb, h0, *lengths = operands

        def cell(d: int) -> Cell:
            f, g = map(self.limited, self.named(d))
            return partial(self._step, f, g, r[d], rb[d]), (h0[d],), _product(x, w[d]) + wb[d]

        return scan_directions(self.direction, cell, *lengths)

    def _step(self, f: Function, g: Function, r: jax.Array, rb: jax.Array, state: State, sums: jax.Array) -> State:
        (hidden,) = state
        gated = 2 * hidden.shape[-1]
        z, reset = jnp.split(f(sums[..., :gated] + _product(hidden, r[:gated]) + rb[:gated]), 2, -1)
        if self.linear_before_reset:
            inner = reset * (_product(hidden, r[gated:]) + rb[gated:])
        else:
            inner = _product(reset * hidden, r[gated:]) + rb[gated:]
        candidate = g(sums[..., gated:] + inner)
        return ((1 - z) * candidate + z * hidden,)


@op("rnn")
class Rnn(Recurrent):
    """The plain recurrent layer f(x w + h r + b): (y, h); one activation for each direction."""

    gates: ClassVar[int] = 1
    functions: ClassVar[tuple[str, ...]] = ("Tanh",)

    def infer(
        self,
        x: TensorType,
        w: TensorType,
        r: TensorType,
        b: TensorType,
        h0: TensorType,
        lengths: TensorType | None = None,
    ) -> tuple[TensorType, TensorType]:
        return self.checked(x, w, r, (b,), (h0,), lengths)

    def evaluate(self, *operands: jax.Array) -> Arrays:
        x, w, r, b, h0, *lengths = operands

        def cell(d: int) -> Cell:
            (f,) = map(self.limited, self.named(d))
            return partial(self._step, f, r[d]), (h0[d],), _product(x, w[d]) + b[d]

        return scan_directions(self.direction, cell, *lengths)

    def _step(self, f: Function, r: jax.Array, state: State, sums: jax.Array) -> State:
        return (f(sums + _product(state[0], r)),)
