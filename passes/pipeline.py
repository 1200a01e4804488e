"""Passes as values: pure functions of a graph that promise what they require and ensure, and chains of them."""

from __future__ import annotations

import functools
import inspect
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Concatenate, ParamSpec, TypeVar, get_type_hints

import numpy as np

from npuq.ir import Graph, NpuqError, PassError, blobs, to_text, verify

from .target import Target, load_target

FOUND: Any = object()
"""The default of an option that a pass takes from the findings of earlier passes."""

P = ParamSpec("P")
T = TypeVar("T")
Condition = Callable[[Graph], None]
AfterPass = Callable[[int, "Pass", Graph], None]
"""Is called with a pass's number, the pass and its graph."""

READERS: dict[Any, tuple[str, Callable[[str], Any]]] = {Target: ("target name or .toml file", load_target)}
"""What text means in an option of this type, and what reads it; other modules add theirs."""


@dataclass(frozen=True)
class Result:
    """A graph, what the passes that made it found, by name, and how many graphs they made."""

    graph: Graph
    findings: Mapping[str, Any] = field(default_factory=dict)
    passes: int = 0

    def get(self, name: str, kind: type[T]) -> T:
        """A finding of a known type."""
        found = self.findings[name]
        assert isinstance(found, kind), name
        return found


@dataclass(frozen=True)
class Pass:
    """A named function of a graph with its options; calling it checks, runs, verifies and checks again.

    Parameters of `function` that are no option here come from the findings of earlier passes. `gives` names what the
    pass itself finds; a pass that `analyzes` finds something and leaves the graph alone.
    """

    name: str
    function: Callable[..., Graph | Result | Mapping[str, Any]]
    options: tuple[tuple[str, Any], ...] = ()
    requires: tuple[Condition, ...] = ()
    ensures: tuple[Condition, ...] = ()
    gives: tuple[str, ...] = ()
    analyzes: bool = False

    def __call__(self, graph: Graph) -> Graph:
        return self.run(Result(graph)).graph

    def run(self, before: Result, *, verified: bool = True) -> Result:
        """Run on a graph with findings; what this pass finds replaces what others found by the same name."""
        for condition in self.requires:
            condition(before.graph)
        found = self.function(before.graph, **self._arguments(before.findings))
        if isinstance(found, Graph):
            found = Result(found)
        elif not isinstance(found, Result):
            found = Result(before.graph, found)
        if set(found.findings) != set(self.gives):
            raise PassError(f"{self.name} broke its promise: it gives {', '.join(found.findings) or 'nothing'}")
        if verified and found.graph is not before.graph:
            verify(found.graph)
        for condition in self.ensures:
            try:
                condition(found.graph)
            except NpuqError as error:
                raise PassError(f"{self.name} broke its promise: {error}") from None
        return Result(found.graph, {**before.findings, **found.findings}, before.passes + (not self.analyzes))

    def _arguments(self, findings: Mapping[str, Any]) -> dict[str, Any]:
        """The options, those given as text read, and the findings that the function has parameters for."""
        read = {name: read_option(self.function, name, value) for name, value in self.options}
        arguments = {name: findings[name] for name in parameters(self.function) if name in findings} | read
        for name, parameter in parameters(self.function).items():
            if name not in arguments and (parameter.default is FOUND or parameter.default is parameter.empty):
                makers = [other for other, factory in CATALOGUE.items() if name in factory().gives]
                remedy = f"give it as an option, or run {makers[0]} before" if makers else "give it"
                remedy += " (--data)" if name == "data" else ""
                raise PassError(f"{self.name}: no {name}; {remedy}")
        return arguments

    def __str__(self) -> str:
        shown = ", ".join(f"{name}={option_text(value)}" for name, value in self.options)
        return f"{self.name}{{{shown}}}" if shown else self.name


