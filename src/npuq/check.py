"""What a model will become on a target, before anything is run: all problems at once, and where each layer goes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Unpack

from npuq.files.graphs import require_path
from npuq.frontends import Options, load
from npuq.frontends import check as find_problems
from npuq.frontends.problem import Problem
from npuq.ir import Graph
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering import Kind
from npuq.passes.lowering.plan import EVERYWHERE, Role, plan_of
from npuq.passes.precision import Precision, Precisions
from npuq.passes.target import Target, load_target


@dataclass(frozen=True)
class Group:
    """The layers of one op that run in one place for one reason."""

    op: str
    where: Literal["npu", "host"]
    reason: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """What keeps a model from being translated; where nothing does, where its layers will run."""

    problems: tuple[Problem, ...]
    groups: tuple[Group, ...]

    @property
    def on_host(self) -> int:
        """The number of layers that the target cannot run."""
        return sum(len(group.places) for group in self.groups if group.where == "host")


def check(
    model: str | Path,
    target: str | Target = "npu",
    shapes: Mapping[str, Sequence[int]] | None = None,
    *,
    bits: int | None = None,
    **options: Unpack[Options],
) -> Verdict:
    """Find all problems of a model's files, or, where there is none, tell where its layers will run at so many bits.

    Raises `NpuqError` where the file or the target cannot be read at all.
    """
    chosen = load_target(target)
    path, width = require_path(model), chosen.width(bits or chosen.default_bits)
    problems = find_problems(path, shapes, **options)
    if problems:
        return Verdict(tuple(problems), ())
    graph = load(path, shapes, **options)
    return Verdict((), where_layers_run(canonicalize()(graph), chosen, Precisions(Precision(width.bits))))


def where_layers_run(graph: Graph, target: Target, precision: Precisions = EVERYWHERE) -> tuple[Group, ...]:
    """The layers of a canonical float graph by op, place and reason; what needs the host comes first."""
    roles = plan_of(graph, target, precision)
    found: dict[tuple[str, Role], list[str]] = {}
    for node in graph.nodes:
        its = roles.of(node)
        role = Role(Kind.HOST, its.reason) if its.kind is Kind.HOST else Role(Kind.COMPUTE)
        found.setdefault((node.op.name, role), []).append(node.place)
    groups = [
        Group(op, "host" if role.kind is Kind.HOST else "npu", role.reason, tuple(places))
        for (op, role), places in found.items()
    ]
    return tuple(sorted(groups, key=lambda group: (group.where, -len(group.places), group.op)))
