"""Errors that say where, what rule, which numbers, and what to do."""

from __future__ import annotations


class NpuqError(Exception):
    """A fault in what the user gave; its one line of text names place, rule, numbers and remedy."""


class RuleError(NpuqError):
    """A broken rule of an op or a graph, raised where the place is not yet known."""


class ParseError(NpuqError):
    """Text or bytes that are not what they claim to be."""


class PassError(NpuqError):
    """A pass that cannot do its work, or that broke its own promise."""


def require(condition: bool, reason: str) -> None:
    """Raise a `RuleError` with `reason` unless `condition` holds."""
    if not condition:
        raise RuleError(reason)


def one_line(error: BaseException) -> str:
    """Give the error's text in one line, whatever it held."""
    text = " ".join(str(error).split())
    return text or type(error).__name__
