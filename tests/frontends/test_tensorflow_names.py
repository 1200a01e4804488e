"""What the TensorFlow frontend does without TensorFlow: the names of tf2onnx's models, and the second process."""

from __future__ import annotations

import os

import onnx
import pytest
from onnx import TensorProto, helper

from npuq.frontends import load
from npuq.frontends.tensorflow.child import Child
from npuq.frontends.tensorflow.names import shorten, unchanged
from npuq.ir import NpuqError

CALL = "StatefulPartitionedCall/net_1"


def model() -> onnx.ModelProto:
    """Two layers in a scope and a call, as tf2onnx names them; the output is a copy of what others read."""
    nodes = [
        ("Neg", ["x"], f"{CALL}/first_1/Neg__7"),
        ("Abs", [f"{CALL}/first_1/Neg__7:0"], f"{CALL}/first_1/Abs"),
        ("Add", [f"{CALL}/first_1/Abs:0", f"{CALL}/second_1/bias:0"], f"{CALL}/second_1/add_1"),
        ("Exp", [f"{CALL}/second_1/add_1:0"], "y_raw_output___9"),
        ("Identity", ["y_raw_output___9:0"], "y"),
        ("Sqrt", ["y_raw_output___9:0"], f"{CALL}/second_1/PartitionedCall/Rsqrt"),
        ("Reciprocal", [f"{CALL}/second_1/PartitionedCall/Rsqrt:0"], f"{CALL}/second_1/PartitionedCall/Rsqrt__3"),
    ]
    made = [
        helper.make_node(kind, given, [name if name == "y" else f"{name}:0"], name=name.partition("_raw")[0])
        for kind, given, name in nodes
    ]
    made.append(helper.make_node("Identity", [made[-1].output[0]], ["z"], name="z"))
    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (2,)) for name in "xyz"]
    bias = helper.make_tensor(f"{CALL}/second_1/bias:0", TensorProto.FLOAT, (2,), [1.0, 2.0])
    graph = helper.make_graph(made, "net", sides[:1], sides[1:], [bias])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)], ir_version=8)


def test_names_are_those_of_nodes_and_layers() -> None:
    proto = model()
    former = shorten(proto, keep_scopes=False, layers={"first", "second"})
    graph = load(proto)
    assert [(node.result, node.loc) for node in graph.nodes] == [
        ("first/Neg.neg", "net:first/Neg.neg"),
        ("first/Abs", "net:first/Abs"),
        ("second/add_1", "net:second/add_1"),
        ("y", "net:y"),
        ("second/Rsqrt", "net:second/Rsqrt"),
        ("second/Rsqrt.reciprocal", "net:second/Rsqrt.reciprocal"),
    ]
    assert list(graph.constants) == ["second/bias"]
    assert former["first/Abs"] == f"{CALL}/first_1/Abs:0"
    assert set(unchanged(proto, former)) == {"first/Abs", "second/add_1", "y", "z"}


def test_scopes_that_are_the_users_stay() -> None:
    proto = model()
    shorten(proto, keep_scopes=True)
    assert load(proto).nodes[1].loc == "net:net_1/first_1/Abs"


def test_a_number_that_only_some_layers_have_is_their_own() -> None:
    proto = model()
    shorten(proto, keep_scopes=False, layers={"first", "second_1"})
    assert load(proto).nodes[1].loc == "net:first_1/Abs"


def test_the_error_of_a_process_that_dies() -> None:
    with Child() as child:
        assert child.call(os.getpid) == child.process.pid
        with pytest.raises(NpuqError, match=r"^TensorFlow's process ended with code 3: no output$"):
            child.call(os._exit, 3)
    with Child() as child, pytest.raises(RuntimeError, match="ZeroDivisionError"):
        child.call(divmod, 1, 0)
