"""The integer program against every choice there is."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from npuq.ir import NpuqError
from npuq.passes.mixed.integer_program import Conversion, Edge, Problem, curve, solve


def random_problem(seed: int, size: int) -> Problem:
    """A net of ops in a row and across, with errors over eight orders of magnitude."""
    generator = np.random.default_rng(seed)
    noise = 10.0 ** generator.uniform(-9, -1, size)
    pairs = [(a, b) for a in range(size) for b in range(a + 1, size) if b == a + 1 or generator.random() < 0.1]
    readers = {a: tuple(b for one, b in pairs if one == a) for a, _ in pairs}
    edges = [Edge(a, b, float(noise[a] * generator.uniform(0.1, 1))) for a, b in pairs]
    narrow = generator.integers(1, 50, size).astype(float)
    conversions = [Conversion(a, those, *generator.integers(0, 9, 2).tolist()) for a, those in readers.items()]
    ties = [(a, b, bool(generator.integers(2))) for a, b in pairs if generator.random() < 0.15]
    wide = narrow * generator.integers(1, 5, size)
    wide[0] += 1
    return Problem(noise, narrow, wide, tuple(edges), tuple(conversions), tuple(ties), 1e-10)


def brute_force(problem: Problem, ratio: float) -> float:
    """The least error of all choices, counted op by op, without the product's own sums."""
    least = np.inf
    for bits in product((0, 1), repeat=problem.size):
        if any(bits[a] < bits[b] or (not at_most and bits[a] > bits[b]) for a, b, at_most in problem.ties):
            continue
        cost = sum(problem.narrow[i] if bit else problem.wide[i] for i, bit in enumerate(bits))
        for value in problem.conversions:
            cost += value.down * (not bits[value.source] and any(bits[r] for r in value.readers))
            cost += value.up * (bits[value.source] and not all(bits[r] for r in value.readers))
        if problem.wide.sum() - cost < (ratio - 2e-6) * (problem.wide.sum() - problem.narrow.sum()):
            continue
        error = problem.floor + sum(problem.noise[i] for i, bit in enumerate(bits) if bit)
        error += sum(edge.noise for edge in problem.edges if bits[edge.reader] and not bits[edge.source])
        least = min(least, error)
    return float(least)


@pytest.mark.parametrize(("seed", "size"), [(0, 4), (1, 8), (2, 8), (3, 9), (4, 10), (5, 11)])
def test_the_curve_is_that_of_all_choices(seed: int, size: int) -> None:
    problem = random_problem(seed, size)
    ratios = [index / size for index in range(size + 1)]
    choices = curve(problem, ratios)
    errors = [problem.error(choice) for choice in choices]
    assert errors == sorted(errors)
    assert not choices[0].any()
    for ratio, choice, error in zip(ratios, choices, errors, strict=True):
        assert problem.allows(choice)
        assert problem.saved(choice) >= ratio - 2e-6
        assert error == pytest.approx(brute_force(problem, ratio), rel=2e-6)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 997))
def test_any_ratio_is_optimal(seed: int, part: int) -> None:
    problem, ratio = random_problem(seed, 6), part / 997
    assert problem.error(solve(problem, ratio)) == pytest.approx(brute_force(problem, ratio), rel=2e-6)


def test_the_same_problem_has_the_same_answer() -> None:
    problem = random_problem(7, 40)
    ratios = np.linspace(0, 1, 6).tolist()
    first, second = curve(problem, ratios), curve(problem, ratios)
    assert all(np.array_equal(one, other) for one, other in zip(first, second, strict=True))


def test_a_conversion_that_costs_more_than_it_saves_is_avoided() -> None:
    """The op in the middle has the least error, but two conversions eat what it saves alone."""
    noise, narrow, wide = np.array([3.0, 1.0, 3.0]), np.ones(3), np.full(3, 2.0)
    values = (Conversion(0, (1,), 1.0, 1.0), Conversion(1, (2,), 1.0, 1.0))
    assert solve(Problem(noise, narrow, wide), 1 / 3).tolist() == [False, True, False]
    assert solve(Problem(noise, narrow, wide, conversions=values), 1 / 3).tolist() == [False, True, True]


@pytest.mark.parametrize(
    ("ratios", "message"), [([0.5, 0.2], "the ratios of a curve must rise"), ([1.5], r"ratio 1\.5, 0 to 1 wanted")]
)
def test_wrong_ratios_are_named(ratios: list[float], message: str) -> None:
    with pytest.raises(NpuqError, match=message):
        curve(random_problem(0, 3), ratios)
