"""Whole quantization against onnxruntime's `quantize_static`: CPU time, wall time and peak memory of a process.

    python -m benchmarks.quantize [--pairs 5] [--images 64] [--method METHOD] [NET...]

Each run is a process of its own, from the interpreter's start to its end: it reads the model and the calibration
inputs from files and writes the quantized model. The tools take turns; shown are medians, and the median of the ratios
of each pair. An uncounted run of each fills the caches, of compiled Python and, for npuq, of XLA's kernels. npuq runs
with its defaults; onnxruntime per channel, MinMax, in QDQ format, from a model that its own preprocessing made ready.
"""

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

NETS = ("mobilenet_v2", "ppocr_rec")
TOOLS = ("npuq", "onnxruntime")
MEASURES = ("CPU s", "wall s", "peak MB")
Measured = tuple[float, ...]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=NETS, metavar="NET")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--method", default="")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        step, scratch = options.child
        CHILDREN[step](options.nets[0], options, Path(scratch))
        return
    from .simulator import machine

    print(machine())
    for net in options.nets:
        compare(net, options)


def compare(net: str, options: argparse.Namespace) -> None:
    """Measure both tools in turn on one net and print a table."""
    with tempfile.TemporaryDirectory() as scratch:

        def run(step: str) -> Measured:
            return measured(net, options, step, scratch)

        for step in ("prepare", *TOOLS):
            run(step)
        pairs = [tuple(run(tool) for tool in TOOLS) for _ in range(options.pairs)]
    print(f"{net}, {options.images} inputs, {options.pairs} pairs")
    for index, measure in enumerate(MEASURES):
        values = (statistics.median(pair[tool][index] for pair in pairs) for tool in range(len(TOOLS)))
        ratio = statistics.median(ours[index] / theirs[index] for ours, theirs in pairs)
        shown = "   ".join(f"{tool} {value:7.2f}" for tool, value in zip(TOOLS, values, strict=True))
        print(f"  {measure:8} {shown}   {ratio:5.2f} x", flush=True)


def measured(net: str, options: argparse.Namespace, step: str, scratch: str) -> Measured:
    """Run one step in a fresh process; this one stays small, since a child's peak starts from its parent's size."""
    command = [sys.executable, "-m", "benchmarks.quantize", net, "--child", step, scratch]
    command += ["--images", str(options.images), "--method", options.method]
    caches = {"XDG_CACHE_HOME": scratch, "PYTHONPYCACHEPREFIX": scratch, "PYTHONDONTWRITEBYTECODE": ""}
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", **caches}
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=Path(__file__).parents[1], env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    wall = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime, wall, usage.ru_maxrss / 1024


def prepare(net: str, options: argparse.Namespace, scratch: Path) -> None:
    """Write what both tools read."""
    import numpy as np

    from . import data
    from .simulator import preprocess

    bench = data.load(net)
    (name,) = bench.shapes
    np.savez(scratch / "calibration.npz", allow_pickle=False, **{name: bench.calibration[: options.images]})
    preprocess(bench.model, scratch)
    shutil.copy(bench.model, scratch / "model.onnx")


def npuq(net: str, options: argparse.Namespace, scratch: Path) -> None:
    """Quantize as a script of few lines would."""
    import numpy as np

    import npuq

    npuq.enable_cache()
    with np.load(scratch / "calibration.npz") as inputs:
        data = dict(inputs)
    shapes = {name: (1, *array.shape[1:]) for name, array in data.items()}
    graph = npuq.load(scratch / "model.onnx", shapes)
    npuq.quantize(graph, data, method=options.method or None).program.save(scratch / "model.npuq")


def onnxruntime(net: str, options: argparse.Namespace, scratch: Path) -> None:
    """Quantize as onnxruntime's guide says for CPUs."""
    import logging

    import numpy as np
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    from .reader import reader

    logging.getLogger().setLevel(logging.ERROR)
    with np.load(scratch / "calibration.npz") as inputs:
        ((name, images),) = inputs.items()
    quantize_static(
        scratch / "plain.onnx",
        scratch / "quantized.onnx",
        reader(name, images),
        quant_format=QuantFormat.QDQ,
        calibrate_method=CalibrationMethod.MinMax,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


CHILDREN: dict[str, Callable[[str, argparse.Namespace, Path], None]] = {
    "prepare": prepare,
    "npuq": npuq,
    "onnxruntime": onnxruntime,
}


if __name__ == "__main__":
    main()
