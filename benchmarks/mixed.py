"""Automatic mixed precision: how many ops need 16 bits until a network that reads text reads as well as in float.

    python -m benchmarks.mixed [--images 64] [--inputs 200] [--effort 1] [--loss 0.005]

`npuq.assign(strategy="auto")` raises the ops that add most to the error until the share of lines that ppocr_rec reads
without a mistake, on the bit-exact simulator, is at most `--loss` below that of onnxruntime's float32.
"""

import argparse
import time

import numpy as np

from . import data, text
from .accuracy import BATCH, infer

NET = "ppocr_rec"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=64, help="calibration images")
    parser.add_argument("--inputs", type=int, default=200, help="evaluation inputs")
    parser.add_argument("--effort", type=int, default=1)
    parser.add_argument("--loss", type=float, default=0.005, help="share of lines that may be lost")
    options = parser.parse_args()
    import npuq

    bench = data.load(NET)
    images, inputs = bench.calibration[: options.images], bench.evaluation[: options.inputs]
    labels = bench.labels
    assert labels is not None

    def right(scores: np.ndarray) -> float:
        return text.right(scores, labels[: len(inputs)], bench.model)

    def metric(quantized: npuq.Quantized) -> float:
        got = [quantized.simulate(inputs[at : at + BATCH])[0] for at in range(0, len(inputs), BATCH)]
        found = right(np.concatenate(got))
        print(f"  {time.process_time() - start:6.0f} s: tried one that reads {found:.1%}", flush=True)
        return found

    start = time.process_time()
    float_right = right(infer(bench.model, inputs))
    print(f"{NET}: float reads {float_right:.1%} of {len(inputs)} lines", flush=True)
    found = npuq.assign(
        npuq.load(bench.model, bench.shapes),
        images,
        strategy="auto",
        metric=metric,
        at_least=float_right - options.loss,
        effort=options.effort,
        progress=lambda step, done, total: told(step, done, total, time.process_time() - start),
    )
    print(f"{found.wide_ops:.1%} of {len(found.ops)} ops have 16 bits; {time.process_time() - start:.0f} s of CPU time")


def told(step: str, done: int, total: int, spent: float) -> None:
    """Print the beginning of each step."""
    if done == 0:
        print(f"  {spent:6.0f} s: {step}" + (f" ({total})" if total else ""), flush=True)


if __name__ == "__main__":
    main()
