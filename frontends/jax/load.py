"""JAX functions to float graphs: translates the jaxpr in order and collects every problem."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

from npuq.ir import Builder, DType, Graph, NpuqError, RuleError, TensorType, require, verify

from ..context import Node
from ..problem import Outcome, Problems
from ..reference import Arrays, Original
from ..specialize import Shapes
from .control import CALLS
from .registry import CONVERTERS, Equation, Known, Result
from .trace import Traced, trace

HOLDERS = (*CALLS, "cond")
"""Primitives whose results are those of their jaxpr."""

LIBRARIES = ("jax", "flax", "npuq", "optax", "contextlib.py", "functools.py")
"""Packages whose lines are not the user's."""


def to_graph(source: Any, shapes: Shapes | None = None, *, inputs: Any = None, weights: Any = None) -> Outcome:
    """Translate a function of JAX arrays, a linen or an nnx module to a float graph with static shapes.

    `inputs` are example inputs: one, a tuple in order, or a dict by name; arrays or `jax.ShapeDtypeStruct`. `weights`
    are a linen module's variables, or the first argument of a function: their leaves become constants with dotted
    paths. Raises `NpuqError` for a function that cannot be traced.
    """
    traced = trace(source, shapes, inputs, weights)
    importer = _Importer(traced.name)
    try:
        return importer.problems, importer.run(traced)
    except RuleError as error:
        raise NpuqError(f"{traced.name}: {error}") from None


def original(source: Any, shapes: Shapes | None = None, *, inputs: Any = None, weights: Any = None) -> Original:
    """The function itself, compiled."""
    traced = trace(source, shapes, inputs, weights)

    def run(arrays: Arrays) -> Arrays:
        results = traced.run(*(arrays[name] for name in traced.inputs))
        return {name: np.asarray(result) for name, result in zip(traced.outputs, results, strict=True)}

    return Original("JAX", run)


class _Importer:
    """The translation of a jaxpr and its inner ones."""

    def __init__(self, label: str) -> None:
        self.label = label
        self.builder = Builder(label)
        self.problems = Problems(label)
        self.stack: tuple[str, ...] = ()

    def run(self, traced: Traced) -> Graph | None:
        given: list[Result | None] = []
        for name, leaf in traced.weights:
            known = not jnp.issubdtype(leaf.dtype, jax.dtypes.extended)
            given.append(Known(np.asarray(leaf), name) if known else None)
        for name, variable in zip(traced.inputs, traced.jaxpr.jaxpr.invars[len(given) :], strict=True):
            type_ = TensorType(DType.of(variable.aval.dtype), tuple(map(int, variable.aval.shape)))
            given.append(self.builder.input(name, type_))
        results = self.inline(traced.jaxpr, given)
        if self.problems:
            return None
        outputs: dict[str, str] = {}
        for name, result, variable in zip(traced.outputs, results, traced.jaxpr.jaxpr.outvars, strict=True):
            outputs[name] = self._whole(result, variable)
        return verify(self.builder.build(outputs))

    def _whole(self, result: Result, variable: Any) -> str:
        """Broadcast a result to its shape in the jaxpr."""
        equation = self._equation("output", {}, [result], [variable], [variable], self.label, "output")
        return equation.full(0)

    def inline(self, jaxpr: Any, operands: Sequence[Result | None]) -> tuple[Result, ...]:
        """Translate a jaxpr over these operands; return its results."""
        inner, constants = getattr(jaxpr, "jaxpr", jaxpr), getattr(jaxpr, "consts", ())
        scope: dict[Any, Result | None] = dict(zip(inner.invars, operands, strict=True))
        scope.update(
            (variable, Known(np.asarray(array), "constant"))
            for variable, array in zip(inner.constvars, constants, strict=True)
        )
        for equation in inner.eqns:
            results = self._results(equation, scope)
            for index, variable in enumerate(equation.outvars):
                scope[variable] = None if results is None else results[index]
        return tuple(self._value(variable, scope) for variable in inner.outvars)  # type: ignore[misc]  # None: a problem is recorded

    def _value(self, variable: Any, scope: dict[Any, Result | None]) -> Result | None:
        if isinstance(variable, jax.extend.core.Literal):
            aval: Any = variable.aval
            return Known(np.asarray(variable.val, aval.dtype), "constant")
        return scope[variable]

    def _results(self, proto: Any, scope: dict[Any, Result | None]) -> tuple[Result, ...] | None:
        """Return the values of an equation's results, or None if it or one of its operands has a problem."""
        primitive, outer = proto.primitive.name, self.stack
        operands = [self._value(variable, scope) for variable in proto.invars]
        self.stack = outer + tuple(
            part for part in str(proto.source_info.name_stack).split("/") if part and "(" not in part
        )
        place = f"{self.label}:{self._place(proto)}"
        results: tuple[Result, ...] | None = None
        with self.problems.noted(primitive, place, damage=""):
            converter = CONVERTERS.get(primitive)
            require(converter is not None, "no converter for this JAX primitive")
            present = [operand for operand in operands if operand is not None]
            if len(present) == len(operands):
                name = ".".join(self._path) or primitive
                equation = self._equation(primitive, proto.params, present, proto.invars, proto.outvars, place, name)
                assert converter is not None
                returned = converter(equation)
                results = returned if isinstance(returned, tuple) else (returned,)
                results = results if primitive in HOLDERS else self._finished(equation, results)
            else:
                require(bool(self.problems), "a random key is read; evaluate the network without randomness")
        self.stack = outer
        return results

    def _finished(self, equation: Equation, results: tuple[Result, ...]) -> tuple[Result, ...]:
        names = equation.finish(tuple(result if isinstance(result, str) else "" for result in results))
        return tuple(name or result for name, result in zip(names, results, strict=True))

    def _equation(
        self, primitive: str, params: Any, operands: Any, invars: Any, outvars: Any, place: str, name: str
    ) -> Equation:
        node = Node(primitive, place, (), (name,) * len(outvars), {})
        shapes = [tuple(map(int, variable.aval.shape)) for variable in invars]
        return Equation(
            self.builder, node, params=params, operands=operands, shapes=shapes, results=outvars, inline=self.inline
        )

    @property
    def _path(self) -> tuple[str, ...]:
        """The modules around an equation, without the outermost one."""
        return self.stack[1:] if self.stack[:1] == (self.label,) else self.stack

    def _place(self, proto: Any) -> str:
        """The location of an equation: its modules, else the user's line."""
        if self._path:
            return "/".join(self._path)
        traceback = proto.source_info.traceback
        for frame in traceback.frames if traceback is not None else ():
            if _is_users(frame.file_name):
                return f"{Path(frame.file_name).name}:{frame.line_num}"
        return str(proto.primitive.name)


@cache
def _is_users(file: str) -> bool:
    return not any(part in LIBRARIES for part in Path(file).parts)
