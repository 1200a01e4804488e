"""The results of a command appear together at its end, or none does; places are checked before."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from npuq.files.outputs import Outputs, require_place, together
from npuq.ir import NpuqError


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def write(folder: Path, **files: str) -> None:
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name).write_text(text)


def test_folders_and_files_appear_when_all_are_finished(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    for text in ("new", "newer"):
        with together() as outputs:
            folder, dump, file = outputs.folder(out), outputs.folder(out / "dump"), outputs.file(out / "s.json")
            write(folder, **{"a": text, f"only-{text}": text})
            write(folder / "sub", **{text: text})
            write(dump, **{text: text})
            file.write_text(text)
            assert (text == "newer") == out.exists()
    wanted = ["out", "out/a", "out/dump", "out/dump/new", "out/dump/newer", "out/only-new", "out/only-newer"]
    assert entries(out.parent) == [*wanted, "out/s.json", "out/sub", "out/sub/newer"]
    assert (out / "a").read_text() == (out / "s.json").read_text() == "newer"


def test_texts_share_their_arrays(tmp_path: Path) -> None:
    write(tmp_path / "blobs", old="old", same="same")
    with together() as outputs:
        file = outputs.file(tmp_path / "z.ir")
        file.write_text("text")
        write(file.parent / "blobs", new="new", same="same")
    assert entries(tmp_path) == ["blobs", "blobs/new", "blobs/old", "blobs/same", "z.ir"]


def test_what_is_dropped_goes_with_the_rest(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write(out, a="old", b="old")
    with together() as outputs:
        write(outputs.folder(out), a="new")
        outputs.drop(out / "b")
        outputs.drop(out / "never")
        assert (out / "b").exists()
    assert entries(out) == ["a"]


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "No space left on device"), ValueError("?"), KeyboardInterrupt()]
)
def test_nothing_changes_when_anything_fails(tmp_path: Path, error: BaseException) -> None:
    write(tmp_path / "out", a="old", b="old")

    def fail() -> None:
        with together() as outputs:
            write(outputs.folder(tmp_path / "out"), a="new")
            outputs.file(tmp_path / "new.json").write_text("new")
            outputs.folder(tmp_path / "other" / "dump")
            outputs.drop(tmp_path / "out" / "b")
            raise error

    with pytest.raises((NpuqError, ValueError, KeyboardInterrupt)):
        fail()
    assert entries(tmp_path) == ["out", "out/a", "out/b"]
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_what_was_moved_is_moved_back_where_a_later_move_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "out", a="old", c="old")
    real = Path.replace

    def no_s(self: Path, place: Path) -> Path:
        if place.name == "s.json":
            raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(self))
        return real(self, place)

    monkeypatch.setattr(Path, "replace", no_s)

    def fail() -> None:
        with together() as outputs:
            write(outputs.folder(tmp_path / "out"), a="new", b="new")
            outputs.file(tmp_path / "s.json").write_text("new")
            outputs.drop(tmp_path / "out" / "c")

    with pytest.raises(NpuqError, match=rf"^{tmp_path}/s\.json: not written: Permission denied$"):
        fail()
    assert entries(tmp_path) == ["out", "out/a", "out/c"]
    assert (tmp_path / "out" / "a").read_text() == "old"


def test_errors_name_the_place_that_was_asked_for(tmp_path: Path) -> None:
    with (
        pytest.raises(NpuqError, match=rf"^{tmp_path}/out/x: not written: no more$"),
        together() as outputs,
    ):
        raise NpuqError(f"{outputs.folder(tmp_path / 'out') / 'x'}: not written: no more")


def test_other_errors_pass_as_they_are() -> None:
    error = NpuqError("net: no")
    error.add_note("in pass 1")
    with pytest.raises(NpuqError) as caught, together():
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("ask", "said"),
    [
        (lambda outputs, path: outputs.folder(path / "file"), "/file: not written: it is a file, a folder wanted"),
        (lambda outputs, path: outputs.folder(path / "file" / "a"), "/file is a file, a folder wanted"),
        (lambda outputs, path: outputs.file(path), ": not written: it is a folder, a file wanted"),
        (lambda outputs, path: (outputs.folder(path / "o"), outputs.file(path / "o")), "/o: .* a file wanted"),
        (lambda outputs, path: (outputs.file(path / "o"), outputs.folder(path / "o")), "/o: .* a folder wanted"),
        (lambda outputs, path: outputs.file(path / "no" / "a"), "/no/a: .*: there is no folder .*/no; make it first"),
    ],
)
def test_places_that_cannot_be_written(tmp_path: Path, ask: Callable[[Outputs, Path], object], said: str) -> None:
    (tmp_path / "file").write_text("1")
    with pytest.raises(NpuqError, match=said + "$"), together() as outputs:
        ask(outputs, tmp_path)
    assert entries(tmp_path) == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_folders_without_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(NpuqError, match=r"/a: not written: Permission denied$"):
        require_place(tmp_path / "a")
    with pytest.raises(NpuqError, match=r"not written: Permission denied$"), together() as outputs:
        outputs.folder(tmp_path)


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_device_stays_a_device() -> None:
    with pytest.raises(NpuqError, match=r"^/dev/full: not written: No space left on device$"), together() as outputs:
        outputs.file("/dev/full").write_text("1")
    with together() as outputs:
        outputs.file("/dev/null").write_text("1")
    assert not Path("/dev/null").is_file()
