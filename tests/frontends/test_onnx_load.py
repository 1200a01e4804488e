"""Reading ONNX models: names, shapes, constants, branches, functions, and what is said of those that cannot be read."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import ModelProto, TensorProto, helper, numpy_helper

from npuq.frontends import check, load
from npuq.ir import Graph, NpuqError, ParseError, evaluate, verify


def model(graph: str, opset: int = 17, functions: str = "") -> ModelProto:
    """A model in ONNX's own text form."""
    return onnx.parser.parse_model(f'<ir_version: 9, opset_import: ["" : {opset}, "mine" : 1]> {graph} {functions}')


def loaded(graph: str, opset: int = 17, **shapes: tuple[int, ...]) -> Graph:
    return verify(load(model(graph, opset), shapes))


def run(graph: Graph, *inputs: np.ndarray) -> list[np.ndarray]:
    return [np.asarray(output) for output in evaluate(graph)(*inputs)]


def test_a_graph_keeps_names_and_says_where_each_node_came_from(tmp_path: Path) -> None:
    source = model("g (float[N,2,5] x) => (float[N,3,2] y) { c = Conv <strides = [2]> (x, w, b) y = Relu (c) }")
    source.graph.node[0].name = "conv1"
    source.graph.initializer.extend(
        numpy_helper.from_array(np.zeros(shape, np.float32), name) for shape, name in (((3, 2, 3), "w"), ((3,), "b"))
    )
    onnx.save(source, tmp_path / "lenet.onnx")
    lines = str(load(tmp_path / "lenet.onnx")).splitlines()
    assert lines[0] == "graph @lenet(%x: f32[1,2,5]) {"
    assert lines[3:] == [
        '  %c = conv %x, %w, %b {stride=(2,), padding=((0, 0),), dilation=(1,)} : f32[1,3,2]  loc("lenet.onnx:conv1")',
        '  %y = relu %c : f32[1,3,2]  loc("lenet.onnx:y")',
        "  return %y",
        "}",
    ]


def test_shape_arithmetic_vanishes() -> None:
    graph = loaded(
        """g (float[N,3,H,W] x) => (float[N,K] y)
        <int64[1] minus = {-1}, int64 zero = {0}, int64[1] axis = {0}> {
            s = Shape (x) n = Gather (s, zero) u = Unsqueeze (n, axis) target = Concat <axis = 0> (u, minus)
            flat = Reshape (x, target) ones = ConstantOfShape (s) shifted = Add (x, ones) y = Reshape (shifted, target)
        }""",
        x=(2, 3, 4, 5),
    )
    assert [node.op.name for node in graph.nodes] == ["add", "reshape"]
    assert graph.output_types[0].shape == (2, 60)


def test_an_output_may_be_an_input_or_a_constant() -> None:
    graph = loaded("g (float[2] x) => (float[2] x, float[2] k) { k = Constant <value = float[2] {1.0, 2.0}> () }")
    assert dict(graph.outputs) == {"x": "x", "k": "k"}
    assert run(graph, np.zeros(2, np.float32))[1].tolist() == [1, 2]


RELU = "g (float[N,3,H,W] x, float[N,3] z) => (float[N,3,H,W] y, float[N,3] v) { y = Relu (x) v = Relu (z) }"


