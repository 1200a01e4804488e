"""What a program costs on its target: multiplications, bytes and cycles per instruction."""

from __future__ import annotations

import math
from dataclasses import dataclass

from npuq.ir import Graph, Node
from npuq.ir.ops.npu.result import Integer
from npuq.passes.precision import width_of
from npuq.passes.target import Target

from .contents import Contents


@dataclass(frozen=True, slots=True)
class Cost:
    """One instruction: its MACs, its bytes, and the cycles of each."""

    name: str
    op: str
    place: str
    macs: int
    bytes: int
    compute_cycles: int
    memory_cycles: int

    @property
    def cycles(self) -> int:
        """The greater of both, since they proceed in parallel."""
        return max(self.compute_cycles, self.memory_cycles)

    @property
    def bound(self) -> str:
        """The slower of the two: "compute" or "memory"."""
        return "compute" if self.compute_cycles >= self.memory_cycles else "memory"


@dataclass(frozen=True, slots=True)
class CostTable:
    """The cost of every instruction in order; host instructions count nothing."""

    rows: tuple[Cost, ...]
    arena_bytes: int
    constant_bytes: int
    milliseconds: float

    @property
    def macs(self) -> int:
        return sum(row.macs for row in self.rows)

    @property
    def bytes(self) -> int:
        return sum(row.bytes for row in self.rows)

    @property
    def cycles(self) -> int:
        return sum(row.cycles for row in self.rows)

    def __str__(self) -> str:
        """Format a table in the order of instructions, with sums."""
        cells = [("value", "op", "MACs", "bytes", "cycles", "waits for")]
        cells += [
            (row.name, row.op, f"{row.macs:,}", f"{row.bytes:,}", f"{row.cycles:,}", row.bound) for row in self.rows
        ]
        cells.append(
            ("total", "", f"{self.macs:,}", f"{self.bytes:,}", f"{self.cycles:,}", f"{self.milliseconds:.3f} ms")
        )
        widths = [max(len(row[column]) for row in cells) for column in range(6)]
        lines = [
            "  ".join(cell.rjust(width) if 2 <= column <= 4 else cell.ljust(width) for column, (cell, width) in row)
            for row in (enumerate(zip(row, widths, strict=True)) for row in cells)
        ]
        memory = f"arena {self.arena_bytes:,} bytes, constants {self.constant_bytes:,} bytes"
        return "\n".join(line.rstrip() for line in (*lines, memory)) + "\n"


def cost_of(contents: Contents) -> CostTable:
    """Count a program: see `docs/program-format.md` for the model.

    Constants stream in once per run. Activations move only where the arena does not fit the target's SRAM. An op
    without products takes one multiplier's turn per element that it reads or gives, whichever are more.
    """
    graph, target = contents.graph, contents.target
    spills = contents.plan.arena_size > target.sram_bytes
    streamed: set[str] = set()
    rows: list[Cost] = []
    for node in graph.nodes:
        constants = [name for name in dict.fromkeys(node.operands) if name in graph.constants and name not in streamed]
        streamed.update(constants)
        if not node.host:
            rows.append(_layer(graph, node, target, constants, spills=spills))
    constant_bytes = sum(constant.type.bytes for constant in graph.constants.values())
    cycles = sum(row.cycles for row in rows)
    return CostTable(tuple(rows), contents.plan.arena_size, constant_bytes, cycles / (target.clock_mhz * 1e3))


def mac_turns(graph: Graph, node: Node, target: Target) -> int:
    """The turns of a multiplier that each product of an op takes, by the widths of its data and weights."""
    width = width_of(graph, node, target)
    if isinstance(node.op, Integer) and node.op.weight_operands:
        weights = graph.types[node.operands[node.op.weight_operands[0]]].dtype
        return dict(zip(width.weight_dtypes, width.mac_turns, strict=True))[weights]
    return width.mac_turns[0]


def _layer(graph: Graph, node: Node, target: Target, constants: list[str], *, spills: bool) -> Cost:
    moved = sum(graph.types[name].bytes for name in constants)
    if spills:
        moved += sum(graph.types[name].bytes for name in node.operands if name not in graph.constants)
        moved += sum(type_.bytes for type_ in node.types)
    macs = node.op.macs(*(graph.types[name] for name in node.operands))
    each = mac_turns(graph, node, target)
    read = sum(graph.types[name].size for name in node.operands if name not in graph.constants)
    turns = macs * each or max(read, node.types[0].size)
    bytes_per_cycle = target.bandwidth_gb_s * 1e9 / (target.clock_mhz * 1e6)
    return Cost(
        node.results[0],
        node.op.name,
        node.place,
        macs,
        moved,
        -(-turns // target.macs_per_cycle),
        math.ceil(moved / bytes_per_cycle),
    )
