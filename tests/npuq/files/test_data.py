"""Data on disk: what is read, and what each kind of unfit file is told."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from npuq.files.data import CHUNK, IMAGES, Inputs, read_data
from npuq.ir import NpuqError, parse_type

ONE: Inputs = {"x": parse_type("f32[1,3,4,6]")}
TWO: Inputs = {"x": parse_type("f32[1,2]"), "n": parse_type("i32[1]")}


def picture(path: Path, size: tuple[int, int] = (6, 4), mode: str = "RGB", seed: int = 0) -> np.ndarray:
    shape = (size[1], size[0], 3) if mode == "RGB" else (size[1], size[0])
    pixels = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    Image.fromarray(pixels, mode=None).save(path)
    return pixels


def complaint(path: Path, inputs: Inputs = ONE) -> str:
    with pytest.raises(NpuqError) as caught:
        list(read_data(path, inputs))
    text = str(caught.value)
    assert "\n" not in text
    return text


def test_images_of_the_input_size_keep_their_pixels(tmp_path: Path) -> None:
    wanted = [picture(tmp_path / name, seed=seed) for seed, name in enumerate(("a.png", "b.BMP", "c.ppm"))]
    (tmp_path / "notes.txt").write_text("not an image")
    samples = read_data(tmp_path, ONE)
    got = list(samples)
    assert len(samples) == len(got) == 3
    for batch, pixels in zip(got, wanted, strict=True):
        assert batch["x"].dtype == np.float32
        np.testing.assert_array_equal(batch["x"], pixels.transpose(2, 0, 1)[None])


@pytest.mark.parametrize("suffix", [*IMAGES, "PNG"])
def test_every_image_format_is_read(tmp_path: Path, suffix: str) -> None:
    picture(tmp_path / f"a.{suffix}")
    (batch,) = read_data(tmp_path, ONE)
    assert batch["x"].shape == (1, 3, 4, 6)


def test_channels_last_and_grey_inputs(tmp_path: Path) -> None:
    pixels = picture(tmp_path / "a.png")
    (batch,) = read_data(tmp_path, {"x": parse_type("u8[1,4,6,3]")})
    np.testing.assert_array_equal(batch["x"], pixels[None])
    (batch,) = read_data(tmp_path / "a.png", {"x": parse_type("f32[1,1,4,6]")})
    np.testing.assert_array_equal(batch["x"][0, 0], np.asarray(Image.fromarray(pixels).convert("L")))


def test_larger_images_are_scaled_and_cropped_around_the_centre(tmp_path: Path) -> None:
    pixels = np.zeros((40, 100, 3), np.uint8)
    pixels[:, 20:80] = 200  # a frame of 6:4 around the centre sees this band only
    Image.fromarray(pixels).save(tmp_path / "a.png")
    (batch,) = read_data(tmp_path, ONE)
    assert (batch["x"][..., 1:-1] == 200).all()  # the filter reaches over the border
    assert (batch["x"] > 150).all()


def test_exif_orientation_is_followed(tmp_path: Path) -> None:
    pixels = np.zeros((6, 4, 3), np.uint8)
    pixels[0] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise
    Image.fromarray(pixels).save(tmp_path / "a.png", exif=exif)
    (batch,) = read_data(tmp_path, ONE)
    assert (batch["x"][0, :, :, -1] == 255).all()
    assert (batch["x"][0, :, :, :-1] == 0).all()


def test_an_npy_file_is_read_in_chunks_and_again(tmp_path: Path) -> None:
    array = np.random.default_rng(0).normal(size=(2 * CHUNK + 3, 3, 4, 6))
    np.save(tmp_path / "x.npy", array)
    samples = read_data(tmp_path / "x.npy", ONE)
    for _ in range(2):
        got = list(samples)
        assert [len(batch["x"]) for batch in got] == [CHUNK, CHUNK, 3]
        np.testing.assert_array_equal(np.concatenate([batch["x"] for batch in got]), array.astype(np.float32))
    assert len(samples) == len(array)


def test_a_folder_of_single_samples_and_batches(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.full((3, 4, 6), 1, np.uint8))
    np.save(tmp_path / "b.npy", np.full((2, 3, 4, 6), 2, np.float16))
    samples = read_data(tmp_path, ONE)
    assert len(samples) == 3
    assert [batch["x"][0, 0, 0, 0] for batch in samples] == [1, 2]


def test_inputs_with_a_batch_of_their_own(tmp_path: Path) -> None:
    inputs = {"x": parse_type("f32[2,3]")}
    np.save(tmp_path / "a.npy", np.arange(12.0).reshape(4, 3))
    np.save(tmp_path / "b.npy", np.arange(18.0).reshape(3, 2, 3))
    samples = read_data(tmp_path, inputs)
    assert [batch["x"].shape for batch in samples] == [(4, 3), (6, 3)]
    assert len(samples) == 5
    np.save(tmp_path / "b.npy", np.zeros((3, 3)))
    assert complaint(tmp_path, inputs) == f"{tmp_path}/b.npy: 3 samples for input 'x' do not fill batches of 2"


def test_npz_files_by_input_name(tmp_path: Path) -> None:
    file = tmp_path / "d.npz"
    np.savez(file, n=np.arange(3, dtype=np.int64), label=np.zeros(5), x=np.ones((3, 2)))
    (batch,) = read_data(file, TWO)
    assert list(batch) == ["x", "n"]
    assert batch["n"].dtype == np.int32
    np.savez(file, pixels=np.ones((3, 3, 4, 6)))
    (batch,) = read_data(file, ONE)
    assert batch["x"].shape == (3, 3, 4, 6)


LISTED = "the inputs are x: f32[1,2], n: i32[1]"
BAD_ARRAYS = [
    ("shape", {"x": np.zeros((2, 3, 6, 4))}, ONE, "shape [2,3,6,4] does not fit input 'x', f32[1,3,4,6]"),
    ("rank", {"x": np.zeros(5)}, ONE, "shape [5] does not fit input 'x', f32[1,3,4,6]"),
    ("empty", {"x": np.zeros((0, 3, 4, 6))}, ONE, "shape [0,3,4,6] holds no samples for input 'x', f32[1,3,4,6]"),
    ("complex", {"x": np.zeros((1, 3, 4, 6), complex)}, ONE, "complex128 data do not fit input 'x', which is f32"),
    ("text", {"x": np.full((1, 3, 4, 6), "a")}, ONE, "<U1 data do not fit input 'x', which is f32"),
    ("unknown", {"x": np.zeros((1, 2)), "m": np.zeros(1)}, TWO, f"there is no input 'm'; {LISTED}"),
    ("lacking", {"x": np.zeros((1, 2)), "y": np.zeros(1)}, TWO, f"there is no input 'y'; {LISTED}"),
    ("fewer", {"x": np.zeros((1, 2))}, TWO, f"nothing for input 'n'; {LISTED}"),
    ("floats", {"x": np.zeros((1, 2)), "n": np.zeros(1)}, TWO, "float64 data do not fit input 'n', which is i32"),
    (
        "range",
        {"x": np.zeros((1, 2)), "n": np.array([1 << 40])},
        TWO,
        "numbers from 1099511627776 to 1099511627776 do not fit input 'n', which is i32",
    ),
    (
        "counts",
        {"x": np.zeros((3, 2)), "n": np.zeros(2, int)},
        TWO,
        "the inputs have different numbers of samples: 3 for 'x', 2 for 'n'",
    ),
]


@pytest.mark.parametrize(("arrays", "inputs", "said"), [row[1:] for row in BAD_ARRAYS], ids=[r[0] for r in BAD_ARRAYS])
def test_arrays_that_do_not_fit(tmp_path: Path, arrays: dict[str, np.ndarray], inputs: Inputs, said: str) -> None:
    np.savez(tmp_path / "d.npz", **arrays)  # type: ignore[arg-type]  # names beside its one flag
    assert complaint(tmp_path / "d.npz", inputs) == f"{tmp_path}/d.npz: {said}"


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
def test_a_number_that_is_not_finite_is_found(tmp_path: Path, value: float) -> None:
    array = np.zeros((CHUNK + 5, 3, 4, 6))
    array[CHUNK + 2, 1, 2, 3] = value
    np.save(tmp_path / "x.npy", array)
    said = f"{tmp_path}/x.npy: sample {CHUNK + 2} of input 'x' holds NaN or infinity"
    assert complaint(tmp_path / "x.npy") == said


def test_paths_that_hold_no_data(tmp_path: Path) -> None:
    assert complaint(tmp_path / "gone") == f"{tmp_path}/gone: there is no such file or folder"
    kinds = f"supported are {', '.join(IMAGES)}, npy or npz"
    assert complaint(tmp_path) == f"{tmp_path}: no images or arrays, the folder is empty; {kinds}"
    (tmp_path / "a.txt").write_text("?")
    assert complaint(tmp_path) == f"{tmp_path}: no images or arrays, 1 files of other kinds; {kinds}"
    assert complaint(tmp_path / "a.txt") == f"{tmp_path}/a.txt: neither an image nor an array; {kinds}"
    picture(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.zeros(1))
    assert complaint(tmp_path) == f"{tmp_path}: 1 images and 1 arrays; keep one kind in the folder"


def test_files_that_are_not_what_they_claim_to_be(tmp_path: Path) -> None:
    good = tmp_path / "good.png"
    picture(good, (60, 40))
    for name, content in (("a.png", b"nonsense"), ("b.png", good.read_bytes()[:200]), ("c.jpg", b"")):
        (tmp_path / name).write_bytes(content)
        assert complaint(tmp_path / name).startswith(f"{tmp_path / name}: not an image that can be read")
    np.save(tmp_path / "whole.npy", np.zeros((1, 3, 4, 6)))
    whole = (tmp_path / "whole.npy").read_bytes()
    for name, content in (("a.npy", b"nonsense"), ("b.npy", whole[:-8]), ("c.npz", whole), ("d.npz", b"")):
        (tmp_path / name).write_bytes(content)
        assert complaint(tmp_path / name).startswith(f"{tmp_path / name}: not a NumPy file that can be read")


def test_pickled_objects_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}], object), allow_pickle=True)
    np.savez(tmp_path / "a.npz", x=np.array([{}], object))
    for name in ("a.npy", "a.npz"):
        assert "not a NumPy file that can be read" in complaint(tmp_path / name)


def test_inputs_that_images_cannot_feed(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    assert complaint(tmp_path, TWO).endswith(
        f"a.png: an image feeds a network with one input; give an .npz, for {LISTED}"
    )
    for spelled in ("f32[1,4,8,8]", "f32[1,10]", "f32[2,3,8,8]"):
        said = complaint(tmp_path, {"x": parse_type(spelled)})
        assert f"input 'x', {spelled}, takes no images: 1 x 1 or 3 channels x height x width wanted" in said


def test_an_image_that_would_fill_the_memory_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    picture(tmp_path / "a.png", (60, 40))
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    assert "not an image that can be read: Image size (2400 pixels) exceeds limit" in complaint(tmp_path)
