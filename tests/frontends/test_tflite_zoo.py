"""Real TFLite networks: integer ones become programs without a calibration, float ones compute what LiteRT computes."""

from __future__ import annotations

import pytest

import npuq
from npuq.backends.target import load_target
from npuq.passes.canonicalise import canonicalise
from npuq.passes.lower_to_integer import lower_to_integer
from npuq.passes.pipeline import chain
from tests import zoo

TINY = ("anomaly_detection", "image_classification", "keyword_spotting", "visual_wake_words")


@pytest.mark.zoo
@pytest.mark.parametrize("name", TINY)
def test_integer_networks_run_on_the_npu_alone(name: str) -> None:
    graph = npuq.load(zoo.path("mlperf_tiny") / f"{name}.tflite")
    integer = chain(canonicalise(), lower_to_integer(target=load_target("npu-asym")))(graph)
    assert not [node.place for node in integer.nodes if node.host]
    assert not [node.place for node in integer.nodes if node.op.name == "transpose"]
    assert {type_.dtype for type_ in (*integer.input_types, *integer.output_types)} == {npuq.ir.DType.I8}