@dataclass(frozen=True)
class Pipeline:
    """Passes in a row; itself callable like one."""

    passes: tuple[Pass, ...]

    def __call__(self, graph: Graph, *, after_pass: AfterPass | None = None) -> Graph:
        return self.run(Result(graph), after_pass=after_pass).graph

    def run(self, state: Result, *, after_pass: AfterPass | None = None, verify_each: bool = True) -> Result:
        """Run all passes; each sees the findings in `state` and those of the passes before it.

        `after_pass` is called for each pass that makes a graph. Without `verify_each` only the last graph is verified.
        """
        for index, pass_ in enumerate(self.passes):
            try:
                state = pass_.run(state, verified=verify_each or index + 1 == len(self.passes))
            except Exception as error:
                error.add_note(f"in pass {index}, {pass_.name}, of: {self}")
                raise
            if after_pass is not None and not pass_.analyzes:
                after_pass(state.passes - 1, pass_, state.graph)
        return state

    def __str__(self) -> str:
        return " | ".join(map(str, self.passes))


CATALOGUE: dict[str, Callable[..., Pass]] = {}
"""Every pass factory by its name, in the order of import; `npuq passes` lists it."""


def graph_pass(
    name: str,
    *,
    requires: tuple[Condition, ...] = (),
    ensures: tuple[Condition, ...] = (),
    gives: tuple[str, ...] = (),
    analyzes: bool = False,
) -> Callable[[Callable[Concatenate[Graph, P], Graph | Result | Mapping[str, Any]]], Callable[P, Pass]]:
    """Turn `f(graph, *, option=...)` into a typed factory of `Pass` values that keeps the docstring."""

    def decorate(
        function: Callable[Concatenate[Graph, P], Graph | Result | Mapping[str, Any]],
    ) -> Callable[P, Pass]:
        known = parameters(function)

        @functools.wraps(function)
        def factory(*arguments: P.args, **options: P.kwargs) -> Pass:
            assert not arguments, "options are given by name"
            unknown = set(options) - set(known)
            if unknown:
                raise PassError(
                    f"{name} has no option {', '.join(sorted(unknown))}; it has {', '.join(known) or 'none'}"
                )
            given = tuple((key, value) for key, value in options.items() if not _equal(value, known[key].default))
            return Pass(name, function, given, requires, ensures, gives, analyzes)

        CATALOGUE[name] = factory
        return factory

    return decorate


def parameters(function: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """The parameters of a pass's function behind the graph."""
    return dict(list(inspect.signature(function).parameters.items())[1:])


@functools.cache
def option_types(function: Callable[..., Any]) -> Mapping[str, Any]:
    """The type of each parameter of a pass's function."""
    return get_type_hints(function)


@functools.cache
def option_checks(function: Callable[..., Any]) -> Mapping[str, tuple[Callable[[Any], None], ...]]:
    """The checks of each parameter, which raise `NpuqError`: those in its type, `Annotated[float, require_share]`."""
    hints = get_type_hints(function, include_extras=True)
    return {name: getattr(hint, "__metadata__", ()) for name, hint in hints.items()}


def read_option(function: Callable[..., Any], name: str, value: Any) -> Any:
    """The checked value that an option's text stands for; other values, or those without a reader, as they are."""
    kind = option_types(function)[name] if isinstance(value, str) else None
    read = READERS[kind][1](value) if kind in READERS else value
    for check in option_checks(function)[name]:
        check(read)
    return read


def option_text(value: Any) -> str:
    """Write an option's value as `npuq.passes.parse` reads it; an object that has no text as `<its type>`."""
    if isinstance(value, str | Path):
        return json.dumps(str(value), ensure_ascii=False)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, tuple) and value:
        inner = ", ".join(map(option_text, value))
        return f"({inner},)" if len(value) == 1 else f"({inner})"
    plain = value is None or isinstance(value, bool | int | float | tuple)
    return repr(value).replace("inf", "1e999") if plain else f"<{type(value).__name__}>"


def _equal(value: Any, default: Any) -> bool:
    """Whether an option is at its default; arrays and other objects are compared by identity."""
    plain = isinstance(value, bool | int | float | str) and type(value) is type(default)
    return value is default or (plain and bool(value == default))


def chain(*passes: Pass | Pipeline) -> Pipeline:
    """Compose passes and pipelines into one pipeline."""
    flat: list[Pass] = []
    for part in passes:
        flat.extend(part.passes if isinstance(part, Pipeline) else (part,))
    return Pipeline(tuple(flat))


def dump_to(folder: str | Path) -> AfterPass:
    """An `after_pass` that writes `NN-pass.ir` after each pass, and the arrays that the texts name into `blobs/`."""
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
