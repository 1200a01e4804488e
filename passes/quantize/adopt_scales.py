"""A model's own scales and integers on a target."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from npuq.ir import Constant, DType, Graph, Node, NpuqError, Quantization, TensorType

from ..lowering import LOWERINGS, Kind, activations, kind_of
from ..lowering.plan import Held, Plan, plan_of
from ..lowering.reduction import softmax_quantization
from ..lowering.registry import is_weight
from ..pipeline import FOUND, Result, graph_pass
from ..precision import Precision, Precisions
from ..scales import Range, activation_quantization, extremes_of
from ..target import Target, Width, weight_range
from .insert_fake_quant import Scales, bias_quantization, weights_quantization
from .repair_scales import Quants
from .take_scales import Taken

Types = Mapping[str, tuple[TensorType, ...]]
"""The types that values are quantized to, one for each width; the first is that of the op that makes it."""


@dataclass(frozen=True)
class Adoption:
    """The scales that a canonical float graph adopts from a model, and the values without one."""

    taken: Taken
    plan: Plan
    precision: Precisions
    quants: Quants
    missing: tuple[str, ...]
    notes: tuple[tuple[str, str], ...]


@graph_pass("adopt-scales", gives=("scales",))
def adopt_scales(
    graph: Graph,
    *,
    adoption: Adoption = FOUND,
    ranges: Mapping[Held, Range] = FOUND,
    target: Target = FOUND,
) -> Result:
    """Put a quantize/dequantize pair, with its scale, wherever the model of `adoption` had one.

    Unsigned integers become signed ones with another zero point, which changes no real number. Forms that the target
    lacks are quantized anew over the same reals: activations with a zero point at a symmetric width; weights with a
    zero point, or with the least integer. `ranges` holds the (low, high) of the values without a scale.
    """
    scales = adopted_scales(graph, adoption, ranges, target)
    return Result(scales.insert(), {"scales": scales})


def adopt(graph: Graph, taken: Taken, target: Target, bits: int | None = None) -> Adoption:
    """Match a model's scales with the values of its canonical float graph that a target holds as integers.

    Each node has the width of its result's integers; nodes without any have `bits`, by default those of most values.
    Raises `NpuqError` for element types and scales per axis that the target lacks.
    """
    values = _passed_on(graph, {name: types for name, types in taken.values.items() if name in graph.types})
    widths = {name: _width(name, types[0], target) for name, types in values.items()}
    usual = Counter(width.bits for width in widths.values()).most_common(1)
    every = Precision(bits or (usual[0][0] if usual else None))
    nodes = {
        node.results[0]: Precision(widths[node.results[0]].bits) for node in graph.nodes if node.results[0] in widths
    }
    precision = Precisions(every, nodes)
    plan = plan_of(graph, target, precision)
    held = {**plan.held, **{name: (width.bits,) for name, width in widths.items() if name not in plan.held}}
    quants: dict[Held, Quantization] = {}
    notes = []
    for name, types in values.items():
        for width in map(target.width, held[name]):
            own = [type_ for type_ in types if type_.dtype.bits == width.bits]
            quants[name, width.bits], exact = quantization_on((own or types)[0], width)
            if not exact and width is widths[name]:
                notes.append((name, f"its zero point is left out: {target.name} has none"))
    missing = tuple(name for name in held if name not in values and name not in graph.constants)
    order = {name: held[name] for name in graph.types if name in held}
    return Adoption(taken, replace(plan, held=order, wide=frozenset()), precision, quants, missing, tuple(notes))


def _passed_on(graph: Graph, values: Types) -> dict[str, tuple[TensorType, ...]]:
    """The types that values are quantized to, also through ops that move elements: quantizing commutes with these.

    A result has the scale that all its operands share; an operand that nothing else reads has its result's.
    """
    known, before = dict(values), -1
    movers = [
        (node, [name for name in activations(graph, node) if name not in graph.constants])
        for node in graph.nodes
        if kind_of(graph, node) is Kind.MOVE
    ]
    while before < len(known):
        before = len(known)
        for node, operands in movers:
            given = [known[name] for name in operands if name in known]
            kinds = {tuple((type_.dtype, type_.quant) for type_ in types) for types in given}
            if len(given) == len(operands) and len(kinds) == 1:
                known.setdefault(node.results[0], given[0])
            if node.results[0] in known:
                for name in operands:
                    if graph.only_user(name) is node:
                        known.setdefault(name, known[node.results[0]])
        movers.reverse()  # a scale passes on along a whole chain, forward or back
    return known


def _width(name: str, type_: TensorType, target: Target) -> Width:
    width = next((width for width in target.widths if width.bits == type_.dtype.bits), None)
    if width is None or type_.quant is None or type_.quant.axis is not None:
        wanted = " or ".join(str(width.bits) for width in target.widths)
        raise NpuqError(f"%{name}: is quantized to {type_}, but {target.name} has {wanted} bits with one scale")
    return width


def quantization_on(type_: TensorType, width: Width) -> tuple[Quantization, bool]:
    """The quantization of a model's integers at a width, and whether their reals stay equal."""
    quant, dtype = type_.quant, type_.dtype
    assert quant is not None
    zero_point = quant.zero_point - (0 if dtype.is_signed else 1 << (dtype.bits - 1))
    if width.bits == dtype.bits and (zero_point == 0 or not width.symmetric):
        return Quantization.per_tensor(quant.scale, zero_point), True
    low, high = ((limit - quant.zero_point) * quant.scale for limit in dtype.range)
    return activation_quantization((low, high), width), False


