"""The registry is complete: nothing in it lacks an example or a description."""

from __future__ import annotations

from npuq.ir import registry

from .examples import EXAMPLES


def test_every_op_has_an_example() -> None:
    assert set(registry()) - {example.op.name for example in EXAMPLES} == set()


def test_every_op_says_what_it_is() -> None:
    for name, cls in registry().items():
        generated = f"{cls.__name__}("
        assert not (cls.__doc__ or generated).startswith(generated), f"{name} lacks a docstring"
