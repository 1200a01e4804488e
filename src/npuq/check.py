"""A check of a model for a target, without data: all problems at once, and where each layer will run."""

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
from npuq.passes.lowering.plan import plan_of
from npuq.passes.precision import Precision, Precisions
from npuq.passes.target import Target, load_target

Where = Literal["npu", "host"]


@dataclass(frozen=True)
class Group:
    """The layers of one op that run in one place for one reason."""

    op: str
    where: Where
    reason: str
    places: tuple[str, ...]


@dataclass(frozen=True)
class Verdict:
    """The problems that keep a model from being translated or, if there are none, where its layers will run."""

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
    """Find all problems of a model's files or, if there are none, where its layers will run at this width.

    Raises `NpuqError` for a file or a target that cannot be read at all.
    """
    chosen = load_target(target)
    path, width = require_path(model), chosen.width(bits or chosen.default_bits)
    problems = find_problems(path, shapes, **options)
    if problems:
        return Verdict(tuple(problems), ())
    graph = load(path, shapes, **options)
    return Verdict((), where_layers_run(canonicalize()(graph), chosen, Precisions(Precision(width.bits))))


def where_layers_run(graph: Graph, target: Target, precision: Precisions) -> tuple[Group, ...]:
    """The layers of a canonical float graph by op, place and reason; those on the host come first."""
    roles = plan_of(graph, target, precision)
    places: dict[tuple[str, Where, str], list[str]] = {}
    for node in graph.nodes:
        role = roles.of(node)
        where: tuple[Where, str] = ("host", role.reason) if role.kind is Kind.HOST else ("npu", "")
        places.setdefault((node.op.name, *where), []).append(node.place)
    groups = [Group(*key, tuple(found)) for key, found in places.items()]
    return tuple(sorted(groups, key=lambda group: (group.where, -len(group.places), group.op)))
