"""The results of programs, as files."""

from __future__ import annotations

import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from npuq.backends.npu import Program
from npuq.ir import NpuqError
from npuq.passes.calibration.samples import require_all_rows, rows_of


def run_batches(program: Program, batches: Iterable[Mapping[str, np.ndarray]], *, raw: bool) -> dict[str, np.ndarray]:
    """All outputs by name, concatenated over all batches; indices beyond their table are refused."""
    rows, results = rows_of(program.graph), []
    for batch in batches:
        require_all_rows(rows, batch)
        results.append(program.run(batch, raw=raw))
    return {
        name: np.concatenate([result[name] for result in results]) if results[0][name].ndim else results[0][name]
        for name in program.graph.outputs
    }


def require_result_file(path: Path, outputs: Sequence[str]) -> None:
    """Raise `NpuqError` unless a file of this name can hold these outputs: an .npy one, an .npz any number."""
    if path.suffix not in (".npy", ".npz"):
        raise NpuqError(f"{path}: results are written to .npy or .npz files")
    if path.suffix == ".npy" and len(outputs) != 1:
        raise NpuqError(f"{path}: the {len(outputs)} outputs {', '.join(outputs)} want an .npz file")


def pack(arrays: Mapping[str, np.ndarray], path: Path) -> bytes:
    """The bytes of the .npy or .npz file at `path`, which `require_result_file` has seen."""
    buffer = io.BytesIO()
    if path.suffix == ".npz":
        np.savez(buffer, **arrays)  # type: ignore[arg-type]  # names beside its one flag
    else:
        np.save(buffer, next(iter(arrays.values())))
    return buffer.getvalue()
