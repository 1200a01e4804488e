"""Removes control flow at import: selects branches and unrolls loops of known length."""

from __future__ import annotations

from collections import ChainMap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from npuq.ir import Builder, RuleError, ops, require

from ..context import Context, Node, front
from ..problem import Problems

if TYPE_CHECKING:
    from onnx import GraphProto

MOST = 20_000
"""The greatest number of nodes of an unrolled loop."""

Scope = ChainMap[str, "str | None"]
"""The names of the user's values in the new graph; None after a problem."""

Values = Sequence["str | None"]


class Walker(Protocol):
    """The part of the importer that control flow needs."""

    builder: Builder
    sequences: dict[str, tuple[str, ...]]
    problems: Problems

    def graph(self, proto: GraphProto, scope: Scope) -> list[str | None]:
        """Translate a body."""


def if_(walker: Walker, node: Node, bodies: Mapping[str, GraphProto], scope: Scope) -> Values:
    """Return the selected branch's results, or a `where` of both branches' results if the inputs decide.

    If that fails and single numbers among the inputs decide, such as a sampling rate, the error asks to fix these. The
    other branch then need not be supported.
    """
    require({"then_branch", "else_branch"} <= set(bodies), "then_branch and else_branch wanted")
    require(len(node.operands) == 1, f"{len(node.operands)} operands, 1 wanted")
    condition = node.operand(0)
    type_, known = walker.builder.types[condition], walker.builder.constants.get(condition)
    require(type_.size == 1, f"a condition of shape {type_.shape}")
    if known is not None:
        return walker.graph(bodies["then_branch" if known.array.item() else "else_branch"], scope.new_child())
    remedy = fixing(walker.builder, condition)
    found = walker.problems.found
    before = len(found)
    first, second = (walker.graph(bodies[name], scope.new_child()) for name in ("then_branch", "else_branch"))
    if remedy and len(found) > before:
        operator, place, reason, _ = found[before]
        del found[before:]
        raise RuleError(
            f"the inputs decide which branch runs, and one is not translated ({place}: {operator}: {reason}); {remedy}"
        )
    require(len(first) == len(second), f"branches of {len(first)} and {len(second)} results")
    context = Context(walker.builder, node, 0, walker.sequences)
    results: list[str | None] = []
    for one, two in zip(first, second, strict=True):
        if one is None or two is None:
            results.append(None)
            continue
        types = (context.type(one), context.type(two))
        require(
            types[0] == types[1],
            f"its condition is computed from the inputs, but its branches give {types[0]} and {types[1]}; "
            + (remedy or "export the branch that is meant, or branches of one type"),
        )
        flag = condition if not type_.shape else context.add(ops.Reshape(shape=()), condition)
        results.append(one if one == two else context.add(ops.Where(), flag, one, two))
    return _finished(context, results)


def loop(walker: Walker, node: Node, bodies: Mapping[str, GraphProto], scope: Scope) -> Values:
    """Translate the body once per iteration, until the known count or a false condition."""
    body = _body(bodies)
    count, condition = (
        None if name is None else _known(walker, name, what)
        for name, what in ((node.optional(0), "its trip count"), (node.optional(1), "its condition"))
    )
    state: Values = node.operands[2:]
    require(len(body.input) == len(state) + 2, f"a body of {len(body.input)} inputs, {len(state) + 2} wanted")
    require(count is not None or condition is not None, "neither a trip count nor a condition, so the loop never ends")
    if count is not None:
        _require_bounded(int(count), int(count) * len(body.node))
    rows: list[list[str | None]] = []
    going, start = condition is None or bool(condition), len(walker.builder.nodes)
    while going and (count is None or len(rows) < int(count)):
        step = walker.builder.constant(np.asarray(len(rows), np.int64), "iteration")
        flag = walker.builder.constant(np.asarray(True), "going")
        going_on, *results = _iteration(walker, body, (step, flag, *state), scope)
        if going_on is None:
            return [None] * len(results)
        going = node.optional(1) is None or bool(_known(walker, going_on, "its condition"))
        state, row = results[: len(state)], results[len(state) :]
        rows.append(row)
        _require_bounded(len(rows), len(walker.builder.nodes) - start)
    context = Context(walker.builder, node, 0, walker.sequences)
    collected = [_stacked(context, [row[index] for row in rows], 0) for index in range(_scans(body, len(state) + 1))]
    return _finished(context, [*state, *collected])


