"""Other tools, each in a virtual environment of its own in the zoo's cache folder, made when it is first asked for."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests import zoo

PLAIN = ("onnx==1.23.2", "onnxruntime==1.31.1")


@dataclass(frozen=True, slots=True)
class Rival:
    """A tool: the script here that runs it, what it needs, and the methods that it offers."""

    name: str
    script: str
    packages: tuple[str, ...]
    methods: tuple[str, ...]


RIVALS = (
    Rival("NNCF", "rival_nncf.py", ("nncf==3.4.0", *PLAIN), ("default",)),
    Rival("AIMET", "rival_aimet.py", ("aimet-onnx==2.42.0", "torch==2.13.0", *PLAIN), ("min_max", "tf_enhanced")),
)


class RivalError(Exception):
    """A tool that cannot be installed, or that fails on a network; the text says why."""


def outputs(
    rival: Rival, model: Path, images: np.ndarray, inputs: np.ndarray, activations: str
) -> Iterator[tuple[str, np.ndarray]]:
    """Yield each method and its outputs of its int8 model; raises `RivalError`."""
    python = environment(rival)
    with tempfile.TemporaryDirectory() as folder:
        files = [Path(folder) / f"{name}.npy" for name in ("calibration", "inputs", "outputs")]
        np.save(files[0], images)
        np.save(files[1], inputs)
        for method in rival.methods:
            script = Path(__file__).with_name(rival.script)
            run(rival, python, script, model, *files[:2], activations, method, files[2])
            yield method, np.load(files[2])


def environment(rival: Rival) -> Path:
    """The Python of a rival's environment, installed if it is not there."""
    folder = zoo.cache() / f"rival-{rival.packages[0]}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        run(rival, Path(sys.executable), "-m", "venv", "--clear", folder)
        run(rival, python, "-m", "pip", "install", "--quiet", *rival.packages)
        done.touch()
    return python


def run(rival: Rival, *command: str | Path) -> None:
    """Run a command; `RivalError` with the last line that it printed where it fails."""
    found = subprocess.run(list(map(str, command)), capture_output=True, text=True)
    if found.returncode:
        lines = [line for line in (found.stderr or found.stdout).splitlines() if line.strip()]
        raise RivalError(f"{rival.name}: {(lines or ['it printed nothing'])[-1].strip()[:200]}")
