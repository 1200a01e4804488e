"""The simulator: runs an integer graph on floats or integers, in batches of any size."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from npuq.ir import Graph, NpuqError, Op, TensorType, compiler_options, evaluate_op, function, parameters
from npuq.ir.ops.quant import Dequantize, Quantize

Inputs = Sequence[Any] | Mapping[str, Any]
Outputs = tuple[np.ndarray, ...]

CACHE = 1 << 20
"""The bytes of a core's cache; larger values run faster one at a time than in groups."""


def simulator(graph: Graph) -> Callable[..., Outputs]:
    """Compile an integer graph into a function, at most twice: for one of its batches and for a group.

    The function takes arrays in order or by name: integers of the inputs' types, or floats, which rule Q1 quantizes.
    The leading axis holds the graph's batch or a multiple of it. It returns NumPy arrays: floats, dequantized by rule
    Q2, or with `raw` the integers.
    """
    known = parameters(graph)
    run = function(graph)
    group = _group(graph)
    single = jax.jit(run, compiler_options=compiler_options())
    many = jax.jit(jax.vmap(run, in_axes=(None, 0)), compiler_options=compiler_options())

    def integers(arrays: Sequence[np.ndarray], count: int) -> list[np.ndarray]:
        if count == 1:
            return [np.asarray(result) for result in single(known, arrays)]
        stacks = [array.reshape(count, *type_.shape) for array, type_ in zip(arrays, graph.input_types, strict=True)]
        if group == 1:
            parts = [single(known, [stack[at] for stack in stacks]) for at in range(count)]
            return [_joined(np.stack(found)) for found in zip(*parts, strict=True)]
        filled = [np.concatenate([stack, stack[:1].repeat(-count % group, 0)]) for stack in stacks]
        parts = [many(known, [stack[at : at + group] for stack in filled]) for at in range(0, count, group)]
        return [_joined(np.concatenate(found)[:count]) for found in zip(*parts, strict=True)]

    def call(*inputs: Any, raw: bool = False, **named: Any) -> Outputs:
        arrays, count = to_edge(graph, named or inputs)
        with jax.enable_x64(True):
            results = integers(arrays, count)
        if raw:
            return tuple(results)
        return tuple(from_edge(result, type_) for result, type_ in zip(results, graph.output_types, strict=True))

    return call


def to_edge(graph: Graph, inputs: Inputs) -> tuple[list[np.ndarray], int]:
    """Convert the inputs for the graph, and count the graph's batches in them."""
    arrays = [np.asarray(array) for array in _in_order(graph, inputs)]
    counts = {_batches(name, array, graph.inputs[name]) for name, array in zip(graph.inputs, arrays, strict=True)}
    if len(counts) > 1:
        raise NpuqError(f"{graph.name}: inputs of {' and '.join(map(str, sorted(counts)))} batches, one number wanted")
    typed = [_typed(name, array, graph.inputs[name]) for name, array in zip(graph.inputs, arrays, strict=True)]
    return typed, counts.pop() if counts else 1


def from_edge(result: np.ndarray, type_: TensorType) -> np.ndarray:
    """Dequantize a result if its type has a scale."""
    return result if type_.quant is None else _evaluate(Dequantize.of(type_.quant), result)


def _group(graph: Graph) -> int:
    """The number of batches that run together: those whose largest accumulators fit a cache."""
    largest = max((math.prod(type_.shape) for node in graph.nodes for type_ in node.types), default=1)
    return next((group for group in (8, 4, 2) if group * 4 * largest <= CACHE), 1)


def _evaluate(op: Op, x: np.ndarray) -> np.ndarray:
    with jax.enable_x64(True):
        return np.asarray(evaluate_op(op, x))


def _in_order(graph: Graph, inputs: Inputs) -> list[Any]:
    if isinstance(inputs, Mapping):
        unknown = sorted(set(inputs) - set(graph.inputs))
        missing = [name for name in graph.inputs if name not in inputs]
        if unknown or missing:
            raise NpuqError(
                f"{graph.name}: no input {(unknown or missing)[0]!r} {'here' if unknown else 'given'}; {_inputs(graph)}"
            )
        return [inputs[name] for name in graph.inputs]
    if len(inputs) != len(graph.inputs):
        raise NpuqError(f"{graph.name}: {len(inputs)} inputs given; {_inputs(graph)}")
    return list(inputs)


def _inputs(graph: Graph) -> str:
    return "it takes " + ", ".join(f"{name}: {type_}" for name, type_ in graph.inputs.items())


def _batches(name: str, array: np.ndarray, type_: TensorType) -> int:
    """The number of the graph's batches in an array."""
    wanted = type_.shape
    fits = array.ndim == len(wanted) and array.shape[1:] == wanted[1:]
    if array.shape == wanted:
        return 1
    if not fits or not wanted or wanted[0] == 0 or array.shape[0] == 0 or array.shape[0] % wanted[0]:
        raise NpuqError(f"input {name}: shape {array.shape}, {wanted} wanted, or a multiple of its first axis")
    return int(array.shape[0] // wanted[0])


def _typed(name: str, array: np.ndarray, type_: TensorType) -> np.ndarray:
    """Convert an array to the input's element type; quantize floats for a quantized input."""
    dtype, quant = type_.dtype.numpy, type_.quant
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise NpuqError(f"input {name}: {int((~np.isfinite(array)).sum())} numbers are NaN or infinite")
    if array.dtype == dtype:
        return array
    if array.dtype.kind not in "fiub" or (array.dtype.kind != "f" and quant is not None):
        raise NpuqError(f"input {name}: {array.dtype} data, {dtype} integers or floats wanted")
    if quant is None:
        if array.dtype.kind == "f" and dtype.kind != "f":
            raise NpuqError(f"input {name}: {array.dtype} data, {dtype} wanted")
        return array.astype(dtype)
    return _evaluate(Quantize.to(type_.dtype, quant), array.astype(np.float32, copy=False))


def _joined(result: np.ndarray) -> np.ndarray:
    """[k, N, ...] as [k * N, ...]; results without an axis stay stacked."""
    return result.reshape(-1, *result.shape[2:]) if result.ndim > 1 else result
