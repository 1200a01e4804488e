"""The contents of a program file, and their checks."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

from npuq.ir import Constant, Graph, NpuqError, verify
from npuq.passes.constraints import violations
from npuq.passes.target import Target

from ..memory import Plan, check_plan


@dataclass(frozen=True)
class KnownAnswer:
    """Inputs and their outputs, as the program's integers."""

    inputs: tuple[Constant, ...]
    outputs: tuple[Constant, ...]


@dataclass(frozen=True)
class Contents:
    """An integer graph, its target, its memory plan, and known answers."""

    graph: Graph
    target: Target
    plan: Plan
    known_answers: tuple[KnownAnswer, ...] = ()


C = TypeVar("C", bound=Contents)


def check(contents: C) -> C:
    """Return the contents once the graph is well formed, fits its target and has a memory plan without overlap.

    Raises `NpuqError` for the first fault: a broken rule of the IR, a constraint of the target, a recorded proof that
    does not hold, or a plan in which values share bytes.
    """
    graph = verify(contents.graph)
    for problem in violations(graph, contents.target):
        raise NpuqError(problem)
    check_plan(contents.plan, graph)
    return contents
