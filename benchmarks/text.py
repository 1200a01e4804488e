"""Reading what a text recognition net says, and how often it is right."""

from functools import cache
from pathlib import Path

import numpy as np

BLANK = 0


@cache
def alphabet(model: Path) -> tuple[str, ...]:
    """The characters of the classes, from the model's own metadata; the blank of CTC comes first, the space last."""
    import onnx

    metadata = {entry.key: entry.value for entry in onnx.load(model, load_external_data=False).metadata_props}
    return ("", *metadata["character"].split("\n"), " ")


def read(scores: np.ndarray, characters: tuple[str, ...]) -> list[str]:
    """The text of each line of scores [N, steps, classes]: the best class of each step, repeats and blanks left out."""
    texts = []
    for steps in scores.argmax(axis=2):
        kept = steps[np.concatenate([[True], steps[1:] != steps[:-1]]) & (steps != BLANK)]
        texts.append("".join(characters[index] for index in kept).strip())
    return texts


def right(scores: np.ndarray, labels: np.ndarray, model: Path) -> float:
    """The share of lines that are read without a mistake; margins, which it likes to read as spaces, do not count."""
    return float(np.mean([text == label for text, label in zip(read(scores, alphabet(model)), labels, strict=True)]))