def scan(walker: Walker, node: Node, bodies: Mapping[str, GraphProto], scope: Scope) -> Values:
    """Translate the body once per slice of the scanned operands."""
    body, scanned = _body(bodies), node.int("num_scan_inputs")
    require(0 < scanned <= len(node.operands), f"num_scan_inputs {scanned} of {len(node.operands)} operands")
    state: Values = node.operands[: len(node.operands) - scanned]
    inputs = [node.operand(index) for index in range(len(state), len(node.operands))]
    outputs = _scans(body, len(state))
    context = Context(walker.builder, node, 0, walker.sequences)
    axes = [
        front(axis, context.type(name).rank)
        for axis, name in zip(node.ints("scan_input_axes", (0,) * scanned), inputs, strict=True)
    ]
    sizes = {context.type(name).shape[axis] for axis, name in zip(axes, inputs, strict=True)}
    require(len(sizes) == 1, f"scanned operands of {sorted(sizes)} slices, one number wanted")
    (count,) = sizes
    _require_bounded(count, count * len(body.node))
    backwards = node.ints("scan_input_directions", (0,) * scanned)
    start, rows = len(walker.builder.nodes), list[list["str | None"]]()
    for step in range(count):
        slices = [
            _slice(context, name, axis, count - 1 - step if turned else step)
            for name, axis, turned in zip(inputs, axes, backwards, strict=True)
        ]
        results = _iteration(walker, body, (*state, *slices), scope)
        state, row = results[: len(state)], results[len(state) :]
        rows.append(row)
        _require_bounded(len(rows), len(walker.builder.nodes) - start)
    context = Context(walker.builder, node, 0, walker.sequences)
    turned_ = node.ints("scan_output_directions", (0,) * outputs)
    collected = [
        _stacked(context, [row[index] for row in (rows[::-1] if turned_[index] else rows)], axis)
        for index, axis in enumerate(node.ints("scan_output_axes", (0,) * outputs))
    ]
    return _finished(context, [*state, *collected])


CONTROL = {"If": if_, "Loop": loop, "Scan": scan}


def fixing(builder: Builder, name: str) -> str:
    """Say how to fix the inputs that decide a value, with the numbers that they are compared to.

    Returns "" if one of them is data: a float or more than one element. Single integers and bools are settings.
    """
    waiting, cone, compared = [name], dict[str, None](), dict[str, Any]()
    while waiting:
        value = waiting.pop()
        if value in cone:
            continue
        cone[value] = None
        maker = builder.producer(value)
        operands = () if maker is None else maker.operands
        numbers = [known.array for one in operands if (known := builder.constants.get(one)) is not None]
        compared[value] = next((array.item() for array in numbers if array.size == 1), compared.get(value))
        for operand in operands:
            compared.setdefault(operand, compared[value])
        waiting += operands
    inputs = {value: builder.inputs[value] for value in cone if value in builder.inputs}
    if any(type_.dtype.is_float or type_.size != 1 for type_ in inputs.values()):
        return ""
    values = {value: 1 if compared[value] is None else int(compared[value]) for value in inputs}
    flags = " ".join(f"--value {value}:{number}" for value, number in values.items())
    return f"fix {', '.join(map(repr, inputs))}, for example: {flags}, or values={values}"


def _body(bodies: Mapping[str, GraphProto]) -> GraphProto:
    require("body" in bodies, "attribute 'body' is missing, a graph wanted")
    return bodies["body"]


def _scans(body: GraphProto, others: int) -> int:
    """The number of a body's collected outputs."""
    require(len(body.output) >= others, f"a body of {len(body.output)} outputs, at least {others} wanted")
    return len(body.output) - others


def _known(walker: Walker, name: str, what: str) -> Any:
    known = walker.builder.constants.get(name)
    require(
        known is not None,
        f"{what} is computed from the inputs, so the number of iterations is not known; "
        + (fixing(walker.builder, name) or "export the model with a fixed number of steps"),
    )
    assert known is not None
    require(known.type.size == 1, f"{what} has the shape {known.type.shape}")
    return known.array.item()


def _iteration(walker: Walker, body: GraphProto, values: Values, scope: Scope) -> list[str | None]:
    require(len(body.input) == len(values), f"a body of {len(body.input)} inputs, {len(values)} wanted")
    inner = scope.new_child()
    inner.update({input_.name: value for input_, value in zip(body.input, values, strict=True)})
    return walker.graph(body, inner)


def _require_bounded(iterations: int, nodes: int) -> None:
    message = f"{iterations} iterations make {nodes} nodes, at most {MOST} are unrolled; export fewer steps at a time"
    require(max(iterations, nodes) <= MOST, message)


def _slice(context: Context, name: str, axis: int, index: int) -> str:
    return context.add(ops.Gather(axis=axis), name, context.constant(np.asarray(index, np.int64), "index"))


def _stacked(context: Context, values: Values, axis: int) -> str | None:
    require(len(values) > 0, "no iteration, so the shape of what it collects is not known")
    known = [value for value in values if value is not None]
    if len(known) < len(values):
        return None
    axis = front(axis, context.type(known[0]).rank + 1)
    return context.add(ops.Concat(axis=axis), *(context.unsqueezed(value, axis) for value in known))


def _finished(context: Context, values: Values) -> Values:
    """Give the results the user's names, unless one has a problem."""
    known = tuple(value for value in values if value is not None)
    return context.finish(known) if len(known) == len(values) else values