def test_a_size_given_for_a_symbol_holds_everywhere() -> None:
    graph = loaded(RELU, x=(4, 3, 5, 6))
    assert [type_.shape for type_ in graph.input_types] == [(4, 3, 5, 6), (4, 3)]


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({}, ("sizes of 1 of 2 inputs are not fixed: x: f32[N,3,H,W]", "--shape x:1,3,224,224")),
        ({"w": (1,)}, ("there is no input 'w'", "x: f32[N,3,H,W], z: f32[N,3]")),
        ({"x": (1, 4, 5, 6)}, ("shape 1,4,5,6 given, but input x: f32[N,3,H,W]",)),
        ({"x": (1, 3, 5)}, ("shape 1,3,5 given, but input x: f32[N,3,H,W]",)),
        ({"x": (1, 3, 5, 6), "z": (2, 3)}, ("shape 2,3 given, but input z: f32[N,3]",)),
        ({"x": (1, 3, 0, 6)}, ("shape 1,3,0,6 given",)),
        ({"x": (1, 3, 1 << 16, 1 << 16)}, ("more than 2147483648 elements",)),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes: dict[str, tuple[int, ...]], words: tuple[str, ...]) -> None:
    with pytest.raises(NpuqError) as caught:
        load(model(RELU), shapes)
    assert "\n" not in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_an_open_batch_is_one_wherever_its_symbol_stands() -> None:
    text = "g (float[N,L] x, float[2,N,3] z) => (float[N,L] y, float[2,N,3] w) { y = Relu (x) w = Relu (z) }"
    assert [type_.shape for type_ in loaded(text, x=(1, 8)).input_types] == [(1, 8), (2, 1, 3)]
    assert [type_.shape for type_ in loaded(text, x=(4, 8)).input_types] == [(4, 8), (2, 4, 3)]
    with pytest.raises(NpuqError, match=r"of 1 of 2 inputs are not fixed: x: f32\[N,L\]; .* --shape x:1,224$"):
        loaded(text)


def test_a_size_of_minus_one_and_an_expression_are_open() -> None:
    source = model("g (float[N,2] x) => (float[N,2] y) { y = Relu (x) }")
    sizes = source.graph.input[0].type.tensor_type.shape.dim
    sizes[0].dim_value, sizes[1].dim_param = -1, "floor(a/2) + 1"
    with pytest.raises(NpuqError, match=r"x: f32\[\?,floor\(a/2\) \+ 1\]"):
        load(source)
    assert load(source, {"x": (3, 4)}).input_types[0].shape == (3, 4)


def test_an_open_rank_must_be_given() -> None:
    source = model("g (float[N] x) => (float[N] y) { y = Relu (x) }")
    source.graph.input[0].type.tensor_type.ClearField("shape")
    with pytest.raises(NpuqError, match=r"x: f32\[\.\.\.\]"):
        load(source)
    assert load(source, {"x": (2, 2)}).output_types[0].shape == (2, 2)


@pytest.mark.parametrize("opset", [6, 99])
def test_opsets_that_are_too_old_or_too_new_are_named(opset: int) -> None:
    with pytest.raises(NpuqError, match=rf"opset {opset}, 7 to \d+ can be read"):
        loaded("g (float[2] x) => (float[2] y) { y = Relu (x) }", opset)


def test_a_domain_imported_twice_and_its_long_name_are_one() -> None:
    source = model("g (float[2] x) => (float[2] y) { y = Relu (x) }")
    source.opset_import.append(helper.make_opsetid("ai.onnx", 13))
    source.graph.node[0].domain = "ai.onnx"
    assert len(load(source).nodes) == 1


def test_initializers_that_old_files_list_as_inputs_are_constants() -> None:
    graph = loaded("g (float[2] x, float[2] w) => (float[2] y) <float[2] w = {1.0, 2.0}> { y = Add (x, w) }", 7)
    assert list(graph.inputs) == ["x"]
    assert run(graph, np.ones(2, np.float32))[0].tolist() == [2, 3]


def test_narrow_weights_behind_a_cast_are_constants() -> None:
    source = model("g (float[1,2] x) => (float[1,2] y) { wide = Cast <to = 1> (w) y = MatMul (x, wide) }")
    source.graph.initializer.append(numpy_helper.from_array(np.asarray([[1, 2], [3, 4]], np.float16), "w"))
    graph = load(source)
    assert [node.op.name for node in graph.nodes] == ["matmul"]
    assert run(graph, np.ones((1, 2), np.float32))[0].tolist() == [[4, 6]]


