"""Conditions raise with the place and the remedy; those with a pass of their own are proved beside it."""

from __future__ import annotations

import pytest

from npuq.ir import NpuqError
from npuq.passes.conditions import is_float, no_identities, no_integer_ops

from .rewriting import graph


def test_no_identities() -> None:
    text = """
    graph @g(%x: f32[2]) {
      %y = identity %x : f32[2]  loc("net.onnx:drop")
      return %y
    }
    """
    with pytest.raises(NpuqError, match=r"^net\.onnx:drop: identity: an identity is left; run drop-identity$"):
        no_identities(graph(text))
    no_identities(graph(text.replace("identity", "relu")))


def test_is_float() -> None:
    with pytest.raises(NpuqError, match=r"^g: %x is q8<0\.5>\[2\]: a float graph is wanted, as it is before insert-"):
        is_float(graph("graph @g(%x: q8<0.5>[2]) {\n  return %x\n}"))
    is_float(graph("graph @g(%x: f32[2], %n: i64[1]) {\n  return %x, %n\n}"))


def test_no_integer_ops() -> None:
    text = """
    graph @g(%x: f32[2]) {
      %q = quantize %x {scales=(0.5,)} : q8<0.5>[2]
      %y = dequantize %q {scales=(0.5,)} : f32[2]
      return %y
    }
    """
    no_integer_ops(graph(text))
