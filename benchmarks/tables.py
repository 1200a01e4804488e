"""Interpolated tables of 16-bit functions: their worst error over all 65 536 inputs, in steps of the result, and bytes.

python benchmarks/tables.py
"""

from collections.abc import Mapping

import numpy as np

from npuq.ir import Op
from npuq.ir.ops.activation import Gelu, Sigmoid, Silu, Tanh
from npuq.ir.ops.elementwise import Exp
from npuq.ir.ops.npu.interpolate import LENGTHS
from npuq.passes.lowering.tables import INTEGERS, shortest_table

FUNCTIONS: Mapping[str, tuple[Op, float]] = {
    "sigmoid": (Sigmoid(), 8.0),
    "tanh": (Tanh(), 4.0),
    "exp": (Exp(), 5.0),
    "gelu": (Gelu(), 8.0),
    "silu": (Silu(), 8.0),
}
"""Each function, and the x that the greatest integer stands for; the greatest result is the greatest integer."""


def main() -> None:
    sizes = [f"n = {n}, {2 * ((1 << n) + 1):,} bytes" for n in LENGTHS]
    print(f"| function | {' | '.join(sizes)} | chosen |")
    print("|---" * (len(LENGTHS) + 2) + "|")
    for name, (op, reach) in FUNCTIONS.items():
        reals = (INTEGERS * np.float32(reach / 32767)).astype(np.float32)
        exact = np.asarray(op.evaluate(reals), np.float64)
        steps = (exact / np.abs(exact).max() * 32767)[None]
        found = [shortest_table(steps, -32768, 32767, (n,), np.dtype(np.int16)).worst for n in LENGTHS]
        chosen = shortest_table(steps, -32768, 32767, LENGTHS, np.dtype(np.int16)).entries.size
        cells = (f"{worst:.2f}" for worst in found)
        print(f"| {name}, up to {reach:g} | {' | '.join(cells)} | {(chosen - 1).bit_length() - 1} |")


if __name__ == "__main__":
    main()
