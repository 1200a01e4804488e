"""Paddle programs to float graphs: paddle2onnx writes ONNX in another process, which the ONNX frontend reads.

That process runs this Python or that of `NPUQ_PADDLE_PYTHON`: the two generations of paddle2onnx cannot be installed
together.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from npuq.ir import NpuqError

from .. import onnx as onnx_frontend
from ..problem import Outcome
from ..reference import Arrays, Original
from ..specialize import Shapes
from . import worker
from .source import Source, source_of

if TYPE_CHECKING:
    from onnx import ModelProto

PYTHON = "NPUQ_PADDLE_PYTHON"
"""The variable that names another Python with Paddle."""

UNKNOWN = re.compile(r"operators not supported yet, including ([\w, ]+?),?\s*$", re.MULTILINE)
ABORTED = "Due to the unsupported operators, the conversion is aborted"

LACKING = re.compile(r"Input (\S+) is undefined!")

REASONS = re.compile(r"^(?:\w+Error: |.*\[ERROR\]\s*|\[Paddle2ONNX\] (?=Failed))(.+?)\s*$", re.MULTILINE)
"""The prefixes of Paddle's and paddle2onnx's error lines; the first line is the cause."""


def to_graph(source: Any, shapes: Shapes | None = None, *, weights: Any = None) -> Outcome:
    """Translate a .pdmodel, an inference.json or the folder of one; `weights` is a .pdiparams of another name.

    Raises `NpuqError` for programs that paddle2onnx cannot translate.
    """
    return onnx_frontend.to_graph(to_onnx(source_of(source, weights)), shapes)


def original(source: Any, shapes: Shapes | None = None, *, weights: Any = None) -> Original:
    """The program in Paddle, in a process of its own for each run."""
    found = source_of(source, weights)

    def run(arrays: Arrays) -> Arrays:
        with tempfile.TemporaryDirectory() as folder:
            inputs, outputs = Path(folder) / "inputs.npz", Path(folder) / "outputs.npz"
            np.savez(inputs, allow_pickle=False, **arrays)
            _work("run", found, inputs, outputs)
            with np.load(outputs) as results:
                return dict(results)

    return Original("PaddlePaddle", run)


def to_onnx(source: Source) -> ModelProto:
    """paddle2onnx's translation, nodes named by their results."""
    import onnx

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "model.onnx"
        _work("convert", source, target)
        model = onnx.load(target)
    model.graph.name = source.name
    for node in model.graph.node:
        node.name = node.output[0]
    return model


def _work(command: str, source: Source, *files: Path) -> None:
    python = os.environ.get(PYTHON) or sys.executable
    paths = (source.program.absolute(), source.parameters.absolute(), *files)
    call = [python, "-P", worker.__file__, command, *map(str, paths)]
    try:
        done = subprocess.run(call, capture_output=True, text=True, errors="replace", check=False)
    except OSError as error:
        raise NpuqError(f"{PYTHON}: {python}: {error.strerror}") from None
    if done.returncode:
        raise NpuqError(f"{source.program.name}: {_reason(done.returncode, done.stderr + done.stdout)}")


def _reason(code: int, output: str) -> str:
    """The most informative line of a failed process."""
    lines = output.strip().splitlines()
    refused = [line.removeprefix(worker.SAYS) for line in lines if line.startswith(worker.SAYS)]
    if refused:
        return refused[-1]
    unknown = UNKNOWN.search(output)
    if unknown:
        return f"paddle2onnx has no converter for {', '.join(unknown[1].replace(',', ' ').split())}"
    if ABORTED in output:
        return "paddle2onnx has no converter for one of its operators, and does not say for which"
    lacking = LACKING.search(output)
    if lacking:
        return f"its weights lack {lacking[1]}: they are damaged, or another model's"
    cause = REASONS.search(re.sub(r"\x1b\[[\d;]*m", "", output))
    return f"Paddle cannot read it: {cause[1][:300] if cause else f'its process ended with code {code}'}"
