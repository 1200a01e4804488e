"""The files of a Paddle model: a program, .pdmodel or .json, and its parameters."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from npuq.ir import NpuqError

from ..files import weights_beside
from .parameters import require_whole

KINDS = (".json", ".pdmodel")


@dataclass(frozen=True, slots=True)
class Source:
    """The two files of a model, named after its program or its folder."""

    program: Path
    parameters: Path

    @property
    def name(self) -> str:
        stem = self.program.stem
        return self.program.absolute().parent.name if stem == "inference" else stem


def source_of(model: Any, weights: Any) -> Source:
    """Find the files of a model by its program or its folder; raises `NpuqError` for a missing one."""
    if not isinstance(model, (str, Path)):
        raise NpuqError(f"objects of type {type(model).__name__} are not Paddle models; save them: paddle.jit.save")
    path = Path(model)
    program = _in_folder(path) if path.is_dir() else path
    if program.suffix not in KINDS:
        raise NpuqError(
            f"{program.name}: not a program; name the program and its weights: "
            f"npuq.load('inference.pdmodel', weights={program.name!r})"
        )
    if not program.is_file():
        raise NpuqError(f"{program}: there is no such file")
    if program.suffix == ".json":
        _require_program(program)
    parameters = _parameters(program, weights)
    require_whole(parameters)
    return Source(program, parameters)


def _in_folder(folder: Path) -> Path:
    found = [path for kind in KINDS for path in sorted(folder.glob(f"*{kind}"))]
    if len(found) != 1:
        listed = ", ".join(path.name for path in found) or "none"
        raise NpuqError(f"{folder}: one .json or .pdmodel wanted, found {listed}; name the file")
    return found[0]


def _require_program(path: Path) -> None:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise NpuqError(f"{path.name}: damaged: {error}") from None
    head = content.get("base_code") if isinstance(content, dict) else None
    if not isinstance(head, dict) or head.get("magic") != "pir":
        raise NpuqError(f"{path.name}: not a Paddle program")


def _parameters(program: Path, weights: Any) -> Path:
    """Return the named file of weights, or the one in the program's folder."""
    if weights is None:
        return weights_beside(program, ".pdiparams")
    path = Path(weights)
    if not path.is_file():
        raise NpuqError(f"{path}: there is no such file")
    return path
