"""Inputs are turned, each four-axis one, and the transposes go with those before the first convolution."""

from __future__ import annotations

from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.canonical.channels_first_inputs import channels_first_inputs

from ..rewriting import graph

BEFORE = """
graph @g(%x: f32[1,4,5,3], %z: f32[1,7]) {
  const %w: f32[3,1,1,1] = [1.0, 2.0, 3.0]
  %t = transpose %x {order=(0, 3, 1, 2)} : f32[1,3,4,5]
  %c = conv %t, %w {stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1), groups=3} : f32[1,3,4,5]
  %n = neg %z : f32[1,7]
  return %c, %n
}
"""


def test_inputs_become_channels_first() -> None:
    turned = channels_first_inputs()(graph(BEFORE))
    assert {name: str(type_) for name, type_ in turned.inputs.items()} == {"x": "f32[1,3,4,5]", "z": "f32[1,7]"}
    assert [node.op.name for node in turned.nodes] == ["transpose", "transpose", "conv", "neg"]
    assert [node.op.name for node in canonicalize()(turned).nodes] == ["conv", "neg"]


def test_an_input_that_is_returned() -> None:
    turned = channels_first_inputs()(graph("graph @g(%x: f32[1,4,5,3]) {\n  return %x\n}"))
    assert [str(type_) for type_ in turned.output_types] == ["f32[1,4,5,3]"]
