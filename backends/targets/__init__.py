"""Targets by name: TOML files of this folder, or the user's own."""

from __future__ import annotations

import tomllib
from pathlib import Path

from npuq.ir import NpuqError
from npuq.passes.target import Target

FOLDER = Path(__file__).parent


def targets() -> list[str]:
    """The names of the targets that come with npuq, the default first."""
    names = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return sorted(names, key=lambda name: name != "npu")


def load_target(name_or_path: str | Path) -> Target:
    """Read a target that comes with npuq, by name, or any TOML file, by path.

    Raises `NpuqError` in one line: unknown name (with the known ones), file that cannot be read, damaged TOML, or
    the first field that is wrong.
    """
    if not isinstance(name_or_path, str | Path):
        raise NpuqError(f"target: {name_or_path!r}, a name or a .toml file wanted; known: {', '.join(targets())}")
    path = FOLDER / f"{name_or_path}.toml"
    if name_or_path not in targets():
        path = Path(name_or_path)
        if path.suffix != ".toml":
            raise NpuqError(f"there is no target {str(name_or_path)!r}; known: {', '.join(targets())}, or a .toml file")
    try:
        return Target.of(tomllib.loads(path.read_bytes().decode("utf-8")))
    except OSError as error:
        raise NpuqError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NpuqError(f"{path}: not TOML: {error}") from None
    except NpuqError as error:
        raise NpuqError(f"{path}: {error}") from None
