"""The files of a model: their bytes, and the weights beside them."""

from __future__ import annotations

from pathlib import Path

from npuq.ir import NpuqError


def read_bytes(path: Path) -> bytes:
    """Read a file; raises `NpuqError`."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise NpuqError(f"{path}: cannot be read: {error.strerror}") from None


def weights_beside(model: Path, suffix: str) -> Path:
    """Return the file of weights with the model's name, or the only one in its folder."""
    same = model.with_suffix(suffix)
    found = [same] if same.is_file() else sorted(model.parent.glob(f"*{suffix}"))
    if len(found) != 1:
        listed = f"{len(found)} {suffix} files" if found else f"no {suffix} file"
        raise NpuqError(f"{model.name}: {listed} beside it; name the weights: --weights FILE{suffix}")
    return found[0]
