"""The files of a command: checked before it works, written aside, and moved into place together at the end."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from npuq.ir.errors import NpuqError


def require_place(path: str | Path) -> Path:
    """The path of a file that can be written; raises `NpuqError`."""
    path = Path(path)
    if path.is_dir():
        raise NpuqError(f"{path}: not written: it is a folder, a file wanted")
    if not path.parent.is_dir():
        raise NpuqError(f"{path}: not written: there is no folder {path.parent}; make it first")
    if not os.access(path if _is_device(path) else path.parent, os.W_OK):
        raise NpuqError(f"{path}: not written: Permission denied")
    return path


BLOBS = "blobs"
"""The folder of arrays, each named by its digest, that all texts beside it share: what it has stays."""


@contextmanager
def together() -> Iterator[Outputs]:
    """Give the outputs of one command: at its end all of them appear or, if anything fails, none.

    Raises `NpuqError`, which names the user's path.
    """
    outputs = Outputs()
    try:
        yield outputs
        outputs.finish()
    except NpuqError as error:
        if (text := outputs.translated(str(error))) == str(error):
            raise
        raise type(error)(text) from None
    except OSError as error:
        raise NpuqError(f"{outputs.place_of(error)}: not written: {error.strerror or error}") from None
    finally:
        for stage in outputs.stages:
            shutil.rmtree(stage.root, ignore_errors=True)


@dataclass(frozen=True)
class _Stage:
    """The folder `root` in which the folder or file for `place` is made."""

    place: Path
    root: Path
    is_folder: bool

    @property
    def new(self) -> Path:
        return self.root / "new" if self.is_folder else self.root / "new" / self.place.name


@dataclass
class Outputs:
    """Folders and files to write. Folders are named before the files in them."""

    stages: list[_Stage] = field(default_factory=list)
    dropped: list[Path] = field(default_factory=list)

    def folder(self, place: str | Path) -> Path:
        """An empty folder whose entries go to `place`, which is made; entries of the same name are replaced."""
        place = Path(place)
        if (place.exists() and not place.is_dir()) or self._has(place, is_folder=False):
            raise NpuqError(f"{place}: not written: it is a file, a folder wanted")
        return self._stage(place, place, is_folder=True)

    def file(self, place: str | Path) -> Path:
        """The path to write the file for `place` to; its folder exists or is one of these outputs."""
        place = Path(place)
        if self._has(place, is_folder=True):
            raise NpuqError(f"{place}: not written: it is a folder, a file wanted")
        if not self._has(place.parent, is_folder=True):
            require_place(place)
        return self._stage(place, Path(tempfile.gettempdir()) if _is_device(place) else place.parent, is_folder=False)

    def drop(self, place: Path) -> None:
        """Delete a file at the end, if it exists."""
        self.dropped.append(place)

    def finish(self) -> None:
        """Move everything into place; if that fails, move everything back."""
        undo: list[tuple[Path, Path]] = []
        try:
            for place in self.dropped:
                _move(place, self.stages[0].root / "old", undo)
            for stage in self.stages:
                self._finish(stage, undo)
        except OSError:
            for source, place in reversed(undo):
                place.replace(source)
            raise

    def place_of(self, error: OSError) -> str:
        """The user's path of an error; the first one, if it is unknown."""
        name, first = str(error.filename), str(self.stages[0].place) if self.stages else "results"
        return next((str(stage.place) for stage in self.stages if name.startswith(str(stage.root))), first)

    def translated(self, text: str) -> str:
        """A text with the user's paths."""
        for stage in self.stages:
            text = text.replace(str(stage.new), str(stage.place))
        return text

    def _has(self, place: Path, *, is_folder: bool) -> bool:
        return any(stage.place.absolute() == place.absolute() and stage.is_folder is is_folder for stage in self.stages)

    def _stage(self, place: Path, folder: Path, *, is_folder: bool) -> Path:
        """Make the folder to work in, near `folder`, so that moving from it is renaming."""
        near = next(one for one in (folder, *folder.absolute().parents) if one.exists())
        if not near.is_dir():
            raise NpuqError(f"{place}: not written: {near} is a file, a folder wanted")
        try:
            stage = _Stage(place, Path(tempfile.mkdtemp(dir=near, prefix=".npuq.")), is_folder)
        except OSError as error:
            raise NpuqError(f"{place}: not written: {error.strerror or error}") from None
        self.stages.append(stage)
        for name in ("new", "old"):
            (stage.root / name).mkdir()
        return stage.new

    def _finish(self, stage: _Stage, undo: list[tuple[Path, Path]]) -> None:
        place = stage.place
        if _is_device(place) and not stage.is_folder:
            # A device or a pipe is written to, not replaced.
            place.write_bytes(stage.new.read_bytes())
            return
        folder = place if stage.is_folder else place.parent
        folder.mkdir(parents=True, exist_ok=True)
        for entry in sorted((stage.root / "new").iterdir()):
            shared = entry.name == BLOBS and (folder / BLOBS).is_dir()
            for one in sorted(entry.iterdir()) if shared else (entry,):
                end = folder / one.relative_to(stage.root / "new")
                _move(end, stage.root / "old", undo)
                one.replace(end)
                undo.append((one, end))


def _is_device(place: Path) -> bool:
    return place.exists() and not place.is_file() and not place.is_dir()


def _move(place: Path, folder: Path, undo: list[tuple[Path, Path]]) -> None:
    """Move the file or folder at a place, if any, into a folder."""
    if os.path.lexists(place):
        moved = folder / f"{len(undo)}-{place.name}"
        place.replace(moved)
        undo.append((place, moved))