GEMM = """g (float[2,3] x) => (float[2,2] y) <float[2,3] w = {1.0, 2.0, 3.0, 4.0, 5.0, 6.0}, float[%s] c = {%s}> {
    y = Gemm <transB = 1, alpha = 0.5, beta = 2.0> (x, w, c)
}"""


@pytest.mark.parametrize(("shape", "numbers"), [("2", "1, 2"), ("1,2", "1, 2"), ("1", "3"), ("2,1", "1, 2")])
def test_the_factors_of_gemm_go_into_its_constants(shape: str, numbers: str) -> None:
    graph = loaded(GEMM % (shape, numbers.replace(",", ".0,") + ".0"))
    c = np.asarray([float(number) for number in numbers.split(",")], np.float32).reshape(
        [int(size) for size in shape.split(",")]
    )
    x, w = np.arange(6, dtype=np.float32).reshape(2, 3), np.arange(1, 7, dtype=np.float32).reshape(2, 3)
    np.testing.assert_array_equal(run(graph, x)[0], 0.5 * x @ w.T + 2 * c)
    assert [node.op.name for node in graph.nodes] == (["matmul", "add"] if shape == "2,1" else ["matmul"])


def external(location: str, **entries: str) -> ModelProto:
    """A model whose weights of 8 bytes lie in a file."""
    source = model("g (float[2] x) => (float[2] y) { y = Add (x, w) }")
    tensor = source.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=[2])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in {"location": location, **entries}.items():
        tensor.external_data.add(key=key, value=value)
    return source


def test_external_data_is_read_beside_the_model(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "w.bin").write_bytes(b"1234" + np.asarray([1, 2], np.float32).tobytes())
    onnx.save(external("deep/w.bin", offset="4", length="8"), tmp_path / "m.onnx")
    assert run(load(tmp_path / "m.onnx"), np.zeros(2, np.float32))[0].tolist() == [1, 2]


@pytest.mark.parametrize(
    ("location", "entries", "words"),
    [
        ("../secret", {}, "leaves the model's folder"),
        ("/etc/hostname", {}, "leaves the model's folder"),
        ("link", {}, "leaves the model's folder"),
        ("absent", {}, "there is no file 'absent'"),
        ("", {}, "there is no file"),
        ("short", {}, "bytes 0 to 8 of 4"),
        ("good", {"offset": "1"}, "bytes 1 to 9 of 8"),
        ("good", {"offset": "-8"}, "bytes -8 to 0 of 8"),
        ("good", {"length": "4"}, "4 bytes, 8 wanted"),
        ("good", {"offset": "x"}, "damaged"),
    ],
)
def test_external_data_never_leaves_the_folder(
    tmp_path: Path, location: str, entries: dict[str, str], words: str
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for file, size in ((tmp_path / "secret", 8), (folder / "short", 4), (folder / "good", 8)):
        file.write_bytes(bytes(size))
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "m.onnx").write_bytes(external(location, **entries).SerializeToString())
    with pytest.raises(NpuqError, match=words):
        load(folder / "m.onnx")


def test_external_data_needs_a_path() -> None:
    with pytest.raises(NpuqError, match="load the model from its path"):
        load(external("w.bin"))


BRANCH = """g (float[2] x) => (float[2] y) {{
    condition = Constant <value = bool[1] {{{taken}}}> ()
    y = If (condition) <
        then_branch = t () => (float[2] a) {{ a = Add (x, x) }},
        else_branch = e () => (float[2] a) {{ two = Constant <value = float {{2.0}}> () a = Mul (x, two) b = Neg (a) }}
    >
}}"""


@pytest.mark.parametrize(("taken", "ops"), [(1, ["add"]), (0, ["mul"])])
def test_a_constant_condition_takes_its_branch(taken: int, ops: list[str]) -> None:
    graph = loaded(BRANCH.format(taken=taken))
    assert [node.op.name for node in graph.nodes] == ops
    assert list(graph.outputs) == ["y"]


