"""A trained network from its ONNX file to an integer program, and what that costs in accuracy."""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

import npuq
from npuq.cli import tables as show

FOLDER = Path(__file__).parent / "fashion"
MODEL = FOLDER / "resnet.onnx"


def pictures(name: str) -> np.ndarray:
    """Fashion-MNIST pictures as the network takes them: [n, 1, 28, 28], 0 to 1."""
    pixels: np.ndarray = np.load(FOLDER / name)["image"]
    return pixels.astype(np.float32) / 255


def main() -> None:
    """Quantize the network and put both of its forms side by side."""
    screen = show.console()
    say = partial(screen.print, markup=True)
    images, labels = pictures("evaluation.npz"), np.load(FOLDER / "evaluation.npz")["label"]

    say(f"\n[bold]1[/] load {MODEL.name} and run it in float on {len(images)} pictures")
    start = time.perf_counter()
    network = npuq.evaluate(npuq.load(MODEL, {"image": images.shape}))
    (logits,) = network(images)
    float_accuracy, float_seconds = np.mean(np.argmax(logits, 1) == labels), time.perf_counter() - start

    calibration = pictures("calibration.npz")
    say(f"[bold]2[/] quantize it to int8 with {len(calibration)} other pictures")
    start = time.perf_counter()
    quantized = npuq.quantize(npuq.load(MODEL), calibration)
    quantize_seconds = time.perf_counter() - start

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "resnet.npuq"
        quantized.program.save(file)
        say("[bold]3[/] save the program, load it from the file alone, check its known answers, run it")
        start = time.perf_counter()
        program = npuq.Program.load(file)
        program.verify()
        (integers,) = program.run(images, raw=True)
        int8_accuracy, int8_seconds = np.mean(np.argmax(integers, 1) == labels), time.perf_counter() - start
        size = file.stat().st_size

    (simulated,) = quantized.simulate(images, raw=True)
    same = (
        "equal the simulator's in every bit" if np.array_equal(integers, simulated) else "DIFFER from the simulator's"
    )
    screen.print(f"  the {integers.size:,} integers that it gives {same}\n")

    screen.print(show.layers(quantized.report))
    rows = (
        ("", "float32", "int8"),
        ("accuracy", f"{float_accuracy:.2%}", f"{int8_accuracy:.2%}"),
        ("file", f"{MODEL.stat().st_size:,} bytes", f"{size:,} bytes"),
        ("load and run, seconds", f"{float_seconds:.1f}", f"{int8_seconds:.1f}"),
        ("quantize, seconds", "", f"{quantize_seconds:.1f}"),
    )
    screen.print()
    for name, left, right in rows:
        say(f"[bold]{name:<24}[/]{left:>16}{right:>16}")


if __name__ == "__main__":
    main()
