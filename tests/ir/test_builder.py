"""The builder of graphs, and rewriting by a rule."""

from __future__ import annotations

import numpy as np
import pytest

from npuq.ir import (
    Builder,
    DType,
    Node,
    NpuqError,
    Quantization,
    RuleError,
    TensorType,
    rewrite,
    verify,
)
from npuq.ir.ops.activation import Relu, Sigmoid
from npuq.ir.ops.elementwise import Add, Identity, Mul, Neg
from npuq.ir.ops.shape import Reshape
from tests.ir.graphs import X, affine


def test_builder_infers_types_and_keeps_names_apart() -> None:
    builder = Builder("g")
    x = builder.input("x", X)
    first, second = builder.add(Relu(), x, name="x"), builder.add(Relu(), x)
    third = builder.add(Relu(), x)
    assert (first, second, third) == ("x.1", "relu", "relu.1")
    assert builder.types[third] == X


def test_a_name_that_is_released_is_given_again() -> None:
    builder = Builder("g", reserved={"relu", "relu.1", "relu.2"})
    x = builder.input("x", X)
    assert builder.add(Relu(), x) == "relu.3"
    builder.release("relu.2", "x")
    assert [builder.add(Relu(), x) for _ in range(2)] == ["relu.2", "relu.4"]
    builder.release("relu", "relu.1")
    assert [builder.add(Relu(), x) for _ in range(3)] == ["relu", "relu.1", "relu.5"]


def test_like_names_are_not_counted_again_for_each_node() -> None:
    class Counted(dict[str, TensorType]):
        looks = 0

        def __contains__(self, name: object) -> bool:
            self.looks += 1
            return super().__contains__(name)

    types = Counted()
    builder = Builder("g", types=types)
    x = builder.input("x", X)
    for _ in range(500):
        builder.add(Relu(), x)
    assert types.looks < 5 * 500


def test_the_producer_of_a_value_follows_its_name() -> None:
    builder = Builder("g")
    x = builder.input("x", X)
    first, second = builder.add(Relu(), x, name="a"), builder.add(Neg(), x, name="b")
    third = builder.add(Add(), first, second, name="c")
    assert builder.producer(x) is None
    assert builder.producer(third) is builder.nodes[2]
    assert builder.rename({second: "a", third: "d"}, start=1) == {"b": "a.1", "c": "d"}
    made = builder.producer("d")
    assert made is not None
    assert made.operands == ("a", "a.1")
    assert builder.producer("a.1") is builder.nodes[1]
    assert builder.producer("b") is builder.producer("c") is None
    assert verify(builder.build({"y": "d"})).types["d"] == X


def test_builder_holds_equal_constants_once() -> None:
    builder = Builder("g")
    one = builder.constant(np.ones(3, np.float32), "one")
    assert builder.constant(np.ones(3, np.float32), "other") == one
    assert builder.constant(np.ones(3, np.float64), "other") == "other"
    assert builder.constant(np.ones((1, 3), np.float32), "one") == "one.1"
    quantized = builder.constant(np.ones(3, np.int8), "q", Quantization.per_tensor(0.5))
    assert builder.constant(np.ones(3, np.int8), "q") != quantized


def test_builder_drops_what_no_output_needs() -> None:
    builder = Builder("g")
    x = builder.input("x", X)
    unused = builder.input("unused", X)
    builder.add(Add(), unused, builder.constant(np.ones(3, np.float32), "one"), name="dead")
    y = builder.add(Relu(), x, name="y")
    graph = builder.build({"y": y})
    assert [node.result for node in graph.nodes] == ["y"]
    assert dict(graph.constants) == {}
    assert set(graph.inputs) == {"x", "unused"}
    assert len(builder.build({"y": y}, prune=False).nodes) == 2


def test_builder_names_the_place_of_a_broken_rule() -> None:
    builder = Builder("g")
    x, y = builder.input("x", X), builder.input("y", TensorType(DType.F32, (4,)))
    with pytest.raises(NpuqError, match=r"^net:a: add: shapes \(2, 3\) and \(4,\) do not broadcast$"):
        builder.add(Add(), x, y, loc="net:a")
    with pytest.raises(NpuqError, match=r"^g: relu: 2 operands do not fit$"):
        builder.add(Relu(), x, y)
    with pytest.raises(RuleError, match=r"^two values are named 'x'$"):
        builder.input("x", X)


def test_a_declared_scale_says_what_bare_integers_mean() -> None:
    builder = Builder("g")
    x = builder.input("x", TensorType(DType.I8, (3,)))
    quant = Quantization.per_tensor(0.5, 3)
    y = builder.add(Neg(), x, quant=quant)
    graph = verify(builder.build({"y": y}))
    assert graph.types[y] == TensorType(DType.I8, (3,), quant)


def test_rewrite_replaces_nodes_and_drops_what_is_unused() -> None:
    def replace(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if node.op != Relu():
            return None
        return builder.add(Sigmoid(), operands[0], name="y")

    graph = verify(rewrite(affine(), replace))
    assert [node.op.name for node in graph.nodes] == ["mul", "add", "sigmoid"]
    assert dict(graph.outputs) == {"y": "y", "product": "product"}

    def bypass(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        return operands[0] if node.op in (Relu(), Add()) else None

    graph = verify(rewrite(affine(), bypass))
    assert [node.op.name for node in graph.nodes] == ["mul"]
    assert dict(graph.outputs) == {"y": "product", "product": "product"}
    assert set(graph.constants) == {"w"}


def test_rewrite_infers_types_behind_a_change() -> None:
    builder = Builder("g")
    x = builder.input("x", X)
    graph = builder.build({"y": builder.add(Relu(), builder.add(Identity(), x), name="y")})

    def flatten(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        return builder.add(Reshape(shape=(6,)), *operands) if node.op == Identity() else None

    assert verify(rewrite(graph, flatten)).output_types == (TensorType(DType.F32, (6,)),)


def test_rewrite_gives_a_graph_itself_back_where_nothing_changes() -> None:
    graph = affine()
    assert rewrite(graph, lambda builder, node, operands: None) is graph
    assert rewrite(graph, lambda builder, node, operands: builder.copy(node, operands)) is graph


def test_rewrite_keeps_names_and_places() -> None:
    def twice(builder: Builder, node: Node, operands: tuple[str, ...]) -> str | None:
        if node.op != Mul():
            return None
        first = builder.add(Neg(), operands[0], name="product", loc=node.loc)
        return builder.add(Mul(), first, operands[1], name="product", loc=node.loc)

    graph = verify(rewrite(affine(), twice))
    assert [(node.result, node.loc) for node in graph.nodes[:2]] == [
        ("product", "net:product"),
        ("product.1", "net:product"),
    ]
    assert graph.outputs["product"] == "product.1"
