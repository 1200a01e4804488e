"""Networks of any framework for one use: inputs fixed to values, and other outputs than their own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import npuq
from npuq.frontends.specialize import specialize
from npuq.ir import NpuqError, evaluate, parse, to_text

TEXT = """
graph @net(%x: f32[1,4], %gain: f32[1], %row: i64[]) {
  const %w: f32[2,4] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
  %picked = gather %w, %row {axis=0} : f32[4]
  %shifted = add %x, %picked : f32[1,4]
  %scaled = mul %shifted, %gain : f32[1,4]
  %y = relu %scaled : f32[1,4]
  return result=%y, %scaled
}
"""


def test_inputs_become_constants_and_a_value_the_output() -> None:
    graph = specialize(parse(TEXT.lstrip()), {"row": 1, "gain": 2}, ["shifted", "result"])
    assert (
        to_text(graph)
        == """\
graph @net(%x: f32[1,4]) {
  const %w: f32[2,4] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
  const %row: i64[] = [1]
  const %gain: f32[1] = [2.0]
  %picked = gather %w, %row {axis=0} : f32[4]
  %shifted = add %x, %picked : f32[1,4]
  %scaled = mul %shifted, %gain : f32[1,4]
  %y = relu %scaled : f32[1,4]
  return %shifted, result=%y
}
"""
    )


def test_what_no_output_needs_is_left_out() -> None:
    graph = specialize(parse(TEXT.lstrip()), None, ["picked"])
    assert [node.results[0] for node in graph.nodes] == ["picked"]
    assert list(graph.inputs) == ["x", "gain", "row"]
    whole = parse(TEXT.lstrip())
    assert specialize(whole) is whole


@pytest.mark.parametrize(
    ("values", "outputs", "message"),
    [
        ({"rows": 1}, [], "net: there is no input 'rows'; similar names: row"),
        ({"row": 0.5}, [], "net: input row: i64[] does not hold 0.5"),
        ({"gain": [1, 2]}, [], "net: input gain: f32[1] cannot be fixed to a value of shape (2,)"),
        ({}, ["x"], "net: 'x' is an input, not a computed value; similar names: picked, shifted, scaled"),
        ({}, ["shift"], "net: there is no value 'shift'; similar names: shifted"),
        ({}, ["w"], "net: there is no value 'w'; similar names: picked, shifted, scaled"),
    ],
    ids=str,
)
def test_names_and_values_that_do_not_fit_are_told(values: dict[str, Any], outputs: list[str], message: str) -> None:
    with pytest.raises(NpuqError, match="^" + re.escape(message) + "$"):
        specialize(parse(TEXT.lstrip()), values, outputs)


def scaled(x: jax.Array, gain: jax.Array, row: jax.Array) -> dict[str, jax.Array]:
    shifted = x + jnp.where(row == 1, jnp.asarray([3.0, 4.0]), jnp.asarray([1.0, 2.0]))
    return {"whole": shifted * gain, "part": jnp.exp(shifted)}


def test_a_function_of_jax_is_cut_and_compared() -> None:
    inputs = (np.ones(2, np.float32), np.ones((), np.float32), np.zeros((), np.int32))
    options: dict[str, Any] = {"inputs": inputs, "values": {"row": 1, "gain": 0.5}}
    graph = npuq.load(scaled, outputs=["whole"], **options)
    assert list(graph.inputs) == ["x"]
    assert list(graph.outputs) == ["whole"]
    (found,) = evaluate(graph)(np.asarray([1.0, -4.0], np.float32))
    np.testing.assert_array_equal(found, [2.0, 0.0])
    (difference,) = npuq.verify_import(graph, scaled, outputs=["whole"], **options)
    assert difference.share < 1e-6
    (inner,) = [node.results[0] for node in graph.nodes if node.op.name == "add"]
    with pytest.raises(NpuqError, match=r"^JAX does not show its layers, so that other outputs have no reference$"):
        npuq.verify_import(npuq.load(scaled, outputs=[inner], **options), scaled, outputs=[inner], **options)


def test_a_tflite_file_is_cut_and_compared_at_its_tensors(tmp_path: Path) -> None:
    from .test_tflite_load import saved

    path = saved(tmp_path)
    options: dict[str, Any] = {"outputs": ["y", "shaped"]}
    graph = npuq.load(path, **options)
    assert list(graph.outputs) == ["y", "shaped"]
    first, second = npuq.verify_import(graph, path, **options)
    assert (first.output, second.output) == ("y", "shaped")
    assert first.share == second.share
