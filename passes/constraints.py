"""The limits of an NPU: each is a function whose docstring is the rule and whose result is a reason or None.

`docs/targets.md` prints the docstrings. A program that gives a reason is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator

from npuq.ir import Constant, DType, Graph, Node
from npuq.ir.arithmetic import within
from npuq.ir.ops.conv import Conv, ConvTranspose
from npuq.ir.ops.npu.interpolate import Interpolate
from npuq.ir.ops.npu.norm import LARGEST_BIAS, WIDE_BITS, Normalized
from npuq.ir.ops.npu.pointwise import Lut, Softmax
from npuq.ir.ops.npu.recurrent import Recurrent
from npuq.ir.ops.npu.result import Accumulating, Clamped, Integer, Weighted
from npuq.ir.ops.npu.softmax import SoftmaxFixed
from npuq.ir.ops.npu.window import Conv2d
from npuq.ir.ops.quant import Quantize
from npuq.ir.ops.shape import Reshape, Transpose

from .intervals import accumulator_proven, value_bounds
from .precision import width_of
from .target import Target, weight_range

Constraint = Callable[[Graph, Node, Target], "str | None"]

LAYOUTS = (Transpose, Reshape)


def supported_op(graph: Graph, node: Node, target: Target) -> str | None:
    """The op is one of the target's `integer_ops`; all others run on the host."""
    if node.op.name in target.integer_ops:
        return None
    return f"{target.name} has no such op; it has {', '.join(target.integer_ops)}"


def no_floats(graph: Graph, node: Node, target: Target) -> str | None:
    """Operands and results are integers or bools; floats run on the host."""
    for name in (*node.operands, *node.results):
        if graph.types[name].dtype.is_float:
            return f"%{name} is {graph.types[name]}, an integer type wanted"
    return None


def few_axes(graph: Graph, node: Node, target: Target) -> str | None:
    """Operands and results have at most `max_rank` axes."""
    for name in (*node.operands, *node.results):
        if graph.types[name].rank > target.max_rank:
            return f"%{name} has {graph.types[name].rank} axes, at most {target.max_rank} wanted"
    return None


def activations_fit(graph: Graph, node: Node, target: Target) -> str | None:
    """A quantized result has one scale, a width's `activation_dtype` (i32 before a norm), zero point 0 if symmetric."""
    for name, type_ in zip(node.results, node.types, strict=True):
        if type_.quant is None or (type_.dtype is DType.I32 and _normalized_soon(graph, name)):
            continue
        width = target.width_of(type_.dtype)
        if width is None or type_.quant.axis is not None:
            dtypes = " or ".join(width.activation_dtype for width in target.widths)
            return f"%{name} is {type_}, one scale and {dtypes} wanted"
        if width.symmetric and type_.quant.zero_point:
            return f"%{name} has the zero point {type_.quant.zero_point}, 0 wanted at a symmetric width"
    return None


def _normalized_soon(graph: Graph, name: str) -> bool:
    """Whether only sums and normalizations read a value, a change of its layout aside."""
    return name not in graph.returned and all(
        _normalized_soon(graph, user.result) if isinstance(user.op, LAYOUTS) else _wide_operands(user) > 0
        for user in graph.users[name]
    )


def wide_operands_fit(graph: Graph, node: Node, target: Target) -> str | None:
    """An op clamps operands of i32 to 20 bits, which leaves room for their sums."""
    limit = 1 << (WIDE_BITS - 1)
    for name in node.operands[: _wide_operands(node)]:
        if graph.types[name].dtype is not DType.I32:
            continue
        while name in graph.producers and isinstance(graph.producers[name].op, LAYOUTS):
            name = graph.producers[name].operands[0]
        op = graph.producers[name].op if name in graph.producers else None
        if not isinstance(op, (Clamped, Quantize)) or not within((op.low, op.high), (-limit, limit - 1)):
            return f"operand %{name} of i32 is not clamped to [{-limit}, {limit - 1}]"
    return None


def clamp_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """A clamp of activations stays inside the `activation_range` of its width."""
    op = node.op
    if not isinstance(op, Clamped) or (width := target.width_of(op.dtype)) is None:
        return None
    low, high = width.activation_range
    return None if low <= op.low <= op.high <= high else f"clamp [{op.low}, {op.high}], within [{low}, {high}] wanted"


