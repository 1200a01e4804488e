"""Converters of primitives with inner jaxprs: calls are inlined, loops of known length unrolled."""

from __future__ import annotations

from collections.abc import Sequence

from npuq.ir import ops, require

from .registry import Equation, Known, Result, converts

STEPS = 512
"""The longest loop that is unrolled."""


CALLS = ("jit", "closed_call", "core_call", "remat", "remat2", "checkpoint", "custom_jvp_call", "custom_vjp_call")
"""Primitives that only wrap their jaxpr, for training or the compiler."""


@converts(*CALLS)
def call(equation: Equation) -> tuple[Result, ...]:
    """Inline the body; rules for derivatives are dropped."""
    held = (equation.params.get(name) for name in ("jaxpr", "call_jaxpr", "fun_jaxpr"))
    body = next(jaxpr for jaxpr in held if jaxpr is not None)
    return equation.inline(body, equation.operands)


@converts("cond")
def cond(equation: Equation) -> tuple[Result, ...]:
    which = equation.uniform(0)
    require(which is not None, "a branch that is chosen by the inputs; only constant conditions can be translated")
    branches = equation.params["branches"]
    chosen = branches[min(max(int(which or 0), 0), len(branches) - 1)]
    return equation.inline(chosen, equation.operands[1:])


@converts("scan")
def scan(equation: Equation) -> tuple[Result, ...]:
    """Copy the body for each step; join the steps' outputs along a new first axis."""
    params = equation.params
    length, constants, carried = params["length"], params["num_consts"], params["num_carry"]
    require(length <= STEPS, f"a loop of {length} steps, at most {STEPS} are unrolled")
    fixed, carry = equation.operands[:constants], tuple(equation.operands[constants : constants + carried])
    runs = range(constants + carried, len(equation.operands))
    steps: list[Sequence[Result]] = []
    for step in reversed(range(length)) if params["reverse"] else range(length):
        parts = [_step(equation, index, step) for index in runs]
        results = equation.inline(params["jaxpr"], (*fixed, *carry, *parts))
        carry = results[:carried]
        steps.append(results[carried:])
    if params["reverse"]:
        steps.reverse()
    shapes = [equation.result(carried + index).shape for index in range(len(equation.results) - carried)]
    stacked = zip(zip(*steps, strict=True), shapes, strict=True)
    return (*carry, *(_joined(equation, list(parts), shape) for parts, shape in stacked))


def _step(equation: Equation, index: int, step: int) -> Result:
    known, shape = equation.array(index), equation.shapes[index]
    if known is not None:
        return Known(known.array[step], known.name)
    part = equation.sliced(equation.full(index), [range(step, step + 1), *map(range, shape[1:])])
    return equation.reshaped(part, shape[1:])


def _joined(equation: Equation, parts: list[Result], shape: tuple[int, ...]) -> str:
    rows = []
    for part in parts:
        name = part if isinstance(part, str) else equation.builder.constant(part.array, part.name)
        rows.append(equation.reshaped(equation.expanded(name, shape[1:]), (1, *shape[1:])))
    return rows[0] if len(rows) == 1 else equation.add(ops.Concat(axis=0), *rows)
