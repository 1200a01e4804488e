"""Reading text from class scores: repeats join, blanks part and vanish, margins do not count."""

import numpy as np

from benchmarks.text import read


def test_scores_are_read_as_text() -> None:
    classes = np.array([[0, 4, 1, 1, 0, 1, 2, 4, 3, 0, 4]])
    assert read(np.eye(5)[classes], ("", "a", "b", "c", " ")) == ["aab c"]