def weights_fit(graph: Graph, node: Node, target: Target) -> str | None:
    """Weights are constants of the width's `weight_dtypes`, without the least integer, scaled per channel or tensor."""
    if not isinstance(node.op, Weighted):
        return None
    constant = graph.constants.get(node.operands[1])
    dtypes = width_of(graph, node, target).weight_dtypes
    if constant is None or constant.type.dtype not in dtypes:
        return f"weights %{node.operands[1]} are not constants of type {' or '.join(dtypes)}"
    quant = constant.type.quant
    if target.weight_granularity == "tensor" and quant is not None and len(set(quant.scales)) > 1:
        return f"weights %{node.operands[1]} have {len(quant.scales)} scales, one wanted"
    return _outside("weights", constant, weight_range(constant.type.dtype))


def bias_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """A bias is a constant of at most the `bias_bits` of its data's width."""
    if not isinstance(node.op, Weighted):
        return None
    constant = graph.constants.get(node.operands[2])
    bits = width_of(graph, node, target).bias_bits
    if constant is None or constant.type.dtype.bits > bits:
        return f"bias %{node.operands[2]} is not a constant of at most {bits} bits"
    return None


def norm_bias_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """The biases of a normalization are constants of magnitude at most 2^59, so that their sums fit 63 bits."""
    if not isinstance(node.op, Normalized):
        return None
    constant = graph.constants.get(node.operands[2])
    if constant is None:
        return f"bias %{node.operands[2]} is computed, a constant wanted"
    low, high = _extremes(constant)
    return None if within((low, high), (-LARGEST_BIAS, LARGEST_BIAS)) else f"biases in [{low}, {high}], beyond 2^59"


def recurrent_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """Weights and biases of a recurrent layer are constants; weights have one of the width's `weight_dtypes`."""
    if not isinstance(node.op, Recurrent):
        return None
    for what, name in zip(("weights", "recurrent weights", "bias"), node.operands[1:4], strict=True):
        if name not in graph.constants:
            return f"{what} %{name} are computed, constants wanted"
    dtypes = width_of(graph, node, target).weight_dtypes
    dtype = graph.types[node.operands[1]].dtype
    return None if dtype in dtypes else f"weights of {dtype}, {' or '.join(dtypes)} wanted"


def window_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """No side of a window is longer than `max_window`."""
    window = getattr(node.op, "window", ())
    if isinstance(node.op, Conv2d):
        window = graph.types[node.operands[1]].shape[:2]
    elif isinstance(node.op, (Conv, ConvTranspose)):
        window = graph.types[node.operands[1]].shape[2:]
    return _at_most(window, target.max_window, "window")


def stride_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """No stride, and no expansion of a transposed convolution, is greater than `max_stride`."""
    strides = (*getattr(node.op, "stride", ()), *getattr(node.op, "expand", ()))
    return _at_most(strides, target.max_stride, "stride")


def dilation_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """No dilation is greater than `max_dilation`."""
    return _at_most(getattr(node.op, "dilation", ()), target.max_dilation, "dilation")


def rounding_matches(graph: Graph, node: Node, target: Target) -> str | None:
    """A requantization rounds by the target's profile, `rounding`, unless its `kernels` use another."""
    wanted = target.rounding_of(node.op.name)
    rounding = getattr(node.op, "rounding", wanted)
    return None if rounding == wanted else f"rounds by {rounding}, {wanted} wanted"


def multiplier_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """Multipliers are constants of `multiplier_bits` bits; only a sum's and a normalization's may be negative."""
    constant, reason = _operand(graph, node, "multiplier")
    if constant is None:
        return reason
    most = (1 << target.multiplier_bits) - 1
    least = -most if isinstance(node.op, Integer) and node.op.signed_multipliers else 0
    return _outside("multipliers", constant, (least, most))


def shift_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """Shifts are constants in `shift_field` + 31; rescalers may be lower by `rescale_pre_shift`."""
    constant, reason = _operand(graph, node, "shift")
    if constant is None:
        return reason
    pre_shifts = isinstance(node.op, Integer) and node.op.pre_shifts
    return _outside("shifts", constant, target.rescale_shift_range if pre_shifts else target.shift_range)


