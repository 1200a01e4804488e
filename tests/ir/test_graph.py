"""Graphs as values, their constants, and their verification."""

from __future__ import annotations

import numpy as np
import pytest

from npuq.ir import (
    Constant,
    DType,
    Graph,
    Node,
    NpuqError,
    Quantization,
    RuleError,
    TensorType,
    to_text,
    verify,
)
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.elementwise import Add, Maximum
from tests.ir.graphs import X, affine


def test_constants_are_read_only_and_of_their_type() -> None:
    given = np.arange(6, dtype=np.float32).reshape(2, 3)
    constant = Constant.of(given)
    assert not constant.array.flags.writeable
    assert given.flags.writeable
    assert Constant.of(given.T).array.flags.c_contiguous
    with pytest.raises(RuleError, match=r"^float32 data in a constant of type i8$"):
        Constant(TensorType(DType.I8, (2, 3)), given)
    with pytest.raises(RuleError, match=r"^data of shape \(2, 3\) in a constant of shape \(6,\)$"):
        Constant(TensorType(DType.F32, (6,)), given)
    with pytest.raises(RuleError, match=r"^element type complex64 is not supported$"):
        Constant.of(np.zeros(1, np.complex64))


def test_graph_knows_types_producers_and_users() -> None:
    graph = affine()
    assert graph.types["sum"] == X
    assert graph.producers["sum"].op == Add()
    assert "x" not in graph.producers
    assert [node.op for node in graph.users["product"]] == [Add()]
    assert graph.only_user("sum") == graph.producers["y"]
    assert graph.only_user("product") is None  # it is returned
    assert graph.constant("sum") is None
    assert graph.output_types == (X, X)


def test_graphs_are_values() -> None:
    assert affine() == affine()
    assert hash(affine()) == hash(affine())


@pytest.mark.parametrize(
    ("nodes", "outputs", "said"),
    [
        ((Node(Relu(), ("z",), ("y",), (X,)),), {"y": "y"}, "%y: relu: %z is used before it is defined"),
        ((Node(Relu(), ("x",), ("x",), (X,)),), {"y": "x"}, "%x: relu: %x is defined twice"),
        (
            (Node(Relu(), ("x",), ("y",), (TensorType(DType.F32, (3, 2)),), "net:r"),),
            {"y": "y"},
            "net:r: relu: %y is declared f32[3,2], inferred f32[2,3]",
        ),
        ((Node(Add(), ("x",), ("y",), (X,)),), {"y": "y"}, "%y: add: 1 operands do not fit"),
        ((Node(Relu(), ("x",), ("y", "z"), (X, X)),), {"y": "y"}, "%y: relu: 2 results declared, 1 inferred"),
        ((), {"y": "gone"}, "g: output 'y' returns %gone, which is not defined"),
    ],
)
def test_verifier_names_the_broken_rule(nodes: tuple[Node, ...], outputs: dict[str, str], said: str) -> None:
    with pytest.raises(NpuqError) as caught:
        verify(Graph("g", {"x": X}, {}, nodes, outputs))
    assert str(caught.value) == said


def test_verifier_refuses_another_scale() -> None:
    quant = Quantization.per_tensor(0.5)
    x = TensorType(DType.I8, (3,), quant)
    node = Node(Maximum(), ("x", "x"), ("y",), (x.with_quant(Quantization.per_tensor(0.25)),))
    with pytest.raises(NpuqError, match=r"^%y: maximum: %y is declared q8<0.25>\[3\], inferred q8<0.5>\[3\]$"):
        verify(Graph("g", {"x": x}, {}, (node,), {"y": "y"}))


def test_text_is_the_graph_as_a_string() -> None:
    assert str(affine()) == to_text(affine())
