"""What passes require and ensure: named claims about a graph that raise where they do not hold."""

from __future__ import annotations

from collections.abc import Callable

from npuq.ir import Graph, Node, NpuqError
from npuq.ir.ops.elementwise import Identity
from npuq.ir.ops.norm import BatchNorm
from npuq.ir.ops.npu.result import Integer
from npuq.ir.ops.quant import Dequantize, Quantize

FLOAT_WANTED = "a float graph is wanted, as it is before insert-fake-quant"


def no_identities(graph: Graph) -> None:
    """No op hands its operand on as it is."""
    _refuse(graph, lambda node: isinstance(node.op, Identity), "an identity is left; run drop-identity")


def no_batch_norm(graph: Graph) -> None:
    """No batch normalization with known parameters is left."""
    _refuse(
        graph,
        lambda node: isinstance(node.op, BatchNorm) and all(name in graph.constants for name in node.operands[1:]),
        "a batch_norm with constant parameters is left; run fuse-batch-norm",
    )


def no_dead_code(graph: Graph) -> None:
    """Every node and every constant helps to compute an output."""
    needed = set(graph.outputs.values())
    for node in reversed(graph.nodes):
        if not needed.intersection(node.results):
            raise NpuqError(f"{node.place}: {node.op.name}: no output needs it; run drop-dead-code")
        needed.update(node.operands)
    for name in graph.constants:
        if name not in needed:
            raise NpuqError(f"{graph.name}: no output needs the constant %{name}; run drop-dead-code")


def is_float(graph: Graph) -> None:
    """No value is quantized and nothing quantizes: the level that the frontends give."""
    _refuse(graph, lambda node: isinstance(node.op, (Quantize, Dequantize)), FLOAT_WANTED)
    for name, type_ in graph.types.items():
        if type_.quant is not None:
            raise NpuqError(f"{graph.name}: %{name} is {type_}: {FLOAT_WANTED}")


def no_integer_ops(graph: Graph) -> None:
    """No op computes integers: the levels before lower-to-integer."""
    _refuse(
        graph,
        lambda node: isinstance(node.op, Integer),
        "a graph with quantize and dequantize is wanted, as it is before lower-to-integer",
    )


def _refuse(graph: Graph, broken: Callable[[Node], bool], reason: str) -> None:
    for node in graph.nodes:
        if broken(node):
            raise NpuqError(f"{node.place}: {node.op.name}: {reason}")