def accumulator_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """Partial sums fit the `accumulator_bits` of their data's width, by the recorded proof; `npu.add` has 64 bits."""
    width = width_of(graph, node, target)
    if not isinstance(node.op, Accumulating) or node.op.sums_have_64_bits:
        return None
    if within(node.op.accumulator, width.accumulator_range):
        return None
    return f"sums of {list(node.op.accumulator)} leave the accumulator's {list(width.accumulator_range)}"


def table_fits(graph: Graph, node: Node, target: Target) -> str | None:
    """Tables are constants with `table_sizes` entries each; exponentials are not negative, the last is positive."""
    constant, reason = _operand(graph, node, "table")
    if constant is None:
        return reason
    if (reason := table_size_fits(constant.type.shape[-1], target)) is not None:
        return reason
    width, array = target.width_of(constant.type.dtype), constant.array
    if isinstance(node.op, (Lut, Interpolate)) and width is not None:
        return _outside("table entries", constant, width.activation_range)
    if isinstance(node.op, (Softmax, SoftmaxFixed)) and (array.min() < 0 or array[..., -1].min() <= 0):
        return "a table of exponentials with negative entries, or without a positive last one"
    return None


CONSTRAINTS: tuple[Constraint, ...] = (
    supported_op,
    no_floats,
    few_axes,
    activations_fit,
    wide_operands_fit,
    clamp_fits,
    weights_fit,
    bias_fits,
    norm_bias_fits,
    recurrent_fits,
    window_fits,
    stride_fits,
    dilation_fits,
    rounding_matches,
    multiplier_fits,
    shift_fits,
    accumulator_fits,
    table_fits,
)


LIMITS: tuple[Constraint, ...] = (few_axes, window_fits, stride_fits, dilation_fits)
"""The limits that hold of a float op as of the integer op that it becomes: what breaks one runs on the host."""


def table_size_fits(entries: int, target: Target) -> str | None:
    """Why the target has no table of so many entries."""
    if entries in target.table_sizes:
        return None
    return f"a table of {entries} entries, {' or '.join(map(str, target.table_sizes)) or 'none'} wanted"


def violations(graph: Graph, target: Target) -> Iterator[str]:
    """One line for each rule that a node of an integer graph breaks on a target; the host's own ops are free."""
    known = value_bounds(graph)
    for node in graph.nodes:
        if node.host:
            if isinstance(node.op, Integer):
                yield f"{node.place}: {node.op.name}: marked for the host, which has no such op"
            continue
        reasons = [reason for constraint in CONSTRAINTS if (reason := constraint(graph, node, target)) is not None]
        if not reasons and (reason := accumulator_proven(graph, node, known)) is not None:
            reasons = [reason]
        yield from (f"{node.place}: {node.op.name}: {reason}" for reason in reasons)


def _wide_operands(node: Node) -> int:
    return node.op.wide_operands if isinstance(node.op, Integer) else 0


def _operand(graph: Graph, node: Node, role: str) -> tuple[Constant | None, str | None]:
    """The constant that stands for an operand by its name in `infer`; None, and maybe why, where there is none."""
    names = list(inspect.signature(node.op.infer).parameters)
    if not isinstance(node.op, Integer) or role not in names:
        return None, None
    operand = node.operands[names.index(role)]
    constant = graph.constants.get(operand)
    return constant, None if constant is not None else f"{role} %{operand} is computed, a constant wanted"


def _extremes(constant: Constant) -> tuple[int, int]:
    array = constant.array if constant.type.dtype.bits > 4 else constant.array.astype("int8")
    return (int(array.min()), int(array.max())) if array.size else (0, 0)


def _outside(what: str, constant: Constant, bounds: tuple[int, int]) -> str | None:
    low, high = _extremes(constant)
    return None if within((low, high), bounds) else f"{what} in [{low}, {high}], within {list(bounds)} wanted"


def _at_most(sizes: tuple[int, ...], most: int, what: str) -> str | None:
    return None if max(sizes, default=0) <= most else f"{what} {'x'.join(map(str, sizes))}, at most {most} wanted"
