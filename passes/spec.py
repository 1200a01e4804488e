"""Pipelines as text: `fold-constants | insert-fake-quant{target="npu", ranges="scales.json"}`.

pipeline = pass { "|" pass }
pass     = name [ "{" option "=" value { "," option "=" value } "}" ]
value    = a number, a string in quotes, True, False, None, or a tuple of these; 1e999 is infinity
"""

from __future__ import annotations

import ast
import re
import sys
from difflib import get_close_matches
from importlib import import_module
from pkgutil import walk_packages
from types import UnionType
from typing import Any, NoReturn, Union, get_args, get_origin

from npuq.ir import NpuqError, ParseError

from .pipeline import CATALOGUE, FOUND, READERS, Pass, Pipeline, option_text, option_types, parameters, read_option

NAME = re.compile(r"[A-Za-z0-9_-]+")
QUOTED = r""""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"""
VALUE = re.compile(rf"""(?:{QUOTED}|\((?:{QUOTED}|[^()"'])*\)|[^\s,{{}}|"'()])+""")
CONTEXT = 40
"""The characters of a pipeline's text that an error shows on either side of its caret."""


def parse(text: str) -> Pipeline:
    """Read a pipeline; it prints as the same text up to white space and defaults.

    Raises `ParseError` in one line whose caret stands before what is wrong: a pass or an option that there is not, a
    value of another type, a target that cannot be read.
    """
    load_all()
    reader = _Reader(text)
    passes = [reader.pass_()]
    while not reader.at_end():
        reader.expect("|")
        passes.append(reader.pass_())
    return Pipeline(tuple(passes))


def text_of(pipeline: Pipeline) -> str:
    """The text of a pipeline, which `parse` reads; raises `NpuqError` for an option that has none."""
    load_all()
    for pass_ in pipeline.passes:
        for name, value in pass_.options:
            text = option_text(value)
            try:
                _literal(text)
                known = name in options(CATALOGUE[pass_.name])
            except ValueError:
                known = False
            if not known:
                raise NpuqError(
                    f"{pass_.name}: {name}={text} cannot be written as text; leave it out, or run the recipe as it is "
                    "(npuq quantize --recipe)"
                )
    return str(pipeline)


def load_all() -> None:
    """Import every module of this folder, so that the catalogue has every pass."""
    folder = sys.modules[__package__]
    for module in walk_packages(folder.__path__, f"{folder.__name__}."):
        import_module(module.name)


def options(factory: Any) -> dict[str, tuple[str, str]]:
    """The options of a pass that text can give: the type and the default of each, empty where it has none."""
    found = {}
    for name, parameter in parameters(factory).items():
        kinds = _kinds(option_types(factory)[name])
        if kinds:
            wanted = parameter.default is FOUND or parameter.default is parameter.empty
            default = "" if wanted else option_text(parameter.default)
            found[name] = (" or ".join(kinds), default)
    return found


def _kinds(hint: Any) -> list[str]:
    """The names of the types of an option that can be written as text."""
    if hint in READERS:
        return [READERS[hint][0]]
    if get_origin(hint) in (Union, UnionType):
        return [kind for part in get_args(hint) for kind in _kinds(part) if part is not type(None)]
    if get_origin(hint) is tuple:
        inner = _kinds(get_args(hint)[0])
        return [f"tuple of {inner[0]}"] if inner else []
    return [hint.__name__] if hint in (int, float, str, bool) else []


class _Reader:
    """The text and how far it is read."""

    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def pass_(self) -> Pass:
        start, name = self.name("the name of a pass")
        factory = CATALOGUE.get(name)
        if factory is None:
            near = get_close_matches(name, CATALOGUE, n=3)
            self.fail(start, f"there is no pass {name!r}; {_near(near)}npuq passes lists all")
        given: dict[str, Any] = {}
        if self.accept("{"):
            while not self.accept("}"):
                if given:
                    self.expect(",")
                key, value = self.option(name, factory, given)
                given[key] = value
        return factory(**given)

    def option(self, pass_: str, factory: Any, given: dict[str, Any]) -> tuple[str, Any]:
        start, name = self.name("the name of an option")
        known = options(factory)
        if name not in known:
            has = ", ".join(known) or "none"
            self.fail(start, f"{pass_} has no option {name}; it has {has}")
        if name in given:
            self.fail(start, f"{name} is given twice")
        self.expect("=")
        self.skip()
        start = self.at
        found = VALUE.match(self.text, start)
        try:
            value = _literal(found.group()) if found else None
        except ValueError:
            found = None
        if found is None:
            self.fail(start, "a number, a string in quotes, True, False or None wanted")
        self.at = found.end()
        hint = option_types(factory)[name]
        if not _fits(value, str if hint in READERS else hint):
            self.fail(start, f"{name} of {pass_}: {known[name][0]} wanted")
        try:
            read_option(factory, name, value)
        except NpuqError as error:
            self.fail(start, str(error))
        return name, value

    def name(self, wanted: str) -> tuple[int, str]:
        self.skip()
        found = NAME.match(self.text, self.at)
        if found is None:
            self.fail(self.at, f"{wanted} wanted")
        self.at = found.end()
        return found.start(), found.group()

    def accept(self, mark: str) -> bool:
        self.skip()
        found = self.text.startswith(mark, self.at)
        self.at += found
        return found

    def expect(self, mark: str) -> None:
        if not self.accept(mark):
            self.fail(self.at, f"{mark!r} wanted")

    def at_end(self) -> bool:
        self.skip()
        return self.at == len(self.text)

    def skip(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def fail(self, at: int, reason: str) -> NoReturn:
        before, after = self.text[:at], self.text[at:]
        left = before if len(before) <= CONTEXT else f"...{before[-CONTEXT:]}"
        right = after if len(after) <= CONTEXT else f"{after[:CONTEXT]}..."
        raise ParseError(f"{' '.join(f'{left}^{right}'.split())}: {reason}")


def _literal(text: str) -> Any:
    """The value that a literal stands for; ValueError for other text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        raise ValueError(text) from None


def _fits(value: Any, hint: Any) -> bool:
    """Whether a literal is of an option's type; a whole number stands for a float."""
    if get_origin(hint) in (Union, UnionType):
        return any(_fits(value, part) for part in get_args(hint))
    if get_origin(hint) is tuple:
        return isinstance(value, tuple) and all(_fits(item, get_args(hint)[0]) for item in value)
    if hint is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return value is None if hint in (None, type(None)) else hint in (str, bool) and isinstance(value, hint)


def _near(names: list[str]) -> str:
    return f"similar names: {', '.join(names)}; " if names else ""
