"""What a network costs on a target, without data."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from npuq.backends.formats import Network
from npuq.backends.npu import Program
from npuq.backends.npu.cost import CostTable
from npuq.ir import Graph, NpuqError
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.lowering.plan import plan_of
from npuq.passes.pipeline import Result, chain
from npuq.passes.precision import Precision, Precisions
from npuq.passes.quantize.insert_fake_quant import insert_fake_quant
from npuq.passes.quantize.take_scales import has_scales
from npuq.passes.target import Target, load_target


def cost_of(
    network: Graph | Program | str | Path, target: str | Target | None = None, *, bits: int | None = None
) -> CostTable:
    """Count multiplications, bytes and cycles of each instruction and of the whole network, and the arena's bytes.

    `network` is a graph of any level, a program or the path of its file. A program is counted on its own target, a
    graph on `target`, by default "npu". A fake-quant graph is lowered. A float graph is estimated at `bits`, by
    default the target's first width: its ranges are unknown, so that conversions between scales and the lengths of
    16-bit tables may differ from those of the calibrated network.
    Raises `NpuqError` for a program of another target, and for `bits` of a network that is quantized.
    """
    if isinstance(network, str | Path):
        network = Program.load(network)
    graph = network.graph if isinstance(network, Program) else network
    if not isinstance(graph, Graph):
        raise NpuqError(f"cost_of: {type(network).__name__}, a graph, a program (.program) or its file wanted")
    if bits is not None and has_scales(graph):
        raise NpuqError(f"{graph.name}: bits {bits}: the network is quantized; leave bits out")
    if isinstance(network, Program):
        if target is not None and load_target(target) != network.target:
            raise NpuqError(f"{graph.name}: a program of {network.target.name}; leave the target out")
        return network.cost()
    chosen = load_target("npu" if target is None else target)
    if has_scales(graph):
        return Network(graph, chosen).program.cost()
    return _estimated(graph, chosen, bits).cost()


def _estimated(graph: Graph, target: Target, bits: int | None) -> Program:
    """The program of a float graph with a made-up range for each value; ranges differ, so that no table is shared."""
    precision = Precisions(Precision(target.width(target.default_bits if bits is None else bits).bits))
    graph = canonicalize().run(Result(graph), verify_each=False).graph
    held = plan_of(graph, target, precision).held
    ranges = {name: (-end, end) for name, end in zip(held, np.linspace(8, 12, len(held)).tolist(), strict=True)}
    finish = chain(
        insert_fake_quant(ranges=ranges, target=target, precision=precision), lower_to_integer(target=target)
    )
    return Program.make(finish.run(Result(graph), verify_each=False).graph, target)
