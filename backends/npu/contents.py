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
    """One set of inputs and the outputs that they must give, as the program's own integers."""

    inputs: tuple[Constant, ...]
    outputs: tuple[Constant, ...]


@dataclass(frozen=True)
class Contents:
    """An integer graph, the target it was lowered for, its memory plan, and answers to check an execution by."""

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
