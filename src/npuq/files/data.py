"""The user's data on disk: images and NumPy files as batches that fit a network's inputs."""

from __future__ import annotations

import warnings
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np

from npuq.ir.errors import NpuqError, one_line
from npuq.ir.types import DType, TensorType

Batch = dict[str, np.ndarray]
Inputs = Mapping[str, TensorType]

IMAGES = ("bmp", "dib", "jpeg", "jpg", "png", "webp", "pbm", "pgm", "ppm", "tiff", "tif")
"""The image formats that are read, by suffix in either case."""

ARRAYS = ("npy", "npz")

CHUNK = 8
"""The most samples in one batch of a file, so that memory does not grow with the file."""

DAMAGE = (OSError, ValueError, EOFError, KeyError, MemoryError, SyntaxError, zipfile.BadZipFile, zlib.error)
"""The errors of NumPy and Pillow on damaged files."""


@dataclass(frozen=True)
class Samples:
    """Data on disk: iterating reads it again each time, a batch at a time."""

    place: str
    count: int
    read: Callable[[], Iterator[Batch]]

    def __iter__(self) -> Iterator[Batch]:
        return self.read()

    def __len__(self) -> int:
        return self.count


def read_data(path: str | Path, inputs: Inputs) -> Samples:
    """Open a folder of images, a folder of .npy or .npz files, or one such file.

    Images are turned by their EXIF tag, scaled and cropped around their centre to the input's size, RGB or grey, with
    values 0 to 255. Arrays hold samples along their first axis; the keys of an .npz are input names. Raises `NpuqError`
    that names the file and the sample that do not fit.
    """
    path = Path(path)
    if not path.exists():
        raise NpuqError(f"{path}: there is no such file or folder")
    files = _files_of(path) if path.is_dir() else [path]
    readers = [_images(file, inputs) if _suffix(file) in IMAGES else _arrays(file, inputs) for file in files]
    return Samples(str(path), sum(map(len, readers)), lambda: chain.from_iterable(readers))


def _files_of(folder: Path) -> list[Path]:
    """The images or the arrays of a folder, in order."""
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    images = [file for file in files if _suffix(file) in IMAGES]
    arrays = [file for file in files if _suffix(file) in ARRAYS]
    if not images and not arrays:
        found = f"{len(files)} files of other kinds" if files else "the folder is empty"
        raise NpuqError(f"{folder}: no images or arrays, {found}; supported are {', '.join(IMAGES)}, npy or npz")
    if images and arrays:
        raise NpuqError(f"{folder}: {len(images)} images and {len(arrays)} arrays; keep one kind in the folder")
    return images or arrays


def describe(inputs: Inputs) -> str:
    """The inputs with their types, for an error."""
    return f"the inputs are {', '.join(f'{name}: {type_}' for name, type_ in inputs.items()) or 'none'}"


