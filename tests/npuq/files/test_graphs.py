"""Files appear whole or not at all; networks are read by their suffix."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from npuq.backends.write_file import write_file
from npuq.files.graphs import load_text, read_graph
from npuq.ir import Builder, Graph, NpuqError, Quantization, parse_type
from npuq.ir.ops.elementwise import Add
from npuq.passes.pipeline import save_text


def no_space(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def entries(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_file(tmp_path / "a", b"one")
    write_file(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"two"
    assert entries(tmp_path) == ["a"]
    assert (tmp_path / "a").stat().st_mode & 0o777 == 0o666 & ~umask()


def umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_a_full_disk_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_file(tmp_path / "a", b"one")
    monkeypatch.setattr(os, "fsync", no_space)
    with pytest.raises(NpuqError, match=r"/a: not written: No space left on device$"):
        write_file(tmp_path / "a", b"two")
    assert (tmp_path / "a").read_bytes() == b"one"
    assert entries(tmp_path) == ["a"]


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="no device that is always full")
def test_a_device_stays_a_device() -> None:
    with pytest.raises(NpuqError, match=r"^/dev/full: not written: No space left on device$"):
        write_file("/dev/full", b"1")
    assert not Path("/dev/full").is_file()
    write_file("/dev/null", b"1")
    assert not Path("/dev/null").is_file()


def test_places_that_cannot_be_written(tmp_path: Path) -> None:
    with pytest.raises(NpuqError, match=r"/gone/a: not written: No such file or directory$"):
        write_file(tmp_path / "gone" / "a", b"1")
    with pytest.raises(NpuqError, match=r"not written: Is a directory$"):
        write_file(tmp_path, b"1")


def graph() -> Graph:
    builder = Builder("g")
    x = builder.input("x", parse_type("f32[40]"))
    y = builder.add(Add(), x, builder.constant(np.arange(40, dtype=np.float32), "c"), name="y")
    small = builder.constant(np.arange(40).astype("int4"), "i4", Quantization((0.5,), (0,)))
    return builder.build({"y": y, "z": small})


def test_a_graph_comes_back_from_text_and_blobs(tmp_path: Path) -> None:
    save_text(graph(), tmp_path / "g.ir")
    assert load_text(tmp_path / "g.ir") == graph()
    assert read_graph(tmp_path / "g.ir") == graph()


def test_damaged_texts_and_blobs(tmp_path: Path) -> None:
    file = tmp_path / "g.ir"
    save_text(graph(), file)
    text = file.read_text()
    blob = tmp_path / "blobs" / f"{graph().constants['c'].digest}.npy"
    np.save(blob, np.zeros(40, np.float32))
    with pytest.raises(NpuqError, match=r"g\.ir:2: .*damaged: its content does not match its name$"):
        load_text(file)
    blob.write_bytes(b"nonsense")
    with pytest.raises(NpuqError, match=r"g\.ir:2: .*not a NumPy file that can be read"):
        load_text(file)
    blob.unlink()
    with pytest.raises(NpuqError, match=r"g\.ir:2: no data for #[0-9a-f]+; text and blobs belong together$"):
        load_text(file)
    file.write_text(text.replace(blob.stem, "../../etc/passwd"))
    with pytest.raises(NpuqError, match=r"g\.ir:2: "):
        load_text(file)
    file.write_text("graph @g(%x: f32[2]) {\n  %y = add %x, %x : f32[3]\n  return %y\n}\n")
    with pytest.raises(NpuqError, match=rf"^{file}: %y: add: %y is declared f32\[3\], inferred f32\[2\]$"):
        load_text(file)
    file.write_bytes(b"\xff\xfe")
    with pytest.raises(NpuqError, match="cannot be read"):
        load_text(file)


def test_files_that_are_not_networks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("1")
    with pytest.raises(
        NpuqError, match=r"a\.txt: '\.txt' files cannot be read; supported are \.onnx, .*, \.ir or \.npuq$"
    ):
        read_graph(tmp_path / "a.txt")
    with pytest.raises(NpuqError, match=r"gone\.onnx: there is no such file$"):
        read_graph(tmp_path / "gone.onnx")
    with pytest.raises(NpuqError, match=r": a folder, a file wanted$"):
        read_graph(tmp_path)
