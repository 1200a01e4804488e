"""An import is compared with the original, and the first layer that differs is named."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np
import onnx
import pytest

import npuq
from npuq.frontends.caffe.schema import message
from npuq.ir import Graph, NpuqError, rewrite
from npuq.ir.ops.elementwise import Neg

from ..conftest import Run


def broken(graph: Graph, at: str) -> Graph:
    """The graph with the sign of one value turned."""

    def turn(builder: object, node: object, operands: tuple[str, ...]) -> str | None:
        from npuq.ir import Builder, Node

        assert isinstance(builder, Builder)
        assert isinstance(node, Node)
        if node.results != (at,):
            return None
        right = builder.add(node.op, *operands, name=f"{at}.right", loc=node.loc)
        return builder.add(Neg(), right, name=at, loc=node.loc)

    return rewrite(graph, turn)


def test_an_onnx_model(model: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    for source in (model, tmp_path / "m.onnx"):
        graph = npuq.load(source)
        (difference,) = npuq.verify_import(graph, source)
        assert difference.output == "y"
        assert 0 <= difference.share < 1e-5
        with pytest.raises(NpuqError, match=r"0\.0001 allowed; the first layer that differs is .*:pool \(onnxruntime"):
            npuq.verify_import(broken(graph, "p"), source)


def test_users_data(model: onnx.ModelProto) -> None:
    graph = npuq.load(model)
    data = np.ones((3, *graph.input_types[0].shape[1:]), np.float32)
    assert npuq.verify_import(graph, model, data)[0].share < 1e-5
    with pytest.raises(NpuqError, match="wanted"):
        npuq.verify_import(graph, model, data[:, :1])


def test_a_jax_function() -> None:
    def net(x: jnp.ndarray, y: jnp.ndarray) -> dict[str, jnp.ndarray]:
        return {"a": jnp.tanh(x) @ y, "b": x.argmax()}

    inputs = (np.ones((2, 3), np.float32), np.ones((3, 4), np.float32))
    graph = npuq.load(net, inputs=inputs)
    assert [one.output for one in npuq.verify_import(graph, net, inputs=inputs)] == ["a", "b"]
    told = r"^net: a: differs by at most .*; JAX does not show its layers \(JAX is the reference\)$"
    with pytest.raises(NpuqError, match=told):
        npuq.verify_import(broken(graph, graph.outputs["a"]), net, inputs=inputs)


NET = """
input: "x" input_shape { dim: 1 dim: 2 dim: 5 dim: 5 }
layer { name: "c" type: "Convolution" bottom: "x" top: "c" convolution_param { num_output: 3 kernel_size: 3 } }
layer { name: "r" type: "ReLU" bottom: "c" top: "c" }
layer { name: "p" type: "Pooling" bottom: "c" top: "p" pooling_param { global_pooling: true pool: AVE } }
layer { name: "t" type: "TanH" bottom: "p" top: "t" }
"""


def test_a_caffe_net(run: Run, tmp_path: Path) -> None:
    pytest.importorskip("cv2", reason="OpenCV is the reference: pip install opencv-python-headless==4.14.0.94")
    proto = message("NetWeights")()
    blobs = proto.layer.add(name="c").blobs
    for shape in ((3, 2, 3, 3), (3,)):
        blobs.add(data=np.linspace(-0.5, 1, int(np.prod(shape)))).shape.dim.extend(shape)
    (tmp_path / "n.caffemodel").write_bytes(proto.SerializeToString())
    (tmp_path / "n.prototxt").write_text(NET)
    graph = npuq.load(tmp_path / "n.prototxt")
    assert npuq.verify_import(graph, tmp_path / "n.prototxt")[0].share < 1e-5
    with pytest.raises(NpuqError, match=r"the first layer that differs is n\.prototxt:p \(OpenCV is the reference\)$"):
        npuq.verify_import(broken(graph, "p"), tmp_path / "n.prototxt")
    done = run("convert", tmp_path / "n.prototxt", "-o", tmp_path / "n.onnx")
    assert done.out.startswith("compared with OpenCV: t: differs by at most ")


def test_a_reference_that_is_missing(
    run: Run, model: onnx.ModelProto, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    onnx.save(model, tmp_path / "m.onnx")
    monkeypatch.setitem(__import__("sys").modules, "onnxruntime", None)
    done = run("convert", tmp_path / "m.onnx", "-o", tmp_path / "m.ir")
    missing = "onnxruntime is not installed: pip install 'npuq[onnxruntime]'"
    assert (done.code, done.out) == (0, f"not compared with the original: {missing}\n")
    assert (tmp_path / "m.ir").exists()
