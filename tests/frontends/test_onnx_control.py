"""If, Loop and Scan become plain nodes that compute what onnxruntime computes."""

from __future__ import annotations

import numpy as np
import onnxruntime
import pytest
from onnx import ModelProto, TensorProto, parser

from npuq.frontends import load
from npuq.ir import NpuqError, evaluate, to_text

HEAD = '<ir_version: 8, opset_import: ["" : 17]>\n'


def model(text: str) -> ModelProto:
    return parser.parse_model(HEAD + text)


def assert_equals_onnxruntime(made: ModelProto, *inputs: np.ndarray) -> None:
    graph = load(made)
    assert {node.op.name for node in graph.nodes}.isdisjoint({"if", "loop", "scan"})
    names = [value.name for value in made.graph.input]
    wanted = onnxruntime.InferenceSession(made.SerializeToString()).run(None, dict(zip(names, inputs, strict=True)))
    for ours, theirs in zip(evaluate(graph)(*inputs), wanted, strict=True):
        np.testing.assert_allclose(np.asarray(ours), theirs, rtol=1e-6, atol=1e-6)
        assert ours.shape == theirs.shape


X = np.asarray([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]], np.float32)

CHOICE = """
pick (float[2, 3] x, bool[1] flag) => (float[2, 3] y, float[2, 3] z) {
  y, z = If (flag) <
    then_branch = yes () => (float[2, 3] a, float[2, 3] b) { a = Neg (x)  b = Relu (x) },
    else_branch = no () => (float[2, 3] c, float[2, 3] d) { c = Abs (x)  d = Relu (c) }
  >
}
"""


@pytest.mark.parametrize("flag", [True, False])
def test_an_if_that_the_inputs_decide_chooses_from_both_branches(flag: bool) -> None:
    assert_equals_onnxruntime(model(CHOICE), X, np.asarray([flag]))


def test_a_chosen_result_has_the_users_name() -> None:
    text = to_text(load(model(CHOICE)))
    assert "%y = where" in text
    assert 'loc("pick:y")' in text


def test_branches_of_two_types_are_told() -> None:
    different = CHOICE.replace("a = Neg (x)", "a = ReduceSum (x)").replace("(float[2, 3] a", "(float[1, 1] a")
    with pytest.raises(NpuqError) as caught:
        load(model(different))
    assert str(caught.value) == (
        "pick:y: If: its condition is computed from the inputs, but its branches give f32[1,1] and f32[2,3]; "
        "fix 'flag', for example: --value flag:1, or values={'flag': 1}"
    )
    data = different.replace("If (flag)", "If (large)").replace("y, z = If", "large = Greater (m, limit)  y, z = If")
    data = data.replace("float[2, 3] z) {", "float[2, 3] z)\n<float limit = {2}> {\n  m = ReduceMax <keepdims = 0> (x)")
    with pytest.raises(NpuqError, match=r"; export the branch that is meant, or branches of one type$"):
        load(model(data))


LOOP = """
repeat (float[2, 3] x) => (float[2, 3] y, float[N, 2, 3] all)
<int64 count = {4}, bool on = {1}, float half = {0.5}> {
  y, all = Loop (count, on, x) <body = step (int64 i, bool going, float[2, 3] before) =>
    (bool going_on, float[2, 3] after, float[2, 3] seen) {
      going_on = Identity (going)
      index = Cast <to = 1> (i)
      scaled = Mul (before, half)
      after = Add (scaled, index)
      seen = Neg (after)
  }>
}
"""


def test_a_loop_of_a_known_count_is_unrolled() -> None:
    assert_equals_onnxruntime(model(LOOP), X)


def test_a_loop_ends_where_its_condition_is_known_to_be_false() -> None:
    ends = LOOP.replace("going_on = Identity (going)", "last = Constant <value_int = 2> ()  going_on = Less (i, last)")
    made = model(ends)
    assert_equals_onnxruntime(made, X)
    assert load(made).output_types[1].shape == (3, 2, 3)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "going_on = Identity (going)",
            "total = ReduceSum <keepdims = 0> (before)  going_on = Greater (total, half)",
            "repeat:y: Loop: its condition is computed from the inputs, so the number of iterations is not known; "
            "export the model with a fixed number of steps",
        ),
        (
            "(float[2, 3] x) => (float[2, 3] y, float[N, 2, 3] all)\n<int64 count = {4}, ",
            "(float[2, 3] x, int64 count) => (float[2, 3] y, float[N, 2, 3] all)\n<",
            "repeat:y: Loop: its trip count is computed from the inputs, so the number of iterations is not known; "
            "fix 'count', for example: --value count:1, or values={'count': 1}",
        ),
        (
            "count = {4}",
            "count = {1000000}",
            "repeat:y: Loop: 1000000 iterations make 5000000 nodes, at most 20000 are unrolled; "
            "export fewer steps at a time",
        ),
        ("count = {4}", "count = {0}", "repeat:y: Loop: no iteration, so the shape of what it collects is not known"),
    ],
    ids=["condition", "an input", "many", "none"],
)
def test_loops_that_cannot_be_unrolled_are_told(old: str, new: str, message: str) -> None:
    with pytest.raises(NpuqError) as caught:
        load(model(LOOP.replace(old, new)))
    assert str(caught.value) == message


SCAN = """
sums (float[2] start, float[2, 3] x) => (float[2] last, float[2, 3] all) {
  last, all = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_output_axes = [1],
    scan_input_directions = [1], scan_output_directions = [0],
    body = step (float[2] before, float[2] now) => (float[2] after, float[2] seen) {
      after = Add (before, now)
      seen = Identity (after)
    }> (start, x)
}
"""


def test_a_scan_is_unrolled() -> None:
    assert_equals_onnxruntime(model(SCAN), np.asarray([1.0, 2.0], np.float32), X)
    both = model(SCAN.replace("scan_output_directions = [0]", "scan_output_directions = [1]"))
    assert_equals_onnxruntime(both, np.asarray([1.0, 2.0], np.float32), X)
    assert both.graph.input[0].type.tensor_type.elem_type == TensorProto.FLOAT
