"""Traces a JAX source: its function, its arrays and their names."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np

from npuq.ir import NpuqError, one_line, require

from ..specialize import Shapes


@dataclass(frozen=True, slots=True)
class Traced:
    """A function as a jaxpr; its arguments are the leaves of weights, then of inputs, each with a name."""

    name: str
    jaxpr: Any
    weights: tuple[tuple[str, Any], ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    run: Callable[..., tuple[Any, ...]]


def trace(source: Any, shapes: Shapes | None, inputs: Any, weights: Any) -> Traced:
    """Trace a function, a linen or an nnx module with example inputs, or with shapes of float32 ones."""
    function, state, name, signature = _function(source, weights)
    parameters = [name for name, one in signature.items() if one.kind not in (one.VAR_KEYWORD, one.VAR_POSITIONAL)]
    if inputs is None:
        if not shapes:
            raise NpuqError(f"{name}: example inputs are wanted: npuq.load(f, inputs=x)")
        unknown = [input_ for input_ in shapes if input_ not in parameters]
        require(not unknown, f"there is no argument {', '.join(unknown)}; the arguments are {', '.join(parameters)}")
        inputs = {input_: _struct(shape, np.float32) for input_, shape in shapes.items()}
    elif shapes:
        raise NpuqError(f"{name}: either shapes or example inputs, not both")
    args: tuple[Any, ...] = () if isinstance(inputs, dict) else inputs if isinstance(inputs, tuple) else (inputs,)
    kwargs = inputs if isinstance(inputs, dict) else {}
    args, kwargs = jax.tree.map(_abstract, (args, kwargs))
    try:
        jaxpr, shape = jax.make_jaxpr(function, return_shape=True)(state, *args, **kwargs)
    except Exception as error:  # the user's function may raise anything
        raise NpuqError(f"{name}: cannot be traced: {one_line(error)}") from error
    named = [*({parameter: arg} for parameter, arg in zip(parameters, args, strict=False)), kwargs]
    structure = jax.tree.structure((state, args, kwargs))

    def run(*arrays: Any) -> tuple[Any, ...]:
        leaves = [*jax.tree.leaves(state), *arrays]
        held, positional, keywords = jax.tree.unflatten(structure, leaves)
        return tuple(jax.tree.leaves(jax.jit(function)(held, *positional, **keywords)))

    return Traced(
        name,
        jaxpr,
        tuple(_leaves(state)),
        tuple(path for part in named for path, _ in _leaves(part)),
        tuple(path or "output" for path, _ in _leaves(shape)),
        run,
    )


def _function(source: Any, weights: Any) -> tuple[Callable[..., Any], Any, str, Mapping[str, inspect.Parameter]]:
    """Return a function of (weights, *inputs), the weights, the source's name, and the inputs' parameters."""
    packages = {cls.__module__.partition(".")[0] for cls in type(source).__mro__}
    if "flax" in packages and hasattr(source, "apply"):
        name = source.name or type(source).__name__
        if weights is None:
            raise NpuqError(f"{name}: its variables are wanted: npuq.load(module, inputs=x, weights=variables)")
        return source.apply, weights, name, _parameters(type(source).__call__)
    if "flax" in packages:
        from flax import nnx

        definition, state = nnx.split(source)

        def call(state: Any, *args: Any, **kwargs: Any) -> Any:
            module = nnx.merge(definition, state)
            module.eval()
            return module(*args, **kwargs)

        return call, state, type(source).__name__, _parameters(type(source).__call__)
    if not callable(source):
        raise NpuqError(f"objects of type {type(source).__name__} are not JAX functions")
    name = getattr(source, "__name__", type(source).__name__)
    name = "function" if name == "<lambda>" else name
    parameters = dict(inspect.signature(source).parameters)
    if weights is None:
        return lambda _, *args, **kwargs: source(*args, **kwargs), {}, name, parameters
    parameters.pop(next(iter(parameters)))
    return source, weights, name, parameters


def _parameters(method: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """The parameters of a method, without `self`."""
    return dict(list(inspect.signature(method).parameters.items())[1:])


def _abstract(leaf: Any) -> jax.ShapeDtypeStruct:
    array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
    return _struct(array.shape, jax.dtypes.canonicalize_dtype(array.dtype))


def _struct(shape: Sequence[int], dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(shape), dtype)  # type: ignore[no-untyped-call]  # untyped in JAX


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(".".join(map(_key, path)).removesuffix(".value"), leaf) for path, leaf in jax.tree.leaves_with_path(tree)]


def _key(entry: Any) -> str:
    return str(next(getattr(entry, name) for name in ("key", "idx", "name") if hasattr(entry, name)))
