"""What a program file holds."""

from __future__ import annotations

from dataclasses import dataclass

from npuq.ir import Constant, Graph
from npuq.passes.target import Target

from ..memory import Plan


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
