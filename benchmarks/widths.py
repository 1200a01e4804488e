"""What the widths of data and weights cost in accuracy: the outputs' SQNR against float, of whole integer programs.

python -m benchmarks.widths [NET...] [--images 8] [--inputs 8] [--lut-len 8 9 10 11 12]

With `--lut-len` 16 bits throughout, with tables of each n and as they are chosen; otherwise one column per width.
"""

import argparse
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

import npuq
from benchmarks import data, sequences
from npuq.ir import Graph
from npuq.ir.ops.npu.interpolate import Interpolate

WIDTHS = ((8, 8), (16, 4), (16, 8), (16, 16))
NETS = ("fashion", "ppocr_cls", "mobilenet_v2", "minilm", "silero_vad")
Inputs = tuple[np.ndarray, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="*", default=NETS)
    parser.add_argument("--images", type=int, default=8, help="for calibration")
    parser.add_argument("--inputs", type=int, default=8, help="for the comparison")
    parser.add_argument("--lut-len", type=int, nargs="+", help="the n of all tables")
    asked = parser.parse_args()
    options: dict[str, dict[str, Any]] = {
        f"int{bits} data, int{weights} weights": {"bits": bits, "weight_bits": weights} for bits, weights in WIDTHS
    }
    if asked.lut_len:
        options = {f"n = {n}": {"bits": 16, "lut_len": n} for n in asked.lut_len} | {"chosen": {"bits": 16}}
    print(f"| net | {' | '.join(options)} |")
    print("|---" * (len(options) + 1) + "|")
    for net in asked.nets:
        cells = list(map(cell, measured(net, asked.images, asked.inputs, list(options.values()), bool(asked.lut_len))))
        print(f"| {net} | {' | '.join(cells)} |", flush=True)


def cell(found: tuple[float, int | None]) -> str:
    """The SQNR in dB, and the tables' bytes where they were asked for."""
    noise, tables = found
    return f"{noise:.1f} dB" if tables is None else f"{noise:.1f} dB, {tables:,} bytes"


def measured(
    net: str, images: int, inputs: int, options: Sequence[dict[str, Any]], tables: bool
) -> list[tuple[float, int | None]]:
    """The SQNR of all outputs together, in dB, with each of the options, and the bytes of all tables."""
    graph, calibration, evaluation = prepared(net, images, inputs)
    wanted: np.ndarray | None = None
    found = []
    for option in options:
        quantized = npuq.quantize(graph, calibration, **option)
        if wanted is None:
            wanted = reals(npuq.evaluate(quantized.float_graph), evaluation)
        noise = np.square(wanted - reals(quantized.simulate, evaluation)).sum()
        sqnr = float(10 * np.log10(np.square(wanted).sum() / noise))
        found.append((sqnr, table_bytes(quantized.graph) if tables else None))
    return found


def prepared(net: str, images: int, inputs: int) -> tuple[Graph, Sequence[Inputs], Sequence[Inputs]]:
    """A net at batch 1, what calibrates it and what it is compared on."""
    if net in sequences.SEQUENCES:
        found = sequences.SEQUENCES[net](images, inputs)
        return found.graph, found.calibration, found.evaluation
    bench = data.load(net)
    calibration, evaluation = (
        [(one[None],) for one in part] for part in (bench.calibration[:images], bench.evaluation[:inputs])
    )
    return npuq.load(bench.model, shapes=bench.shapes), calibration, evaluation


def reals(run: Callable[..., Sequence[Any]], inputs: Sequence[Inputs]) -> np.ndarray:
    """All outputs for all inputs, one after another."""
    return np.concatenate([np.ravel(np.asarray(one, np.float64)) for given in inputs for one in run(*given)])


def table_bytes(graph: Graph) -> int:
    """The bytes of all interpolated tables, each counted once."""
    names = {node.operands[1] for node in graph.nodes if isinstance(node.op, Interpolate)}
    return sum(graph.constants[name].array.nbytes for name in names)


if __name__ == "__main__":
    main()
