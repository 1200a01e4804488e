"""Inputs of the nets that read text and sound: rows of tokens, frames of a voice with their state, seconds of music.

Calibration and evaluation are apart, by fixed seeds, each input a tuple in the order of the net's own inputs.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

import npuq
from npuq.ir import Graph, evaluate
from tests import zoo

from .data import ROOT

Inputs = tuple[np.ndarray, ...]

TOKENS = 128
RATE, FRAME, CONTEXT = 16000, 512, 64
MUSIC_RATE, MUSIC = 22050, 43844


@dataclass(frozen=True, slots=True)
class Sequences:
    """A net at batch 1, and its inputs."""

    graph: Graph
    calibration: Sequence[Inputs]
    evaluation: Sequence[Inputs]


def minilm(calibration: int = 16, evaluation: int = 8) -> Sequences:
    """Rows of the licence: its first half calibrates, its second evaluates."""
    names = ("input_ids", "attention_mask", "token_type_ids")
    graph = npuq.load(zoo.path("minilm"), dict.fromkeys(names, (1, TOKENS)))
    text = re.findall(r"\w+|[^\w\s]", (ROOT / "LICENSE").read_text().lower())
    half = len(text) // 2
    return Sequences(graph, rows(text[:half], calibration, 40), rows(text[half:], evaluation, 41))


def rows(text: Sequence[str], count: int, seed: int) -> list[Inputs]:
    """Parts of a text of 5 to 89 words, as tokens, mask and types, each i64[1,128]."""
    rng, known = np.random.default_rng(seed), vocabulary()
    found: list[Inputs] = []
    for _ in range(count):
        length = int(rng.integers(5, 90))
        start = int(rng.integers(0, len(text) - length))
        pieces = [piece for word in text[start : start + length] for piece in word_pieces(word, known)]
        ids = [known["[CLS]"], *pieces[: TOKENS - 2], known["[SEP]"]]
        tokens = np.zeros((1, TOKENS), np.int64)
        tokens[0, : len(ids)] = ids
        mask = (np.arange(TOKENS) < len(ids)).astype(np.int64)[None]
        found.append((tokens, mask, np.zeros_like(tokens)))
    return found


def vocabulary() -> dict[str, int]:
    """The tokens' numbers."""
    lines = zoo.path("minilm_vocabulary").read_text().splitlines()
    return {word: index for index, word in enumerate(lines)}


def word_pieces(word: str, known: dict[str, int]) -> list[int]:
    """The longest pieces of a word, from its beginning."""
    found, start = [], 0
    while start < len(word):
        prefix = "##" if start else ""
        ends = (end for end in range(len(word), start, -1) if prefix + word[start:end] in known)
        end = next(ends, None)
        if end is None:
            return [known["[UNK]"]]
        found.append(known[prefix + word[start:end]])
        start = end
    return found


def silero_vad(calibration: int = 40, evaluation: int = 16) -> Sequences:
    """Bursts of harmonics in noise, frame by frame, each with the state that the float network had."""
    shapes = {"input": (1, FRAME + CONTEXT), "state": (2, 1, 128), "sr": ()}
    graph = npuq.load(zoo.path("silero_vad"), shapes=shapes)
    return Sequences(graph, frames(graph, calibration, 0), frames(graph, evaluation, 1))


def frames(graph: Graph, count: int, seed: int) -> list[Inputs]:
    """Two frames of each stream of ten, as sound f32[1,576], state f32[2,1,128] and rate."""
    random, run = np.random.default_rng(seed), evaluate(graph)
    found: list[Inputs] = []
    while len(found) < count:
        time = np.arange(FRAME * 10) / RATE
        pitch, loudness = random.uniform(80, 250), 10 ** random.uniform(-2, -0.3)
        voice = sum(np.sin(2 * np.pi * pitch * order * time) / order for order in range(1, 18))
        bursts = np.clip(np.sin(2 * np.pi * random.uniform(1, 4) * time + random.uniform(0, 6)), 0, 1)
        signal = ((voice * bursts * 0.3 + random.normal(0, 0.02, time.size)) * loudness).astype(np.float32)
        state = np.zeros((2, 1, 128), np.float32)
        padded = np.concatenate([np.zeros(CONTEXT, np.float32), signal])
        for start in range(0, signal.size, FRAME):
            frame = (padded[None, start : start + FRAME + CONTEXT], state, np.asarray(RATE, np.int64))
            state = np.asarray(run(*frame)[1])
            if start in (3 * FRAME, 8 * FRAME):
                found.append(frame)
    return found[:count]


def basic_pitch(calibration: int = 4, evaluation: int = 2) -> Sequences:
    """Two seconds of three tones in noise, which set in one after another."""
    graph = npuq.load(zoo.path("basic_pitch"), shapes={"serving_default_input_2:0": (1, MUSIC, 1)})
    return Sequences(graph, music(calibration, 50), music(evaluation, 51))


def music(count: int, seed: int) -> list[Inputs]:
    """Sounds f32[1,43844,1]."""
    random, time = np.random.default_rng(seed), np.arange(MUSIC) / MUSIC_RATE
    found: list[Inputs] = []
    for _ in range(count):
        pitches, starts = 55 * 2 ** random.uniform(0, 5, 3), random.uniform(0, 1.5, 3)
        tones = [
            np.sin(2 * np.pi * pitch * time) * (time >= start) for pitch, start in zip(pitches, starts, strict=True)
        ]
        sound = 0.2 * np.sum(tones, 0) + random.normal(0, random.uniform(0.02, 0.2), time.shape)
        found.append((sound.astype(np.float32)[None, :, None],))
    return found


SEQUENCES: dict[str, Callable[..., Sequences]] = {
    "minilm": minilm,
    "silero_vad": silero_vad,
    "basic_pitch": basic_pitch,
}
"""Each takes how many inputs calibrate and how many evaluate."""