def test_a_problem_in_a_branch_that_may_be_taken_is_told_once() -> None:
    source = model(BRANCH.format(taken=1).replace("condition =", "unused ="))
    source.graph.input.append(helper.make_tensor_value_info("condition", TensorProto.BOOL, []))
    source.graph.node[1].attribute[0].g.node[0].op_type = "Zip"
    (problem,) = check(source)
    assert (problem.operator, problem.count) == ("If", 1)
    assert "g:a: Zip: no converter for 'Zip', which is no ONNX operator); fix 'condition'" in problem.reason


def function(name: str, body: str) -> str:
    return f'<domain: "mine", opset_import: ["" : 17, "mine" : 1]> {name} (a) => (b) {{ {body} }}'


def test_functions_of_the_model_are_put_in_place() -> None:
    text = "g (float[2] x) => (float[2] y) { z = mine.twice (x) y = mine.twice (z) }"
    graph = load(model(text, functions=function("twice", "b = Add (a, a)")))
    assert [node.op.name for node in graph.nodes] == ["add", "add"]


CALL = "g (float[2] x) => (float[2] y) { y = mine.f30 (x) }"


def test_a_function_that_calls_itself_is_refused() -> None:
    with pytest.raises(NpuqError, match="its function 'f30' calls itself"):
        load(model(CALL, functions=function("f30", "b = mine.f30 (a)")))


def test_functions_that_multiply_without_end_are_refused() -> None:
    bodies = (f"c = mine.f{index} (a) b = mine.f{index} (c)" for index in range(30))
    functions = " ".join(function(f"f{index + 1}", body) for index, body in enumerate(bodies))
    with pytest.raises(NpuqError, match="more than 100000 nodes"):
        load(model(CALL, functions=function("f0", "b = Relu (a)") + functions))


def test_operators_that_onnx_defines_by_others_are_inlined_with_their_defaults() -> None:
    graph = loaded("g (float[2,3,4,5] x) => (float[2,3,4,5] y) { y = MeanVarianceNormalization (x) }", 13)
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    wanted = (x - x.mean((0, 2, 3), keepdims=True)) / x.std((0, 2, 3), keepdims=True)
    np.testing.assert_allclose(run(graph, x)[0], wanted, rtol=1e-4, atol=1e-5)


BROKEN = """g (float[1,2,4,4] x) => (float[1,2] y) {
    a = mine.Zip (x) b = Relu (a) c = Unique (b) d = mine.Zip (c)
    m, places = Sigmoid (x) used = Add (places, places)
    v = LeakyRelu <alpha = 1> (x) s = Softmax <axis = 9> (x) y = Add (d, s)
}"""


def test_check_tells_all_problems_at_once() -> None:
    problems = {problem.operator: problem for problem in check(model(BROKEN))}
    assert list(problems) == ["Zip", "Unique", "Sigmoid", "LeakyRelu", "Softmax"]
    assert problems["Zip"].nodes == ("g:a", "g:d")
    assert "which is no ONNX operator" in problems["Zip"].reason
    assert problems["Unique"].remedy
    assert "output 1 ('places') is not supported" in problems["Sigmoid"].reason
    assert "attribute 'alpha' must be a float" in problems["LeakyRelu"].reason
    assert "axis 9" in problems["Softmax"].reason


def test_load_names_all_problems_in_one_line() -> None:
    with pytest.raises(NpuqError, match=r"^g: 5 problems: g:a and 1 more: Zip: .*; g:c: Unique: ") as caught:
        load(model(BROKEN))
    assert "\n" not in str(caught.value)


def test_a_good_model_has_no_problems() -> None:
    assert check(model("g (float[2] x) => (float[2] y) { y = Relu (x) }")) == []


