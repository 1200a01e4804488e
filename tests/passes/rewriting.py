"""What every rewrite is held to: the exact text, a parse back, and the same numbers."""

from __future__ import annotations

from textwrap import dedent

import numpy as np

from npuq.ir import Graph, evaluate, parse, to_text, verify
from npuq.passes.pipeline import Pass, Pipeline

ROUNDINGS = 1 << 10
"""More roundings, each of a partial value no larger than the sum of all magnitudes, than any small graph here makes."""


def graph(text: str) -> Graph:
    """A verified graph from the body of its text: inputs, then one line per constant and node."""
    return verify(parse(dedent(text).strip() + "\n"))


def rewritten(pass_: Pass | Pipeline, before: str, after: str, *, exact: bool = False, error: float = 0.0) -> None:
    """The pass makes `after` of `before`, and both compute the same.

    Exactly, or (in float64, where the weights' rounding does not hide an error) up to the roundings of both
    graphs and a relative `error` that the constants in the text have.
    """
    result = pass_(graph(before))
    assert to_text(result) == dedent(after).strip() + "\n"
    assert parse(to_text(result)) == result
    if exact:
        for one, two in zip(*both(graph(before), result), strict=True):
            np.testing.assert_array_equal(one, two)
        return
    wide = graph(before.replace("f32", "f64"))
    for one, two in zip(*both(wide, pass_(wide)), strict=True):
        magnitude = max(1.0, float(np.abs(one).max()), float(np.abs(two).max()))
        assert np.abs(one - two).max() <= (ROUNDINGS * 2.0**-53 + error) * magnitude


def unchanged(pass_: Pass | Pipeline, text: str) -> None:
    """The pass leaves the graph as it is."""
    assert to_text(pass_(graph(text))) == to_text(graph(text))


def both(before: Graph, after: Graph) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What two graphs compute of the same random inputs, zeros among them."""
    random = np.random.default_rng(0)
    inputs = [
        random.normal(0, 4, type_.shape) * (random.uniform(size=type_.shape) > 0.1) for type_ in before.input_types
    ]
    return [np.asarray(y) for y in evaluate(before)(*inputs)], [np.asarray(y) for y in evaluate(after)(*inputs)]
