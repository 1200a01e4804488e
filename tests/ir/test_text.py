"""The text of graphs: exactly what is written, that it reads back as the same graph, and what damage is told."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

import numpy as np
import pytest

from npuq.ir import (
    Builder,
    Constant,
    DType,
    Graph,
    ParseError,
    Quantization,
    TensorType,
    blobs,
    make_op,
    parse,
    parse_type,
    text_digest,
    to_text,
    verify,
)
from npuq.ir.ops.activation import Clip, Relu
from npuq.ir.ops.conv import Conv
from npuq.ir.ops.elementwise import Add, Identity
from npuq.ir.ops.logic import Cast
from npuq.ir.ops.quant import Quantize
from npuq.ir.ops.reduce import Softmax
from npuq.ir.ops.shape import Concat, Slice

X = TensorType(DType.F32, (1, 2, 4, 4))
LENET = """\
graph @lenet(%x: f32[1,2,4,4]) {
  const %b: f32[3] = [0.5, -1.0, 0.25]
  const %w: f32[3,2,3,3] = #2cf2ce3d91a6b8c45b7fb84aab75fb2c5e2ecd3b8bd0a04c4b0ae09ca8d9a5ac
  %c = conv %x, %w, %b {stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1)} : f32[1,3,4,4]  loc("lenet.onnx:c")
  %y = relu %c : f32[1,3,4,4]
  return probabilities=%y, %c
}
"""


def lenet() -> Graph:
    builder = Builder("lenet")
    x = builder.input("x", X)
    b = builder.constant(np.array([0.5, -1, 0.25], np.float32), "b")
    w = builder.constant(np.arange(54, dtype=np.float32).reshape(3, 2, 3, 3), "w")
    conv = Conv(stride=(1, 1), padding=((1, 1), (1, 1)), dilation=(1, 1))
    c = builder.add(conv, x, w, b, name="c", loc="lenet.onnx:c")
    y = builder.add(Relu(), c, name="y")
    return builder.build({"probabilities": y, "c": c})


def small(build: Callable[[Builder], str], name: str = "g") -> Graph:
    builder = Builder(name)
    return verify(builder.build({"y": build(builder)}))


def reads_back(graph: Graph) -> str:
    """The text, which parses back to an equal graph."""
    text = to_text(graph)
    assert parse(text, blobs(graph)) == graph
    assert to_text(parse(text, blobs(graph))) == text
    return text


def test_whole_text() -> None:
    graph = lenet()
    digest = graph.constants["w"].digest
    assert reads_back(graph) == LENET.replace(LENET.split("#")[1].split("\n")[0], digest)


def test_equal_graphs_and_no_others_share_a_digest() -> None:
    graph = lenet()
    constants = dict(graph.constants)
    constants["w"] = Constant.of(constants["w"].array + np.float32(1e-3))
    other = Graph(graph.name, graph.inputs, constants, graph.nodes, graph.outputs)
    assert text_digest(lenet()) == text_digest(graph)
    assert text_digest(other) != text_digest(graph)
    assert other != graph


@pytest.mark.parametrize("name", ["a b", 'say "x"', "", "back\\slash", "ünï", "line\nbreak", "a,b", "}", "é/1:0"])
def test_names_that_need_quotes(name: str) -> None:
    builder = Builder(name)
    x = builder.input(name, X)
    y = builder.add(Relu(), x, name=name + "'")
    reads_back(builder.build({name + "''": y}))


@pytest.mark.parametrize("name", ["x", "conv1/w", "onnx::Conv_3", "layer.0-1", "a|b", "return", "const", "graph"])
def test_plain_and_reserved_names(name: str) -> None:
    reads_back(small(lambda builder: builder.add(Relu(), builder.input(name, X), name=f"{name}.y"), name))


def test_notes_come_last() -> None:
    graph = small(
        lambda b: b.add(Relu(), b.input("x", X), name="y", loc='file "a".onnx:n)', host="no int8 kernel (yet)")
    )
    line = '  %y = relu %x : f32[1,2,4,4]  host("no int8 kernel (yet)")  loc("file \\"a\\".onnx:n)")'
    assert reads_back(graph).splitlines()[1] == line


def test_attributes_are_written_exactly_and_defaults_not_at_all() -> None:
    graph = small(lambda b: b.add(Clip(low=-0.1, high=math.inf), b.input("x", X), name="y"))
    assert "clip %x {low=-0.1} :" in reads_back(graph)
    graph = small(lambda b: b.add(Clip(low=-1e-45, high=1e30), b.input("x", X), name="y"))
    assert "{low=-1e-45, high=1e+30}" in reads_back(graph)
    graph = small(lambda b: b.add(Clip(high=-math.inf), b.input("x", X), name="y"))
    assert "{high=-inf}" in reads_back(graph)
    graph = small(lambda b: b.add(Cast(to=DType.I4), b.input("x", X), name="y"))
    assert "cast %x {to=i4} : i4[1,2,4,4]" in reads_back(graph)
    graph = small(lambda b: b.add(Softmax(axis=0), b.input("x", X), name="y"))
    assert "softmax %x {axis=0} :" in reads_back(graph)


def test_tuples_of_one_and_of_negative_numbers() -> None:
    type_ = TensorType(DType.F32, (5,))
    graph = small(lambda b: b.add(Slice(starts=(4,), stops=(-1,), steps=(-2,)), b.input("x", type_), name="y"))
    assert "slice %x {starts=(4,), stops=(-1,), steps=(-2,)} : f32[3]" in reads_back(graph)


def test_long_lists_are_named_by_their_content() -> None:
    scales = tuple(float(np.float32(0.1) * number) for number in range(1, 41))
    scales = tuple(float(np.float32(scale)) for scale in scales)
    op = Quantize(scales=scales, zero_points=(0,) * 40, axis=0)
    graph = small(lambda b: b.add(op, b.input("x", TensorType(DType.F32, (40, 2))), name="y"))
    text = reads_back(graph)
    assert "scales=blob('" in text
    assert "q8<axis=0: #" in text
    assert repr(scales[1]) not in text
    with pytest.raises(ParseError, match=r"text:2: no data for #\w+; text and blobs belong together"):
        parse(text)


def test_operands_of_no_number_and_of_several() -> None:
    type_ = TensorType(DType.I64, (1,))
    graph = small(lambda b: b.add(Concat(axis=0), *(b.input(name, type_) for name in "abc"), name="y"))
    assert "  %y = concat %a, %b, %c {axis=0} : i64[3]\n" in reads_back(graph)


@pytest.mark.parametrize(
    ("array", "text"),
    [
        (np.array([math.nan, math.inf, -math.inf, -0.0], np.float32), "f32[4] = [nan, inf, -inf, -0.0]"),
        (np.array(0.1, np.float32), "f32[] = [0.10000000149011612]"),
        (np.array([0.1], np.float16), "f16[1] = [0.0999755859375]"),
        (np.array([[True], [False]]), "bool[2,1] = [True, False]"),
        (np.array([-(2**63), 2**63 - 1]), "i64[2] = [-9223372036854775808, 9223372036854775807]"),
        (np.array([2**64 - 1], np.uint64), "u64[1] = [18446744073709551615]"),
        (np.array([-8, 7], DType.I4.numpy), "i4[2] = [-8, 7]"),
        (np.array([1.5], DType.BF16.numpy), "bf16[1] = [1.5]"),
        (np.zeros((2, 0), np.float32), "f32[2,0] = []"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_constants(array: np.ndarray, text: str) -> None:
    graph = small(lambda builder: builder.add(Identity(), builder.constant(array, "k"), name="y"))
    assert f"  const %k: {text}\n" in to_text(graph)
    read = parse(to_text(graph), blobs(graph))
    np.testing.assert_array_equal(read.constants["k"].array, array)
    assert read.constants["k"].array.tobytes() == array.tobytes()


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (TensorType(DType.F32, ()), "f32[]"),
        (TensorType(DType.BOOL, (2, 0)), "bool[2,0]"),
        (TensorType(DType.I8, (3,), Quantization.per_tensor(0.5)), "q8<0.5>[3]"),
        (TensorType(DType.U8, (3,), Quantization.per_tensor(0.5, 128)), "qu8<0.5:128>[3]"),
        (TensorType(DType.I16, (3,), Quantization.per_tensor(0.1, -5)), "q16<0.10000000149011612:-5>[3]"),
        (TensorType(DType.I4, (1, 2), Quantization((0.5, 2.0), (0, 0), 1)), "q4<axis=1: 0.5, 2.0>[1,2]"),
        (TensorType(DType.I32, (2,), Quantization((0.5, 2.0), (1, -2), 0)), "q32<axis=0: 0.5, 2.0:1,-2>[2]"),
    ],
)
def test_types(type_: TensorType, text: str) -> None:
    assert str(type_) == text
    assert parse_type(text) == type_


GOOD = """\
graph @g(%x: f32[2,3], %q: q8<0.5>[4]) {
  const %k: i8[2] = [1, -2]
  %y = clip %x {low=0.0} : f32[2,3]  loc("here")
  return %y, other=%q
}
"""


def test_the_undamaged_text_is_good() -> None:
    assert to_text(parse(GOOD)) == GOOD


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("graph @g", "grph @g", "net.ir:1: 'graph' wanted at 'grph @g(%x: f32[2,3]'"),
        ("%x: f32[2,3]", "%x f32[2,3]", "net.ir:1: ':' wanted at 'f32[2,3], %q: q8<0.5'"),
        ("%q: q8", "%x: q8", "net.ir:1: a name occurs twice"),
        ("f32[2,3],", "f33[2,3],", "net.ir:1: there is no element type 'f33'"),
        ("f32[2,3],", "f32 2,3,", "net.ir:1: a type wanted at 'f32 2,3, %q: q8<0.5>'"),
        ("q8<0.5>", "q9<0.5>", "net.ir:1: there is no quantized type 'q9'"),
        ("q8<0.5>", "q8<0>", "net.ir:1: a scale must be finite and positive, not 0.0"),
        ("q8<0.5>", "q8<0.1>", "net.ir:1: a scale must be a float32 number, not 0.1"),
        ("q8<0.5>", "q8<0.5:300>", "net.ir:1: zero point 300 is outside i8's [-128, 127]"),
        ("q8<0.5>", "q8<axis=0: 0.5>", "net.ir:1: 1 scales on an axis of 4"),
        ("q8<0.5>", "q8<half>", "net.ir:1: could not convert string to float: 'half'"),
        ("[1, -2]", "[1, -200]", "net.ir:2: constant k: outside i8's [-128, 127]"),
        ("[1, -2]", "[1, 2.5]", "net.ir:2: constant k: integers wanted"),
        ("[1, -2]", "[1, 2, 3]", "net.ir:2: cannot reshape array of size 3 into shape (2,)"),
        ("[1, -2]", "[1, f(2)]", "net.ir:2: 'f(2)' is not a literal"),
        ("[1, -2]", "#00ff", "net.ir:2: no data for #00ff; text and blobs belong together"),
        ("clip %x", "clap %x", "net.ir:3: there is no op named 'clap'"),
        ("low=0.0", "lower=0.0", "net.ir:3: clip has no attribute 'lower'; it has low, high"),
        ("low=0.0", "low=0", "net.ir:3: clip: low=0 is not float"),
        ("low=0.0", "low", "net.ir:3: attributes 'low' are not name=value pairs"),
        ("low=0.0", "low=open('x')", "net.ir:3: \"open('x')\" is not a literal"),
        ("{low=0.0}", "{low=0.0,,}", "net.ir:3: invalid syntax (<unknown>, line 1)"),
        ("{low=0.0} :", "{low=0.0}", "net.ir:3: ':' wanted at 'f32[2,3] loc(\"here\"'"),
        ("= clip", ", %z = clip", "net.ir:3: clip: 2 results, 1 types"),
        ('loc("here")', "loc(here)", "net.ir:3: a string wanted at 'here)\\n return %y, o'"),
        ("return", "retrun", "net.ir:4: '%' wanted at 'retrun %y, other=%q\\n'"),
        ("other=%q", "%y", "net.ir:5: a name occurs twice"),
        ("}\n", "}\n}", "net.ir:6: text after the end of the graph"),
    ],
)
def test_damage_is_told_with_its_line(old: str, new: str, said: str) -> None:
    head, _, tail = GOOD.rpartition(old) if old == "}\n" else GOOD.partition(old)
    with pytest.raises(ParseError) as caught:
        parse(head + new + tail, source="net.ir")
    assert str(caught.value) == said


def test_text_that_ends_early() -> None:
    with pytest.raises(ParseError, match=r"^text:3: unclosed {$"):
        parse(GOOD.partition("}")[0])
    with pytest.raises(ParseError, match=r"^text:5: '}' wanted at ''$"):
        parse(GOOD.rpartition("}")[0])
    with pytest.raises(ParseError, match=r"^text:1: 'graph' wanted at ''$"):
        parse("")


def test_no_damage_is_a_crash() -> None:
    """Every text with one character gone, doubled or replaced is a graph or a `ParseError`."""
    for at in range(len(GOOD)):
        for damaged in (
            GOOD[:at],
            GOOD[:at] + GOOD[at + 1 :],
            GOOD[:at] + "{" + GOOD[at:],
            GOOD[:at] + "9" + GOOD[at + 1 :],
        ):
            with contextlib.suppress(ParseError):
                parse(damaged)


def test_ops_refuse_what_their_fields_do_not_hold() -> None:
    with pytest.raises(Exception, match=r"conv lacks the attribute 'stride'"):
        make_op("conv", {})
    with pytest.raises(Exception, match=r"softmax: axis=True is not int"):
        make_op("softmax", {"axis": True})
    with pytest.raises(Exception, match=r"add has no attribute 'axis'; it has none"):
        make_op("add", {"axis": 1})
    assert make_op("add", {}) == Add()