def _align(batch: Batch, inputs: Inputs, place: str) -> tuple[Batch, int]:
    """An array for every input, in the inputs' order, whole samples along the first axes, and their number."""
    unknown = [key for key in batch if key not in inputs]
    lacking = [name for name in inputs if name not in batch]
    if unknown:
        raise NpuqError(f"{place}: there is no input {unknown[0]!r}; {describe(inputs)}")
    if lacking:
        raise NpuqError(f"{place}: nothing for input {lacking[0]!r}; {describe(inputs)}")
    aligned = {name: _whole_samples(batch[name], name, type_, place) for name, type_ in inputs.items()}
    counts = {name: len(array) // inputs[name].shape[0] if array.ndim else 1 for name, array in aligned.items()}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{count} for {name!r}" for name, count in counts.items())
        raise NpuqError(f"{place}: the inputs have different numbers of samples: {listed}")
    return aligned, next(iter(counts.values()), 1)


def _whole_samples(array: np.ndarray, name: str, type_: TensorType, place: str) -> np.ndarray:
    """The array with the input's rank; its first axis is a multiple of the input's."""
    shape = type_.shape
    if array.ndim == type_.rank - 1 and shape[0] == 1:
        array = array[None]
    elif array.ndim == type_.rank + 1 and array.shape[1:] == shape and shape:
        array = array.reshape(array.shape[0] * shape[0], *shape[1:])
    spelled = ",".join(map(str, array.shape))
    if array.ndim != type_.rank or array.shape[1:] != shape[1:]:
        raise NpuqError(f"{place}: shape [{spelled}] does not fit input {name!r}, {type_}")
    if array.size == 0:
        raise NpuqError(f"{place}: shape [{spelled}] holds no samples for input {name!r}, {type_}")
    if shape and array.shape[0] % shape[0]:
        raise NpuqError(f"{place}: {array.shape[0]} samples for input {name!r} do not fill batches of {shape[0]}")
    return array


def _take(aligned: Batch, inputs: Inputs, place: str, start: int, stop: int) -> Batch:
    """Samples from `start` to `stop` in the inputs' element types."""
    batch: Batch = {}
    for name, array in aligned.items():
        type_ = inputs[name]
        part = array[start * type_.shape[0] : stop * type_.shape[0]] if type_.rank else array
        batch[name] = _convert(part, name, type_, place, start)
    return batch


def _convert(array: np.ndarray, name: str, type_: TensorType, place: str, start: int) -> np.ndarray:
    """The same numbers, up to precision, in the input's element type; a quantized one takes other types as reals."""
    dtype = type_.dtype if type_.quant is None or array.dtype == type_.dtype.numpy else DType.F32
    try:
        source = DType.of(array.dtype)
    except NpuqError:
        raise NpuqError(f"{place}: {array.dtype} data do not fit input {name!r}, which is {dtype}") from None
    if not (dtype.is_float or source is dtype or (dtype.is_integer and not source.is_float)):
        raise NpuqError(f"{place}: {array.dtype} data do not fit input {name!r}, which is {dtype}")
    if dtype.is_integer and source.is_integer:
        (low, high), least, greatest = dtype.range, int(array.min()), int(array.max())
        if least < low or greatest > high:
            raise NpuqError(f"{place}: numbers from {least} to {greatest} do not fit input {name!r}, which is {dtype}")
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.array(array, dtype.numpy, order="C")
        finite = np.isfinite(converted) if dtype.is_float else np.True_
    if not finite.all():
        sample = start + int(np.argwhere(~finite)[0][0]) if array.ndim else start
        raise NpuqError(f"{place}: sample {sample} of input {name!r} holds NaN or infinity")
    return converted


def _arrays(file: Path, inputs: Inputs) -> Samples:
    """The samples of an .npy or .npz file."""
    if _suffix(file) not in ARRAYS:
        raise NpuqError(f"{file}: neither an image nor an array; supported are {', '.join(IMAGES)}, npy or npz")
    _, count = _align(_load(file, inputs), inputs, str(file))

    def read() -> Iterator[Batch]:
        aligned, _ = _align(_load(file, inputs), inputs, str(file))
        for start in range(0, count, CHUNK):
            yield _take(aligned, inputs, str(file), start, min(start + CHUNK, count))

    return Samples(str(file), count, read)


def _load(file: Path, inputs: Inputs) -> Batch:
    """The arrays of a file; that of an .npy stays on disk, and the only one of an .npz may have any name."""
    if _suffix(file) == "npy" and len(inputs) != 1:
        raise NpuqError(f"{file}: one array for {len(inputs)} inputs; give an .npz, for {describe(inputs)}")
    try:
        if _suffix(file) == "npy":
            return {next(iter(inputs)): np.lib.format.open_memmap(file, mode="r")}
        if not zipfile.is_zipfile(file):
            raise ValueError("no archive")
        with np.load(file, allow_pickle=False) as archive:
            keys = list(archive.files)
            if len(keys) == 1 and len(inputs) == 1:
                return {next(iter(inputs)): archive[keys[0]]}
            # Further arrays, such as labels, may lie beside those of the inputs.
            return {key: archive[key] for key in keys if key in inputs or not set(inputs) <= set(keys)}
    except DAMAGE as error:
        raise NpuqError(f"{file}: not a NumPy file that can be read: {one_line(error)}") from None


def _images(file: Path, inputs: Inputs) -> Samples:
    """The one sample of an image file."""
    if len(inputs) != 1:
        raise NpuqError(f"{file}: an image feeds a network with one input; give an .npz, for {describe(inputs)}")
    ((name, type_),) = inputs.items()
    frame = _frame(type_)
    if frame is None or type_.shape[0] != 1:
        wanted = "1 x 1 or 3 channels x height x width wanted"
        raise NpuqError(f"{file}: input {name!r}, {type_}, takes no images: {wanted}")
    return Samples(str(file), 1, lambda: iter([_take({name: _pixels(file, *frame)}, inputs, str(file), 0, 1)]))


def _frame(type_: TensorType) -> tuple[int, int, int, bool] | None:
    """Channels, height, width, and whether the channels come first; None for types that hold no images."""
    if type_.rank != 4:
        return None
    _, first, second, third = type_.shape
    if first in (1, 3):
        return first, second, third, True
    return (third, first, second, False) if third in (1, 3) else None


def _pixels(file: Path, channels: int, height: int, width: int, channels_first: bool) -> np.ndarray:
    """An image's pixels, 0 to 255, scaled to cover the frame and cropped around the centre: [1, C, H, W] or NHWC."""
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            with Image.open(file) as image:
                turned = ImageOps.exif_transpose(image).convert("L" if channels == 1 else "RGB")
        fitted = ImageOps.fit(turned, (width, height), Image.Resampling.BILINEAR)
    except UnidentifiedImageError:
        raise NpuqError(f"{file}: not an image that can be read") from None
    except (*DAMAGE, Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise NpuqError(f"{file}: not an image that can be read: {one_line(error)}") from None
    pixels = np.asarray(fitted).reshape(height, width, channels)
    return (pixels.transpose(2, 0, 1) if channels_first else pixels)[None]


def _suffix(file: Path) -> str:
    return file.suffix.lower().removeprefix(".")