def adopted_scales(graph: Graph, adoption: Adoption, ranges: Mapping[Held, Range], target: Target) -> Scales:
    """The model's own scales, and those of `ranges`."""
    taken, plan = adoption.taken, adoption.plan
    quants, notes = dict(adoption.quants), list(adoption.notes)
    for name, widths in plan.held.items():
        for width in widths:
            if (name, width) not in quants:
                quants[name, width] = _rest(graph, taken, ranges.get((name, widths[0])), name, target.width(width))
    weights, dtypes, biases = dict[str, Quantization](), dict[str, DType](), dict[str, np.ndarray]()
    for node in graph.nodes:
        if plan.of(node).kind is not Kind.COMPUTE:
            continue
        for index in filter(partial(is_weight, graph, node), LOWERINGS[type(node.op)].weights):
            name, width_ = node.results[0], target.width(plan.bits[node.results[0]])
            own = taken.integers(graph, node.operands[index], name)
            misfit, bias = None, None
            if own is not None:
                misfit = _misfit(node, own, width_, target)
                bias = None if misfit else _bias(graph, node, taken, own, quants[node.operands[0], width_.bits].scale)
                misfit = misfit or _too_great(bias, width_)
            if own is None or own.type.quant is None or misfit:
                notes += [(node.place, f"its weights are quantized anew: {misfit}")] if misfit else []
                dtypes[name] = width_.weight_dtype()
                weights[name] = weights_quantization(graph, node, dtypes[name], plan, quants, target)
            else:
                dtypes[name], quant = signed(own.type.dtype), own.type.quant
                weights[name] = replace(quant, zero_points=(0,) * len(quant.scales))
                if bias is not None and not np.issubdtype(bias.dtype, np.floating):
                    biases[name] = bias
    return Scales(graph, plan, quants, weights, dtypes, target, tuple(notes), biases)


def _bias(graph: Graph, node: Node, taken: Taken, weights: Constant, x_scale: float) -> np.ndarray | None:
    """A node's bias in steps of its sums: the model's integers if their scales are those of the sums, else reals."""
    index = LOWERINGS[type(node.op)].bias
    if index is None or index >= len(node.operands) or weights.type.quant is None:
        return None
    name = node.operands[index]
    own, array = taken.integers(graph, name, node.results[0]), graph.constants[name].array
    quant = bias_quantization(weights.type.quant, x_scale, array.size)
    if own is not None and own.type.quant is not None:
        scales = own.type.quant.scales * (1 if own.type.quant.axis is not None else array.size)
        if scales == quant.scales and not any(own.type.quant.zero_points):
            return own.array
    steps: np.ndarray = array.astype(np.float64) / np.asarray(quant.scales)
    return steps


def _too_great(bias: np.ndarray | None, width: Width) -> str | None:
    """The reason why weights cannot keep their scales, which are also those of their bias."""
    low, high = width.bias_dtype.range
    fits = bias is None or (bias.min(initial=0) >= low and bias.max(initial=0) <= high)
    return None if fits else f"their bias takes more than {width.bias_bits} bits"


def _misfit(node: Node, own: Constant, width: Width, target: Target) -> str | None:
    """The reason why the target cannot use the integers of a model's weights."""
    quant, dtype, lowering = own.type.quant, signed(own.type.dtype), LOWERINGS[type(node.op)]
    assert quant is not None
    shift = own.type.dtype.range[0] - dtype.range[0]
    ((_, channels),) = lowering.weights.items()
    if dtype not in width.weight_dtypes:
        return f"they are {own.type.dtype}"
    if set(quant.zero_points) != {shift}:
        return "they have a zero point"
    if int(own.array.astype(np.int64).min()) - shift < weight_range(dtype)[0]:
        return f"they hold {dtype.range[0]}"
    if quant.axis not in (None, channels) or (quant.axis is not None and target.weight_granularity != "channel"):
        return f"they have scales on axis {quant.axis}"
    return None


def signed(dtype: DType) -> DType:
    """The signed element type of as many bits."""
    return dtype if dtype.is_signed else DType(f"i{dtype.bits}")


def _rest(graph: Graph, taken: Taken, range_: Range | None, name: str, width: Width) -> Quantization:
    """The scale of a value that has none in the model."""
    constant, own = graph.constants.get(name), taken.integers(graph, name)
    if own is not None and own.type.dtype.bits == width.bits and own.type.quant and own.type.quant.axis is None:
        return quantization_on(own.type, width)[0]
    if constant is not None:
        return activation_quantization(extremes_of(constant.array), width)
    maker = graph.producers.get(name)
    if maker is not None and maker.op.name == "softmax":
        return softmax_quantization(width)
    assert range_ is not None, name
    return activation_quantization(range_, width)
