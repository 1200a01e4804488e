"""Calibration data in the form that onnxruntime reads."""

from typing import Any

import numpy as np


def reader(name: str, images: np.ndarray) -> Any:
    """A reader that gives one input of batch 1 after another."""
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # an untyped library's class
        def __init__(self) -> None:
            self.left = iter(images)

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {name: image[None]}

    return Reader()
