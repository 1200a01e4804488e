"""Speed of the integer ops' lanes on XLA:CPU: process CPU time of one thread, lanes interleaved, median of rounds.

Run `python benchmarks/lanes.py`, or with names to time only those: `python benchmarks/lanes.py requantize lut`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"

import jax
import jax.numpy as jnp
import numpy as np

from npuq.ir import DType, Op, compiler_options
from npuq.ir.arithmetic import accumulator_interval, common_multipliers, multipliers_and_shifts
from npuq.ir.ops.npu.matrix import MatMul
from npuq.ir.ops.npu.pointwise import Add, Lut, Requantize, Softmax
from npuq.ir.ops.npu.reduce import ReduceSum
from npuq.ir.ops.npu.window import AveragePool2d, Conv2d, MaxPool2d

ROUNDS = 15
RNG = np.random.default_rng(0)

Case = tuple[str, Callable[..., Any], tuple[np.ndarray, ...], float, str]


def integers(*shape: int) -> np.ndarray:
    return RNG.integers(-128, 128, shape).astype(np.int8)


def factors(interval: tuple[int, int], count: int) -> tuple[np.ndarray, np.ndarray]:
    return multipliers_and_shifts(np.full(count, 300.0 / max(interval[1], 1)))[:2]


def convolution(x: np.ndarray, w: np.ndarray, **fields: Any) -> tuple[Op, tuple[np.ndarray, ...], float]:
    """The op, its operands, and its multiplications in units of 10^9."""
    bias = np.zeros(w.shape[-1], np.int32)
    interval = accumulator_interval(w, bias, -128, 127)
    op = Conv2d(accumulator=interval, **fields)
    operands = (x, w, bias, *factors(interval, w.shape[-1]))
    with jax.enable_x64(True):
        positions = jax.eval_shape(op.evaluate, *operands).size
    return op, operands, positions * w[..., 0].size / 1e9


CONVOLUTIONS: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "stem 3x3/2 3>32": ((224, 224, 3), (3, 3, 3, 32), {"stride": (2, 2), "padding": ((1, 1), (1, 1))}),
    "stem 7x7/2 3>64": ((224, 224, 3), (7, 7, 3, 64), {"stride": (2, 2), "padding": ((3, 3), (3, 3))}),
    "3x3 64>64": ((56, 56, 64), (3, 3, 64, 64), {"padding": ((1, 1), (1, 1))}),
    "3x3 64>64 zero point": ((56, 56, 64), (3, 3, 64, 64), {"padding": ((1, 1), (1, 1)), "pad_value": -3}),
    "1x1 24>144": ((56, 56, 24), (1, 1, 24, 144), {}),
    "1x1 144>24": ((56, 56, 144), (1, 1, 144, 24), {}),
    "1x1 960>320": ((7, 7, 960), (1, 1, 960, 320), {}),
    "depthwise 3x3 144": ((56, 56, 144), (3, 3, 1, 144), {"groups": 144, "padding": ((1, 1), (1, 1))}),
    "depthwise 3x3/2 144": (
        (56, 56, 144),
        (3, 3, 1, 144),
        {"groups": 144, "padding": ((1, 1), (1, 1)), "stride": (2, 2)},
    ),
    "grouped 3x3 128/32": ((28, 28, 128), (3, 3, 4, 128), {"groups": 32, "padding": ((1, 1), (1, 1))}),
    "transposed 2x2*2 64>64": ((40, 40, 64), (2, 2, 64, 64), {"expand": (2, 2), "padding": ((1, 1), (1, 1))}),
    "vector 1x1 960>240": ((1, 1, 960), (1, 1, 960, 240), {}),
}


def cases() -> Iterator[Case]:
    """Name, function, operands, amount of work and its unit."""
    for batch in (1, 8):
        for name, (shape, window, fields) in CONVOLUTIONS.items():
            op, operands, work = convolution(integers(batch, *shape), integers(*window), **fields)
            yield f"conv {name} x{batch}", op.evaluate, operands, work, "GMAC"
            if batch > 1:
                axes = (0, *(None,) * (len(operands) - 1))
                spread = (operands[0][:, None], *operands[1:])
                yield f"conv {name} vmap {batch}", jax.vmap(op.evaluate, axes), spread, work, "GMAC"
        w = integers(1280, 1000)
        interval = accumulator_interval(w, np.zeros(1000, np.int32), -128, 127)
        rest = (np.zeros(1000, np.int32), *factors(interval, 1000))
        linear = MatMul(accumulator=interval)
        yield (
            f"matmul 1280>1000 x{batch}",
            linear.evaluate,
            (integers(batch, 1280), w, *rest),
            batch * w.size / 1e9,
            "GMAC",
        )
    size = 56 * 56 * 144
    wide = RNG.integers(-(1 << 20), 1 << 20, (56, 56, 144)).astype(np.int32)
    one = multipliers_and_shifts(np.array([0.00013]))[:2]
    many = multipliers_and_shifts(np.full(144, 0.00013))[:2]
    for name, bound in (("float64", 1 << 21), ("int64", 1 << 31), ("wide", 1 << 40)):
        scaled = Requantize(accumulator=(-bound, bound - 1))
        # The op's own bound would choose int64; the lanes are timed as a convolution chooses them.
        yield (
            f"requantize {name}",
            lambda a, m, s, op=scaled: op.finish(a, m, s),
            (wide, *many),
            size / 1e9,
            "G",
        )
    x = integers(1, 56, 56, 144)
    sums = common_multipliers(np.array([0.4, 0.7]))
    yield "add", Add().evaluate, (x, integers(1, 56, 56, 144), *sums), size / 1e9, "G"
    yield "lut", Lut().evaluate, (x, integers(256)), size / 1e9, "G"
    yield "lut per channel", Lut().evaluate, (x, integers(144, 256)), size / 1e9, "G"
    pool = {"window": (3, 3), "stride": (2, 2), "padding": ((1, 1), (1, 1))}
    yield "max_pool 3x3/2", MaxPool2d(**pool).evaluate, (x,), size / 1e9, "G"  # type: ignore[arg-type]  # mixed fields
    average = AveragePool2d(**pool, accumulator=(-5000, 5000))  # type: ignore[arg-type]  # mixed fields
    yield "average_pool 3x3/2", average.evaluate, (x, *one), size / 1e9, "G"
    yield "reduce_sum over space", ReduceSum(axes=(1, 2)).evaluate, (x, *one), size / 1e9, "G"
    table = np.rint(np.exp(np.arange(-255, 1) * 0.03) * (1 << 30)).astype(np.int32)
    yield "softmax", Softmax(axis=1, steps=127).evaluate, (integers(1000, 1000), table), 1e6 / 1e9, "G"
    to_wide = Requantize(dtype=DType.I16, low=-32768, high=32767)
    yield "requantize i8 to i16", to_wide.evaluate, (x, *multipliers_and_shifts(np.array([99.0]))[:2]), size / 1e9, "G"


def finish(result: jax.Array) -> None:
    result.block_until_ready()


def measure(chosen: list[Case]) -> None:
    """Compile all, then take turns."""
    runs: list[tuple[str, Callable[..., jax.Array], list[jax.Array], float, str, list[float]]] = []
    with jax.enable_x64(True):
        for name, function, operands, work, unit in chosen:
            arrays = [jnp.asarray(operand) for operand in operands]
            run = jax.jit(function).lower(*arrays).compile(compiler_options=compiler_options())
            finish(run(*arrays))
            runs.append((name, run, arrays, work, unit, []))
        for _ in range(ROUNDS):
            for _, compiled, arrays, _, _, times in runs:
                started = time.process_time()
                finish(compiled(*arrays))
                times.append(time.process_time() - started)
    for name, _, _, work, unit, times in runs:
        seconds = float(np.median(times))
        speed = f"{work / seconds:7.1f} GMAC/s" if unit == "GMAC" else f"{seconds / work:7.2f} ns/element"
        print(f"{name:36s} {seconds * 1e3:8.3f} ms  {speed}")


if __name__ == "__main__":
    wanted = sys.argv[1:]
    measure([case for case in cases() if not wanted or any(word in case[0] for word in wanted)])
