"""The SHA-256 of the program of every zoo net, to compare two commits byte for byte.

    python -m benchmarks.program_hashes [NET...]

Each net is quantized with a few calibration inputs in several ways; a line gives the net, the way, and the digest of
the `.npuq` file. Only public functions are used, so that the same file runs on older commits.
"""

import hashlib
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import npuq
from benchmarks import data
from benchmarks.sequences import SEQUENCES
from tests import zoo

SAMPLES = 8
WAYS: dict[str, dict[str, Any]] = {
    "default": {},
    "asymmetric": {"target": "npu-asym", "effort": 0},
    "tflite": {"target": "npu-tflite"},
    "16-bit": {"bits": 16},
    "effort-2": {"effort": 2},
    "4-bit": {"effort": 2, "weight_bits": 4, "method": "mse"},
}
SMALL = ("fashion", "ppocr_cls", "mobilenet_v2")
"""The nets that go through all ways; the others skip what takes minutes."""

SEVERAL = ("default", "tflite", "16-bit")


def program_hash(graph: Any, samples: Any, options: dict[str, Any]) -> str:
    """The digest of the saved program; of the error's text where there is no program."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.npuq"
        try:
            npuq.quantize(graph, samples, **options).program.save(path)
        except npuq.NpuqError as error:
            return f"error {hashlib.sha256(str(error).encode()).hexdigest()[:16]}"
        return hashlib.sha256(path.read_bytes()).hexdigest()


def nets(names: list[str]) -> Iterator[tuple[str, Any, Any, tuple[str, ...]]]:
    """Every net's name, float graph, calibration inputs (None where the file has scales) and ways."""
    for name in data.BENCHES:
        if not names or name in names:
            bench = data.load(name)
            graph = npuq.load(bench.model, bench.shapes)
            yield name, graph, bench.calibration[:SAMPLES], tuple(WAYS) if name in SMALL else SEVERAL
    for name, make in SEQUENCES.items():
        if not names or name in names:
            found = make(SAMPLES, 1)
            yield name, found.graph, found.calibration, SEVERAL
    for file in sorted(zoo.path("mlperf_tiny").rglob("*.tflite")):
        if not names or file.stem in names:
            yield file.stem, npuq.load(file), None, ("tflite",)


def main(names: list[str]) -> None:
    """Print a line for each net and way."""
    npuq.enable_cache()
    for name, graph, samples, ways in nets(names):
        for way in ways:
            print(f"{name:20} {way:12} {program_hash(graph, samples, WAYS[way])}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
