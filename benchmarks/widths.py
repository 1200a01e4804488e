"""What the widths of data and weights cost in accuracy: the outputs' SQNR against float, of whole integer programs.

python benchmarks/widths.py [NET...] [--images 16] [--inputs 16] [--lut-len 10]
"""

import argparse
from collections.abc import Iterable

import numpy as np

import npuq
from benchmarks import data

WIDTHS = ((8, 8), (16, 4), (16, 8), (16, 16))
NETS = ("fashion", "ppocr_cls", "mobilenet_v2")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("nets", nargs="*", default=NETS)
    parser.add_argument("--images", type=int, default=16, help="for calibration")
    parser.add_argument("--inputs", type=int, default=16, help="for the comparison")
    parser.add_argument("--lut-len", type=int, help="the n of all tables; by default chosen table by table")
    asked = parser.parse_args()
    print(f"| net | {' | '.join(f'int{bits} data, int{weights} weights' for bits, weights in WIDTHS)} |")
    print("|---" * (len(WIDTHS) + 1) + "|")
    for net in asked.nets:
        found = measured(data.load(net), asked.images, asked.inputs, asked.lut_len)
        print(f"| {net} | {' | '.join(f'{one:.1f} dB' for one in found)} |", flush=True)


def measured(bench: data.Bench, images: int, inputs: int, lut_len: int | None) -> Iterable[float]:
    """The SQNR of all outputs together, in dB, at each of `WIDTHS`."""
    graph = npuq.load(bench.model, shapes=bench.shapes)
    wanted = None
    for bits, weights in WIDTHS:
        quantized = npuq.quantize(graph, bench.calibration[:images], bits=bits, weight_bits=weights, lut_len=lut_len)
        if wanted is None:
            reference = npuq.evaluate(quantized.float_graph)
            batch = next(iter(quantized.float_graph.inputs.values())).shape[0]
            parts = [reference(bench.evaluation[at : at + batch]) for at in range(0, inputs, batch)]
            wanted = np.concatenate([np.concatenate([np.ravel(one) for one in part]) for part in parts])
        got = [quantized.simulate(bench.evaluation[at : at + batch]) for at in range(0, inputs, batch)]
        found = np.concatenate([np.concatenate([np.ravel(one) for one in part]) for part in got])
        noise = np.square(wanted.astype(np.float64) - found).sum()
        yield float(10 * np.log10(np.square(wanted.astype(np.float64)).sum() / noise))


if __name__ == "__main__":
    main()
