"""A voice detector that keeps its state from call to call: it goes out as it comes in, all in integers."""

from __future__ import annotations

import numpy as np
import pytest

import npuq
from benchmarks import sequences
from benchmarks.widths import reals
from tests import zoo

pytestmark = [pytest.mark.zoo, pytest.mark.slow]


@pytest.mark.parametrize(("bits", "least"), [(8, 5.0), (16, 50.0)])
def test_a_detector_with_state_runs_as_integers(bits: int, least: float) -> None:
    try:
        detector = sequences.silero_vad(16, 8)
    except zoo.UnavailableError as error:
        pytest.skip(str(error))
    quantized = npuq.quantize(detector.graph, detector.calibration, bits=bits)
    assert not [node.place for node in quantized.graph.nodes if node.host]
    assert quantized.graph.types["state"].quant == quantized.graph.output_types[1].quant
    wanted = reals(npuq.evaluate(quantized.float_graph), detector.evaluation)
    noise = wanted - reals(quantized.simulate, detector.evaluation)
    assert 10 * np.log10(np.square(wanted).sum() / np.square(noise).sum()) > least
