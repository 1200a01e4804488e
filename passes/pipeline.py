"""Passes as values: pure functions of a graph that promise what they require and ensure, and chains of them."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import numpy as np

from npuq.ir import Graph, NpuqError, PassError, blobs, to_text, verify

P = ParamSpec("P")
Condition = Callable[[Graph], None]
Observe = Callable[[int, "Pass", Graph], None]


@dataclass(frozen=True)
class Pass:
    """A named graph-to-graph function with its options; calling it checks, runs, verifies and checks again."""

    name: str
    function: Callable[..., Graph]
    options: tuple[tuple[str, Any], ...] = ()
    requires: tuple[Condition, ...] = ()
    ensures: tuple[Condition, ...] = ()

    def __call__(self, graph: Graph) -> Graph:
        for condition in self.requires:
            condition(graph)
        result = verify(self.function(graph, **dict(self.options)))
        for condition in self.ensures:
            try:
                condition(result)
            except NpuqError as error:
                raise PassError(f"{self.name} broke its promise: {error}") from None
        return result

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={_brief(value)}" for name, value in self.options)
        return f"{self.name}{{{shown}}}" if shown else self.name


@dataclass(frozen=True)
class Pipeline:
    """Passes in a row; itself callable like one."""

    passes: tuple[Pass, ...]

    def __call__(self, graph: Graph, *, observe: Observe | None = None) -> Graph:
        for index, pass_ in enumerate(self.passes):
            try:
                graph = pass_(graph)
            except Exception as error:
                error.add_note(f"in pass {index}, {pass_.name}, of: {self}")
                raise
            if observe is not None:
                observe(index, pass_, graph)
        return graph

    def __str__(self) -> str:
        return " | ".join(map(str, self.passes))


CATALOGUE: dict[str, Callable[..., Pass]] = {}
"""Every pass factory by its name, in the order of import; `npuq passes` lists it."""


def graph_pass(
    name: str, *, requires: tuple[Condition, ...] = (), ensures: tuple[Condition, ...] = ()
) -> Callable[[Callable[Concatenate[Graph, P], Graph]], Callable[P, Pass]]:
    """Turn `f(graph, *, option=...)` into a typed factory of `Pass` values that keeps the docstring."""

    def decorate(function: Callable[Concatenate[Graph, P], Graph]) -> Callable[P, Pass]:
        signature = inspect.signature(function)
        defaults = {key: parameter.default for key, parameter in list(signature.parameters.items())[1:]}

        @functools.wraps(function)
        def factory(*arguments: P.args, **options: P.kwargs) -> Pass:
            assert not arguments, "options are given by name"
            unknown = set(options) - set(defaults)
            if unknown:
                raise PassError(
                    f"{name} has no option {', '.join(sorted(unknown))}; it has {', '.join(defaults) or 'none'}"
                )
            given = tuple((key, value) for key, value in options.items() if value is not defaults[key])
            return Pass(name, function, given, requires, ensures)

        CATALOGUE[name] = factory
        return factory

    return decorate


def chain(*passes: Pass | Pipeline) -> Pipeline:
    """Compose passes and pipelines into one pipeline."""
    flat: list[Pass] = []
    for part in passes:
        flat.extend(part.passes if isinstance(part, Pipeline) else (part,))
    return Pipeline(tuple(flat))


def dump_to(folder: str | Path) -> Observe:
    """An observer that writes `NN-pass.ir` after each pass, and the arrays that the texts name into `blobs/`."""
    folder = Path(folder)

    def write(index: int, pass_: Pass, graph: Graph) -> None:
        save_text(graph, folder / f"{index:02d}-{pass_.name}.ir")

    return write


def save_text(graph: Graph, path: str | Path) -> None:
    """Write a graph's text to `path` and its arrays to `blobs/DIGEST.npy` beside it, each once."""
    path = Path(path)
    store = path.parent / "blobs"
    store.mkdir(parents=True, exist_ok=True)
    for digest, array in blobs(graph).items():
        target = store / f"{digest}.npy"
        if not target.exists():
            np.save(target, array.view(np.int8) if array.dtype.name == "int4" else array, allow_pickle=False)
    path.write_text(to_text(graph), encoding="utf-8")


def _brief(value: object) -> str:
    text = str(value) if isinstance(value, (str, int, float, bool, tuple)) else type(value).__name__
    return text if len(text) <= 40 else text[:37] + "..."
