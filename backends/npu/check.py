"""What every program must fulfil, whether it was just made or read from a file."""

from __future__ import annotations

from typing import TypeVar

from npuq.ir import NpuqError, verify
from npuq.passes.constraints import violations

from ..memory import check_plan
from .contents import Contents

C = TypeVar("C", bound=Contents)


def check(contents: C) -> C:
    """Give the contents back once the graph is well formed, fits its target and has a memory plan without overlap.

    Raises `NpuqError` for the first fault: a broken rule of the IR, a constraint of the target, a recorded proof that
    does not hold, or a plan in which values share bytes.
    """
    graph = verify(contents.graph)
    for problem in violations(graph, contents.target):
        raise NpuqError(problem)
    check_plan(contents.plan, graph)
    return contents
