"""What an op is, and the registry that finds one by its name."""

from __future__ import annotations

import math
import sys
import types
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, dataclass, fields
from functools import cache
from typing import Any, ClassVar, Literal, TypeVar, Union, dataclass_transform, get_args, get_origin, get_type_hints

import jax

from .errors import RuleError, require
from .types import DType, TensorType

Types = tuple[TensorType, ...]
Arrays = tuple[jax.Array, ...]
Bounds = tuple[float, float]
"""A lower and an upper bound of every element; of integers these are ints."""

UNBOUNDED: Bounds = (-math.inf, math.inf)
T = TypeVar("T")
Attribute = Any  # int, float, bool, str, None, DType, or a tuple of these: whatever an op's field says


class Op:
    """One operation: a frozen dataclass whose fields are its attributes and whose methods are its whole meaning.

    `infer` gives the result types from the operand types and raises `RuleError` where they do not fit; the verifier
    calls it again. `evaluate` computes the results from arrays with JAX; an op whose `infer` gives a tuple of types
    gives a tuple of arrays. The other methods are the traits that passes and backends ask for.
    """

    __slots__ = ()
    name: ClassVar[str]
    image: ClassVar[Bounds] = UNBOUNDED
    """The bounds of the results for any operands."""
    function: ClassVar[Callable[..., jax.Array]]
    """The function of the decorator, which `evaluate` calls."""

    def infer(self, *operands: Any) -> TensorType | Types:
        raise NotImplementedError

    def evaluate(self, *operands: Any) -> Any:
        return self.function(*operands)

    def moved(self, operands: Sequence[T]) -> Sequence[T]:
        """Those of the operands whose elements the results consist of; none where the op computes new elements."""
        return ()

    def bounds(self, *operands: Any) -> Bounds:
        """The bounds of the results, given those of the operands."""
        moved = self.moved(operands)
        return hull(*moved) if moved else self.image

    def macs(self, *operands: Any) -> int:
        """The number of products of two operands' elements; raises `RuleError` for an op that does not define it."""
        require(len(self.moved(operands)) > 0, f"{self.name} does not define its number of products")
        return 0

    @property
    def attributes(self) -> dict[str, Attribute]:
        """The fields that differ from their defaults, by name."""
        found: dict[str, Attribute] = {}
        for field in fields(self):  # type: ignore[arg-type]  # every registered op is a dataclass
            value = getattr(self, field.name)
            if field.default is MISSING or value != field.default:
                found[field.name] = value
        return found


class Movement(Op):
    """An op whose results consist of elements of its first operand."""

    __slots__ = ()

    def moved(self, operands: Sequence[T]) -> Sequence[T]:
        return operands[:1]


def no_products(op: Op, *operands: Any) -> int:
    """The `macs` of an op that multiplies no two operands."""
    return 0


def hull(*bounds: Bounds) -> Bounds:
    """The bounds of the elements of several values together."""
    return min(low for low, _ in bounds), max(high for _, high in bounds)


_REGISTRY: dict[str, type[Op]] = {}
O = TypeVar("O", bound=Op)  # noqa: E741  # the usual letter for "an op"


@dataclass_transform(kw_only_default=True, frozen_default=True)
def op(name: str, function: Callable[..., jax.Array] | None = None) -> Callable[[type[O]], type[O]]:
    """Make a class a frozen dataclass and register it under its name in the text IR; `function` computes it."""

    def register(cls: type[O]) -> type[O]:
        assert name not in _REGISTRY, name
        cls = dataclass(frozen=True, kw_only=True, slots=True)(cls)
        cls.name = name
        if function is not None:
            cls.function = staticmethod(function)
        _REGISTRY[name] = cls
        return cls

    return register


def define(
    kind: type[O],
    name: str,
    function: Callable[..., jax.Array],
    meaning: str,
    image: Bounds = UNBOUNDED,
    **traits: bool,
) -> type[O]:
    """Register an op of a kind that adds no attributes: its docstring is `meaning`, `traits` are class variables."""
    title = "".join(map(str.capitalize, name.split("_")))
    module = sys._getframe(1).f_globals["__name__"]  # the caller's, as of a named tuple
    cls: type[O] = type(title, (kind,), {"__module__": module, "__doc__": meaning, "image": image, **traits})
    return op(name, function)(cls)


def registry() -> Mapping[str, type[Op]]:
    """All ops by name."""
    return types.MappingProxyType(_REGISTRY)


def make_op(name: str, attributes: Mapping[str, Attribute]) -> Op:
    """Build an op from untrusted attributes: known name, known fields, values of the declared types."""
    require(name in _REGISTRY, f"there is no op named {name!r}")
    cls = _REGISTRY[name]
    hints = attribute_types(cls)
    for key, value in attributes.items():
        require(key in hints, f"{name} has no attribute {key!r}; it has {', '.join(hints) or 'none'}")
        require(_fits(value, hints[key]), f"{name}: {key}={value!r} is not {_spell(hints[key])}")
    for field in fields(cls):  # type: ignore[arg-type]  # every registered op is a dataclass
        missing = field.default is MISSING and field.name not in attributes
        require(not missing, f"{name} lacks the attribute {field.name!r}")
    return cls(**attributes)


def attribute_types(cls: type[Op]) -> Mapping[str, Any]:
    """The declared type of every attribute."""
    return _attribute_types(cls.name)


@cache
def _attribute_types(name: str) -> Mapping[str, Any]:
    cls = _REGISTRY[name]
    hints = get_type_hints(cls)
    return {field.name: hints[field.name] for field in fields(cls)}  # type: ignore[arg-type]  # a dataclass


def results_of(op: Op, operands: Types) -> Types:
    """The result types of an op, always as a tuple; a wrong number of operands is a `RuleError`."""
    try:
        inferred = op.infer(*operands)
    except TypeError as error:
        if "positional argument" not in str(error):
            raise
        raise RuleError(f"{len(operands)} operands do not fit") from None
    return inferred if isinstance(inferred, tuple) else (inferred,)


def _fits(value: Attribute, hint: Any) -> bool:
    origin = get_origin(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, option) for option in get_args(hint))
    if origin is Literal:
        return any(value == option and type(value) is type(option) for option in get_args(hint))
    if origin is tuple:
        if not isinstance(value, tuple):
            return False
        parts = get_args(hint)
        if len(parts) == 2 and parts[1] is Ellipsis:
            return all(_fits(item, parts[0]) for item in value)
        return len(value) == len(parts) and all(map(_fits, value, parts))
    if hint is None or hint is type(None):
        return value is None
    if hint is float:
        return isinstance(value, float)
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool) and abs(value) < 1 << 63
    if hint is DType:
        return isinstance(value, DType)
    if hint is str:
        return isinstance(value, str) and not isinstance(value, DType)
    return isinstance(value, hint)


def _spell(hint: Any) -> str:
    return hint.__name__ if isinstance(hint, type) else str(hint).replace("typing.", "")
