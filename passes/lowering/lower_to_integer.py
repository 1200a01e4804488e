"""Lowering: a fake-quant graph becomes an integer graph, with host segments for what the target lacks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Annotated

from npuq.ir import Builder, Graph, Node, NpuqError, TensorType, verify
from npuq.ir.arithmetic import within
from npuq.ir.ops.quant import Dequantize, Quantize

from .. import pipeline
from ..canonical.fold_constants import fold_constants
from ..conditions import no_integer_ops
from ..pipeline import FOUND, chain, graph_pass
from ..target import Target
from . import LOWERINGS, Kind, activations
from .context import Context, Emitted, Result, Values, clamp_of
from .plan import CLAMPS, Role, role
from .pointwise import pointwise, region
from .prove_accumulators import prove_accumulators
from .registry import EMITTERS
from .tables import require_length


@dataclass(frozen=True)
class Lowered:
    """The integer graph of a fake-quant graph `source`, and where each quantized float value lies in it.

    `repairs` (place, repair) are what the target's limits required, `tables` (place, note) the errors of tables.
    """

    source: Graph
    graph: Graph
    values: Mapping[str, Emitted]
    repairs: tuple[tuple[str, str], ...]
    tables: tuple[tuple[str, str], ...] = ()


@graph_pass("lower-to-integer", requires=(no_integer_ops,), gives=("lowered",))
def lower_to_integer(
    graph: Graph, *, target: Target = FOUND, lut_len: Annotated[int | None, require_length] = None
) -> pipeline.Result:
    """Replace what stands between dequantize and quantize by integer ops; graph inputs and outputs become integers.

    16-bit functions are interpolated in tables of 2^`lut_len` + 1 entries; None chooses table by table.
    """
    lowered = lower(graph, target, lut_len)
    return pipeline.Result(lowered.graph, {"lowered": lowered})


def lower(graph: Graph, target: Target, lut_len: int | None = None) -> Lowered:
    """Lower a graph: `lower_to_integer` as a function."""
    require_length(lut_len, target)
    values = Values(graph, target, Builder(graph.name, reserved=set(graph.producers)), lut_len)
    finish = chain(fold_constants(), prove_accumulators(target=target))
    integers = finish(verify(_Lowering(values).run()))
    found = {
        node.operands[0]: emitted
        for node in graph.nodes
        if isinstance(node.op, Quantize) and not values.is_dequantized(node.operands[0])
        if (emitted := values.emitted(node.result)) is not None and emitted.name in integers.types
    }
    return Lowered(graph, integers, found, tuple(dict.fromkeys(values.repairs)), tuple(values.tables))


@dataclass
class _Lowering:
    """One run of the pass."""

    values: Values
    floats: dict[str, str] = field(default_factory=dict)
    roles: dict[str, Role] = field(default_factory=dict)

    def run(self) -> Graph:
        graph, builder = self.values.source, self.values.builder
        self.roles = _roles(graph, self.values.target)
        for name, type_ in graph.inputs.items():
            self.input(name, type_)
        for node in graph.nodes:
            if isinstance(node.op, Quantize) and node.operands[0] not in graph.inputs:
                self.quantize(node)
        outputs = {name: self.output(value) for name, value in graph.outputs.items()}
        return builder.build(outputs)

    def input(self, name: str, type_: TensorType) -> None:
        """Add a graph input: integers where all its users quantize it in the same way."""
        users = self.values.source.users[name]
        builder = self.values.builder
        if type_.quant is not None:
            self.values.give(name, Emitted(builder.input(name, type_), last=False))
            return
        if users and all(isinstance(user.op, Quantize) for user in users) and len({user.types for user in users}) == 1:
            builder.input(name, users[0].type)
            for user in users:
                self.values.give(user.result, Emitted(name, last=False))
            return
        self.floats[name] = builder.input(name, type_)
        for user in users:
            if isinstance(user.op, Quantize):
                self.edge(user)

    def quantize(self, node: Node) -> None:
        """Emit the integer op that ends in this quantize, or the end of a host segment where there is none."""
        core, result = self.core(node)
        if core is None:
            self.edge(node)
            return
        if isinstance(core.op, Dequantize):
            self.values.give(node.result, self.converted(core, replace(result, name=node.result)))
            return
        try:
            self.values.give(node.result, self.emit(core, result))
        except NpuqError as error:
            raise type(error)(f"{core.place}: {error}" if core.place not in str(error) else str(error)) from None

    def emit(self, core: Node, result: Result) -> Emitted:
        """Emit the integer form of a node."""
        emit = pointwise if self.role(core).kind is Kind.POINTWISE else EMITTERS[type(core.op)]
        return emit(Context(**vars(self.values), node=core, result=result), core.op)

    def core(self, node: Node) -> tuple[Node | None, Result]:
        """The node with an integer form whose clamped result is quantized here, and what it must produce."""
        graph, op = self.values.source, node.op
        assert isinstance(op, Quantize)
        core = graph.producers[node.operands[0]]
        loc = core.loc or node.loc
        result = Result.of(node, loc)
        if self.is_conversion(core, op) or self.lowerable(core):
            return core, result
        low, high = op.low, op.high
        inner = core
        while isinstance(inner.op, CLAMPS) and graph.only_user(inner.operands[0]) is inner:
            least, greatest = clamp_of(inner, op.quant, low, high)
            low, high = max(low, least), min(high, greatest)
            producer = graph.producers.get(inner.operands[0])
            if producer is None:
                break
            inner = producer
            if self.lowerable(inner) and self.role(inner).kind is Kind.COMPUTE:
                return inner, replace(result, low=low, high=max(low, high), loc=inner.loc or loc)
        return None, result

    def is_conversion(self, core: Node, op: Quantize) -> bool:
        """Whether a quantize gives integers another scale or width, one of each for all elements."""
        integers = self.values.source.types[core.operands[0]] if isinstance(core.op, Dequantize) else None
        if integers is None or core.operands[0] in self.values.source.constants:
            return False
        return op.axis is None and integers.dtype.bits <= 32 and core.op.axis is None  # type: ignore[attr-defined]

    def converted(self, core: Node, result: Result) -> Emitted:
        """The integers behind a dequantize at another scale or width, in the layout that exists."""
        emitted = self.values.emitted(core.operands[0])
        assert emitted is not None
        old = self.values.builder.types[emitted.name]
        whole = within(old.dtype.range, (result.low, result.high))
        if whole and (old.quant, old.dtype) == (result.quant, result.dtype):
            return emitted
        return Emitted(self.values.rescaled(emitted.name, result), emitted.last)

    def lowerable(self, node: Node) -> bool:
        """Whether a node has an integer form and all its data are integers."""
        kind = self.role(node).kind
        graph = self.values.source
        if kind is Kind.HOST:
            return False
        if kind is Kind.POINTWISE:
            found = region(graph, node.result)
            return found is not None and all(self.role(one).kind is Kind.POINTWISE for one in found[0])
        lowering = LOWERINGS[type(node.op)]
        wanted = [*activations(graph, node), *(node.operands[i] for i in lowering.parameters if i < len(node.operands))]
        return all(self.values.is_dequantized(operand) for operand in wanted)

    def role(self, node: Node) -> Role:
        return self.roles[node.results[0]]

    def edge(self, node: Node) -> None:
        """Quantize a value that the host makes."""
        value = self.float(node.operands[0])
        name = self.values.builder.add(node.op, value, name=node.result, loc=node.loc, host=HOST_EDGE)
        self.values.give(node.result, Emitted(name, last=False))

    def float(self, value: str) -> str:
        """The float value on the host: dequantized where the NPU computes it, else computed there."""
        if value in self.floats:
            return self.floats[value]
        graph, builder = self.values.source, self.values.builder
        if value in graph.constants:
            self.floats[value] = builder.constant(graph.constants[value], value)
        elif isinstance((node := graph.producers[value]).op, Dequantize):
            integers = self.values.take(value)
            self.floats[value] = builder.add(node.op, integers, name=value, loc=node.loc, host=HOST_EDGE)
        else:
            operands = tuple(self.float(operand) for operand in node.operands)
            reason = node.host or self.role(node).reason or "an operand has no scale"
            results = builder.copy(replace(node, host=reason), operands)
            self.floats.update(zip(node.results, results, strict=True))
        return self.floats[value]

    def output(self, value: str) -> str:
        """A graph output: integers where the NPU makes it, else the host's float."""
        graph = self.values.source
        node = graph.producers.get(value)
        if node is not None and isinstance(node.op, Dequantize):
            return self.values.take(value)
        if node is not None and self.role(node).kind is Kind.INDEX and self.lowerable(node):
            quant, dtype = self.values.quant(node.operands[0]), self.values.dtype(node.operands[0])
            return self.emit(node, Result(quant, dtype, 0, 0, value, node.loc)).name
        return self.float(value)


def _roles(graph: Graph, target: Target) -> dict[str, Role]:
    """The role of every node by its first result, at the width of the integers that it comes from."""
    bits: dict[str, int] = {}
    found: dict[str, Role] = {}
    for node in graph.nodes:
        width = target.width_of(graph.types[node.operands[0]].dtype) if isinstance(node.op, Dequantize) else None
        read = (bits[operand] for operand in node.operands if operand in bits)
        own = width.bits if width is not None else next(read, target.default_bits)
        found[node.results[0]] = role(graph, node, target, own)
        if not isinstance(node.op, Dequantize) or node.operands[0] not in graph.constants:
            bits.update(dict.fromkeys(node.results, own))
    return found


HOST_EDGE = "at the edge of a host segment"