def test_open_shapes_do_not_hide_unknown_operators() -> None:
    source = model("g (float[2,K] x) => (float[2,K] y) { y = mine.Zip (x) }")
    assert [problem.operator for problem in check(source)] == ["input", "Zip"]


@pytest.mark.parametrize(
    ("graph", "words"),
    [
        ("g (float[2] x) => (float[2] y) { y = Relu (z) }", "g:y: Relu: operand 'z' is not defined"),
        ("g (float[2] x) => (float[2] y) { y = Relu (z) z = Relu (x) }", "operand 'z' is not defined, or only later"),
        ("g (float[2] x) => (float[2] y) { y = Relu (x) y = Relu (x) }", "two values are named 'y'"),
        ("g (float[2] x) => (float[2] y) { z = Relu (x) }", "output 'y' is not defined"),
        ("g (float[2] x) => (float[2] y) { y = Relu () }", "g:y: Relu: operand 0 is missing"),
        ("g (float[2] x) => () { y = Relu (x) }", "no outputs"),
        ("g (string[2] x) => (string[2] y) { y = Identity (x) }", "input 'x' has elements of type STRING"),
        ("g (seq(float[2]) x) => (seq(float[2]) y) { y = Identity (x) }", "input 'x' is not a tensor"),
        (
            "g (float[1,1,4] x) => (float[1,1,4] y) <float[1,1,3] w = {1,1,1}> { y = Conv <pads = [1]> (x, w) }",
            r"g:y: Conv: pads \(1,\) on 1 spatial axes",
        ),
        (
            'g (float[1,1,4] x) => (float[1,1,4] y) <float[1,1,3] w = {1,1,1}> { y = Conv <auto_pad = "SAME"> (x, w) }',
            "g:y: Conv: auto_pad 'SAME' is not known",
        ),
        (
            "g (float[1,3,4] x) => (float[1,1,4] y) <float[1,1,3] w = {1,1,1}> { y = Conv (x, w) }",
            "g:y: Conv: 3 channels in, 1 x 1 wanted",
        ),
        (
            "g (float[2,2] x) => (float[2,2] y) <float[2] s = {1,1}> "
            "{ y = BatchNormalization <training_mode = 1> (x, s, s, s, s) }",
            "training_mode is 1; export the model in inference mode",
        ),
    ],
)
def test_what_is_wrong_is_said_with_its_place(graph: str, words: str) -> None:
    with pytest.raises(NpuqError, match=words):
        loaded(graph)


@pytest.mark.parametrize(
    ("dims", "raw", "words"),
    [
        ([2], 4, r"tensor 'w' of \(2,\) has 4 bytes, 8 wanted"),
        ([1 << 40], 4, "more than 2147483648 elements"),
        ([1 << 62, 1 << 62], 4, "more than 2147483648 elements"),
        ([-2], 8, "must not be negative"),
        ([1 << 30], 4, "has 4 bytes, 4294967296 wanted"),
    ],
)
def test_sizes_are_checked_against_the_data(dims: list[int], raw: int, words: str) -> None:
    source = model("g (float[2] x) => (float[2] y) { y = Add (x, w) }")
    source.graph.initializer.add(name="w", data_type=TensorProto.FLOAT, dims=dims, raw_data=bytes(raw))
    with pytest.raises(NpuqError, match=words):
        load(source)


@pytest.mark.parametrize(
    "data", [b"", b"\x00" * 100, b"\x89PNG\r\n\x1a\n" + bytes(range(256)), b"not a model", b"\x3a\x00"]
)
def test_files_that_are_no_models_are_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(ParseError, match=rf"m.onnx: these {len(data)} bytes"):
        load(tmp_path / "m.onnx")


def test_paths_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(NpuqError, match=r"absent\.onnx: cannot be read: "):
        load(tmp_path / "absent.onnx")
    with pytest.raises(NpuqError, match=f"{tmp_path.name}: a folder without saved_model.pb or .*, which is no model"):
        load(tmp_path)
