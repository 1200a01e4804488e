"""The problems that prevent the translation of a model, with all their locations."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from npuq.ir import Graph, NpuqError, one_line

DAMAGE = (
    ArithmeticError,
    AttributeError,
    LookupError,
    MemoryError,
    RecursionError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""The errors of NumPy, protobuf, JAX and converters on damaged models."""


@dataclass(frozen=True, slots=True)
class Problem:
    """One operator and one reason why nodes cannot be translated, with all locations and the remedy."""

    operator: str
    nodes: tuple[str, ...]
    reason: str
    remedy: str = ""

    @property
    def count(self) -> int:
        return len(self.nodes)

    def __str__(self) -> str:
        more = f" and {self.count - 1} more" if self.count > 1 else ""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.nodes[0]}{more}: {self.operator}: {self.reason}{remedy}"


@dataclass(slots=True)
class Problems:
    """Problems of the model `label` in order: operator, location, reason and remedy."""

    label: str
    found: list[tuple[str, str, str, str]] = field(default_factory=list)
    cause: Exception | None = None

    def __bool__(self) -> bool:
        return bool(self.found)

    def note(self, operator: str, place: str, reason: str, remedy: str = "") -> None:
        self.found.append((operator, place, reason, remedy))

    @contextmanager
    def noted(self, operator: str, place: str, damage: str = "damaged: ") -> Iterator[None]:
        """Add an error raised inside the context, and go on; `damage` is the prefix of the reason for `DAMAGE`."""
        try:
            yield
        except NpuqError as error:
            self.note(operator, place, str(error).removeprefix(f"{place}: ").removeprefix(f"{operator}: "))
        except DAMAGE as error:
            self.note(operator, place, f"{damage}{one_line(error)}")
            self.cause = error

    def listed(self) -> list[Problem]:
        """Group the problems by operator, reason and remedy."""
        places: dict[tuple[str, str, str], list[str]] = {}
        for operator, place, reason, remedy in self.found:
            places.setdefault((operator, reason, remedy), []).append(place)
        return [Problem(operator, tuple(nodes), reason, remedy) for (operator, reason, remedy), nodes in places.items()]

    def error(self) -> NpuqError:
        problems = self.listed()
        many = f"{self.label}: {len(problems)} problems: " if len(problems) > 1 else ""
        return NpuqError(one_line(NpuqError(many + "; ".join(map(str, problems)))))


Outcome = tuple[Problems, Graph | None]
"""What a frontend makes of a source: its problems, and a graph if there are none."""
