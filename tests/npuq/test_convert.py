"""`npuq convert` writes what a frontend read, and other commands take the same sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import npuq
from npuq.files.graphs import read_graph
from npuq.frontends.caffe.schema import message

from .conftest import Run

NET = """
name: "net"
layer { name: "in" type: "Input" top: "x" input_param { shape { dim: 1 dim: 2 dim: 4 dim: 4 } } }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
"""


@pytest.fixture
def architecture(tmp_path: Path) -> Path:
    proto = message("NetWeights")()
    blobs = proto.layer.add(name="c").blobs
    for shape in ((3, 2, 3, 3), (3,)):
        blobs.add(data=np.linspace(-1, 1, int(np.prod(shape)))).shape.dim.extend(shape)
    (tmp_path / "stored.caffemodel").write_bytes(proto.SerializeToString())
    path = tmp_path / "net.prototxt"
    path.write_text(NET)
    return path


def test_a_caffe_net_becomes_onnx_and_ir(run: Run, architecture: Path, tmp_path: Path) -> None:
    for output in ("net.onnx", "net.ir"):
        done = run("convert", architecture, "-o", tmp_path / output)
        assert (done.code, done.err) == (0, "")
    x = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    graph = npuq.load(architecture)
    assert read_graph(tmp_path / "net.ir") == graph
    (ours,) = npuq.evaluate(graph)(x)
    (theirs,) = onnxruntime.InferenceSession(tmp_path / "net.onnx").run(["c"], {"x": x})
    assert np.allclose(ours, theirs, atol=1e-5)


def test_the_other_file_is_named_by_an_option(run: Run, architecture: Path, tmp_path: Path) -> None:
    (tmp_path / "other.caffemodel").write_bytes(b"")
    done = run("check", architecture)
    assert done.code == 2
    assert done.err.endswith("2 .caffemodel files beside it; name the weights: --weights FILE.caffemodel\n")
    assert run("check", architecture, "--weights", tmp_path / "stored.caffemodel").code == 0


def test_a_framework_is_named_where_the_suffix_is_not_telling(run: Run, architecture: Path, tmp_path: Path) -> None:
    source = architecture.rename(tmp_path / "net.txt")
    assert "'.txt' files cannot be read" in run("convert", source, "-o", tmp_path / "a.onnx").err
    assert run("convert", source, "--framework", "caffe", "-o", tmp_path / "a.onnx").code == 0
    done = run("convert", source, "--framework", "theano", "-o", tmp_path / "a.onnx")
    assert done.err.startswith("npuq: there is no framework 'theano'; there are onnx, ")


def test_a_network_ends_at_a_layer_and_an_input_is_fixed(run: Run, architecture: Path, tmp_path: Path) -> None:
    architecture.write_text(
        NET
        + """
layer { name: "s" type: "Input" top: "s" input_param { shape { dim: 1 dim: 3 dim: 2 dim: 2 } } }
layer { name: "sum" type: "Eltwise" bottom: "c" bottom: "s" top: "sum" }
"""
    )
    options = ("--value", "s:" + ",".join(["1"] * 12), "--output-name", "r", "-o", tmp_path / "a.ir")
    done = run("convert", architecture, *options)
    assert done.err.endswith("net: input s: f32[1,3,2,2] cannot be fixed to a value of shape (12,)\n")
    done = run("convert", architecture, "--output-name", "r,sum", "-o", tmp_path / "a.ir")
    assert (done.code, done.err) == (0, "")
    assert list(read_graph(tmp_path / "a.ir").outputs) == ["r", "sum"]
    assert "compared with OpenCV: r: differs" in done.out


def test_kinds_that_are_not_written(run: Run, architecture: Path, tmp_path: Path) -> None:
    done = run("convert", architecture, "-o", tmp_path / "a.txt")
    assert (done.code, done.err.splitlines()[-1].endswith("supported are .onnx or .ir")) == (2, True)


def test_weights_that_a_format_does_not_have(run: Run, tmp_path: Path) -> None:
    (tmp_path / "a.onnx").write_bytes(b"")
    done = run("check", tmp_path / "a.onnx", "--weights", tmp_path / "b.pth")
    assert done.err.endswith("onnx models are read without weights of their own\n")


def test_inputs_become_channels_first(run: Run, tmp_path: Path) -> None:
    from onnx import TensorProto, helper, save

    sides = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 4, 5, 3)) for name in "xy"]
    save(
        helper.make_model(
            helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [sides[0]], [sides[1]]),
            opset_imports=[helper.make_opsetid("", 17)],
            ir_version=8,
        ),
        tmp_path / "m.onnx",
    )
    done = run("convert", tmp_path / "m.onnx", "--channels-first", "-o", tmp_path / "a.ir")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("compared with onnxruntime: y: differs by at most 0")
    assert str(read_graph(tmp_path / "a.ir").inputs["x"]) == "f32[1,3,4,5]"


def test_flags_of_another_framework(run: Run, architecture: Path) -> None:
    done = run("check", architecture, "--end-nodes", "a, b")
    assert (done.code, done.err) == (2, "npuq: caffe models are read without end_nodes of their own\n")
