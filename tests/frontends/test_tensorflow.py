"""TensorFlow and Keras models through tf2onnx, which run in second processes only."""

from __future__ import annotations

import importlib
import importlib.util
import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import npuq
from npuq.frontends import check
from npuq.frontends.tensorflow.child import Child
from npuq.ir import Graph, NpuqError, evaluate
from npuq.ir.ops.shape import Transpose
from npuq.passes.canonical.canonicalize import canonicalize
from tests import zoo
from tests.npuq.comparison.test_verify_import import broken

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in ("tensorflow", "tf2onnx", "tf_keras")),
    reason="needs tensorflow, tf2onnx and tf_keras",
)

TOLERANCE = 1e-4
"""Of an output's range."""


class Kept(Child):
    """A child that outlives those who end it, so that TensorFlow is started once."""

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module", autouse=True)
def child() -> Iterator[None]:
    load = importlib.import_module("npuq.frontends.tensorflow.load")
    kept, start = Kept(), load._child
    vars(load)["_child"] = lambda: kept
    yield
    vars(load)["_child"] = start
    kept.close()


@pytest.fixture(scope="module")
def nets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that `keras_nets.py` fills."""
    folder = tmp_path_factory.mktemp("nets")
    script = Path(__file__).with_name("keras_nets.py")
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


def agree(graph: Graph, folder: Path, name: str) -> dict[str, np.ndarray]:
    """The canonical form of a graph gives what Keras computed; gives the inputs that it was computed of."""
    with np.load(folder / "computed.npz") as computed:
        inputs = [computed[f"{name}/{one}"] for one in graph.inputs]
        wanted = [computed[f"{name}/{one}"] for one in graph.outputs]
    results = evaluate(canonicalize()(graph))(*(array[:1] for array in inputs))
    for ours, theirs in zip(results, wanted, strict=True):
        assert ours.shape == theirs[:1].shape
        assert np.abs(np.asarray(ours) - theirs[:1]).max() <= TOLERANCE * np.ptp(theirs)
    return dict(zip(graph.inputs, inputs, strict=True))


def runs(graph: Graph, inputs: dict[str, np.ndarray], least: float) -> None:
    """The program of a graph runs on the NPU alone and correlates with the float graph."""
    quantized = npuq.quantize(graph, inputs, effort=0)
    (wanted,) = evaluate(graph)(*(array[:1] for array in inputs.values()))
    (ours,) = quantized.simulate(*(array[:1] for array in inputs.values()))
    assert np.corrcoef(ours.ravel(), np.asarray(wanted).ravel())[0, 1] > least
    assert not [node for node in quantized.graph.nodes if node.host]
    quantized.program.verify()


def test_a_keras_mobilenet(nets: Path) -> None:
    graph = npuq.load(nets / "mobilenet.keras")
    inputs = agree(graph, nets, "mobilenet")
    after = canonicalize()(graph)
    assert Counter(node.op.name for node in after.nodes) == Counter(
        {"conv": 52, "clip": 35, "add": 10, "transpose": 1, "reduce_mean": 1, "matmul": 1, "softmax": 1}
    )
    assert {"mobilenet:block_1_depthwise/depthwise", "mobilenet:predictions/MatMul"} <= {n.loc for n in after.nodes}
    assert {"Conv1_relu/Relu6", "block_16_project_BN/batchnorm/add_1"} <= after.producers.keys()
    first = npuq.load(nets / "mobilenet.keras", channels_first=True)
    assert [str(type_) for type_ in first.input_types] == ["f32[1,3,64,64]"]
    assert not any(isinstance(node.op, Transpose) for node in canonicalize()(first).nodes)
    assert npuq.verify_import(first, nets / "mobilenet.keras", channels_first=True)[0].share < TOLERANCE
    runs(first, {name: array.transpose(0, 3, 1, 2) for name, array in inputs.items()}, 0.9)


def test_a_vision_transformer(nets: Path) -> None:
    graph = npuq.load(nets / "vit.keras")
    inputs = agree(graph, nets, "vit")
    kinds = Counter(node.op.name for node in canonicalize()(graph).nodes)
    assert (kinds["layer_norm"], kinds["softmax"], kinds["gelu"], kinds["erf"], kinds["sqrt"]) == (5, 2, 2, 0, 0)
    runs(graph, inputs, 0.98)
    file = nets / "vit.keras"
    with pytest.raises(NpuqError, match=r"the first layer that differs is vit:attention0/query/MatMul \(TensorFlow"):
        npuq.verify_import(broken(graph, "attention0/query/MatMul"), file)


def test_several_inputs_and_outputs(nets: Path) -> None:
    graph = npuq.load(nets / "branches.keras")
    assert (list(graph.inputs), list(graph.outputs)) == (["a", "b"], ["one", "two"])
    agree(graph, nets, "branches")
    assert "branches:grouped/convolution" in {node.loc for node in graph.nodes}, "no call of a compiled function"
    assert [one.output for one in npuq.verify_import(graph, nets / "branches.keras")] == ["one", "two"]


def test_a_sequential_of_recurrent_layers(nets: Path) -> None:
    graph = npuq.load(nets / "sequence.keras")
    agree(graph, nets, "sequence")
    kinds = Counter(node.op.name for node in canonicalize()(graph).nodes)
    assert (kinds["lstm"], kinds["layer_norm"], kinds["reduce_mean"]) == (1, 1, 0)


HEAD = {"average_pool": 1, "matmul": 1, "softmax": 1}
MLPERF = [
    ("image_classification", {"conv": 9, "relu": 7, "add": 3} | HEAD),
    pytest.param("visual_wake_words", {"conv": 27, "relu": 27} | HEAD, marks=pytest.mark.slow),
    pytest.param("keyword_spotting", {"conv": 9, "relu": 9} | HEAD, marks=pytest.mark.slow),
    ("anomaly_detection", {"matmul": 10, "relu": 9}),
]


@pytest.mark.zoo
@pytest.mark.parametrize(("name", "kinds"), MLPERF)
def test_mlperf_tiny(name: str, kinds: dict[str, int]) -> None:
    file = zoo.path("mlperf_tiny") / f"{name}.h5"
    graph = npuq.load(file)
    assert npuq.verify_import(graph, file)[0].share < TOLERANCE
    moves = ("transpose", "reshape")
    found = Counter(node.op.name for node in canonicalize()(graph).nodes if node.op.name not in moves)
    assert found == Counter(kinds)
    rng = np.random.default_rng(0)
    ((given, type_),) = graph.inputs.items()
    runs(graph, {given: rng.normal(size=(4, *type_.shape[1:])).astype(np.float32)}, 0.98)


@pytest.mark.slow
@pytest.mark.zoo
def test_basic_pitch_is_its_onnx_twin() -> None:
    graph, twin = npuq.load(zoo.path("basic_pitch_tf")), npuq.load(zoo.path("basic_pitch"))
    pairs = {"contour": 0, "note": 1, "onset": 2}
    assert list(graph.outputs) == list(pairs)
    x = np.random.default_rng(0).normal(0, 0.3, (2, 43844, 1)).astype(np.float32)
    ours, theirs = (dict(zip(one.outputs, map(np.asarray, evaluate(one)(x[:1])), strict=True)) for one in (graph, twin))
    for name, number in pairs.items():
        other = theirs[f"StatefulPartitionedCall:{number}"]
        assert np.abs(ours[name] - other).max() <= TOLERANCE * np.ptp(other)
    assert all(one.share < TOLERANCE for one in npuq.verify_import(graph, zoo.path("basic_pitch_tf"), x[:1]))
    scales = [np.asarray(sorted(set(npuq.quantize(one, x, effort=0).scales.values()))) for one in (graph, twin)]
    for one, two in (scales, scales[::-1]):
        assert np.abs(one[:, None] / two - 1).min(1).max() < 1e-3, "every scale is a scale of the twin"


def test_the_part_of_a_graph_between_nodes(nets: Path) -> None:
    file = nets / "net.pb"
    graph = npuq.load(file, end_nodes=["net/block/sum"])
    assert {name: str(type_) for name, type_ in graph.inputs.items()} == {"input": "f32[1,8,8,3]"}
    assert graph.producers[graph.outputs["net/block/sum"]].loc == "net:net/block/add"
    assert npuq.verify_import(graph, file, end_nodes=["net/block/sum"])[0].share < TOLERANCE
    options: dict[str, Any] = {"start_nodes": ["net/block/relu:0"], "end_nodes": ["net/block/split:1", "net/block/mul"]}
    graph = npuq.load(file, {"net/block/relu": (2, 4, 4, 4)}, **options)
    assert {name: str(type_) for name, type_ in graph.inputs.items()} == {"net/block/relu": "f32[2,4,4,4]"}
    x = np.random.default_rng(0).normal(size=(2, 4, 4, 4)).astype(np.float32)
    for ours, wanted in zip(evaluate(graph)(x), (x[..., 2:], x), strict=True):
        np.testing.assert_array_equal(ours, wanted)


def test_a_signature_of_a_saved_model(nets: Path) -> None:
    graph = npuq.load(nets / "doubled", signature="double")
    assert (list(graph.inputs), list(graph.outputs)) == (["x"], ["y"])
    (y,) = evaluate(graph)(np.ones((1, 3), np.float32))
    np.testing.assert_array_equal(y, [[12, 18]])
    graph = npuq.load(nets / "doubled" / "saved_model.pb", {"x": (5, 3)}, signature="double")
    assert [str(type_) for type_ in graph.output_types] == ["f32[5,2]"]


def refused(source: Any, shapes: Any = None, **options: Any) -> str:
    with pytest.raises(NpuqError) as caught:
        npuq.load(source, shapes, **options)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_nodes_that_cannot_be_meant(nets: Path) -> None:
    file = nets / "net.pb"
    told = refused(file)
    assert told.startswith(
        "net: its end nodes are not known; name them: --end-nodes A,B; without users are net/block/sum,"
    )
    assert refused(file, end_nodes=["sum"]) == "net: there is no node 'sum'; near it: net/block/sum"
    assert refused(file, end_nodes=["net/block/rely"]).startswith(
        "net: there is no node 'net/block/rely'; near it: net/block/relu"
    )
    assert refused(file, end_nodes=["trained"]) == (
        "net: not frozen: 'w' is a variable; freeze the graph, or load the SavedModel's folder"
    )
    assert refused(file, start_nodes=["phase"], end_nodes=["chosen"]) == (
        "net: the end nodes need placeholder 'input' too; add it to the start nodes"
    )
    assert refused(file, {"input": (1, 8, 8, 4)}, end_nodes=["chosen"]) == (
        "net: input input: shape 1,8,8,4 given, ?,8,8,3 declared"
    )


def test_damaged_files(nets: Path, tmp_path: Path) -> None:
    data = (nets / "net.pb").read_bytes()
    for name, content in (("a.pb", data[: len(data) // 2]), ("b.pb", b""), ("a.keras", data), ("a.h5", data)):
        (tmp_path / name).write_bytes(content)
    assert refused(tmp_path / "a.pb", end_nodes=["x"]).endswith(" bytes are not a TensorFlow graph")
    assert refused(tmp_path / "b.pb", end_nodes=["x"]) == "b.pb: these 0 bytes hold no TensorFlow graph"
    assert refused(tmp_path / "a.keras") == "a.keras: damaged: a .keras file is a zip archive"
    assert refused(tmp_path / "a.h5").startswith("a.h5: not an HDF5 file: ")
    assert refused(tmp_path / "c.pb") == f"{tmp_path / 'c.pb'}: there is no such file"
    (tmp_path / "saved_model.pb").write_bytes(data)
    assert refused(tmp_path).startswith(f"{tmp_path.name}: not a SavedModel that TensorFlow reads: ")


def test_models_that_cannot_be_read(nets: Path) -> None:
    assert refused(nets / "doubled") == ("doubled: name a signature: --signature; the signatures are double, odd")
    assert refused(nets / "doubled", signature="treble") == (
        "doubled: there is no signature 'treble'; the signatures are double, odd"
    )
    told = refused(nets / "doubled", signature="odd")
    assert "doubled:gamma: Igamma: no converter for 'tensorflow.Igamma', which is no ONNX operator" in told
    found = check(nets / "doubled", signature="odd")
    assert {problem.operator: problem.nodes for problem in found} == {
        "Igamma": ("doubled:gamma",),
        "Det": ("doubled:determinant",),
    }
    assert refused(nets / "vit.keras", signature="x") == "vit.keras: only SavedModel folders have signatures"
    assert refused(nets / "only.weights.h5") == (
        "only.weights.h5: weights without a model; save the whole model: model.save(path)"
    )
    assert refused(nets / "custom.keras") == (
        "custom.keras: the file lacks the code of its layers of class 'Scaled'; where the code is available, call "
        "model.export('folder') and load the folder"
    )
    assert refused(nets).startswith(f"{nets}: a folder without saved_model.pb")


def test_files_that_hold_code_are_refused_and_not_run(tmp_path: Path) -> None:
    import h5py

    layer = {"class_name": "Lambda", "config": {"function": ["4wEAAAA=", None, None], "function_type": "lambda"}}
    with h5py.File(tmp_path / "code.h5", "w") as file:
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
    assert refused(tmp_path / "code.h5").startswith("code.h5: loading its Lambda layer would run code")


MEMORY = """
import keras, numpy as np, sys, npuq
from keras import layers

class Scaled(layers.Layer):
    def call(self, x):
        return 3 * x

x = layers.Input((4,), name="given")
y = layers.Dense(3, name="first")(x)
model = keras.Model(x, y if keras.backend.backend() == "jax" else Scaled()(y), name="net")
graph = npuq.load(model)
print(graph.name, *graph.inputs, *(node.loc for node in graph.nodes))
print(npuq.verify_import(graph, model)[0].share < 1e-5)
try:
    npuq.load(layers.Dense(3))
except npuq.ir.NpuqError as error:
    print(error)
"""


@pytest.mark.parametrize("backend", ["tensorflow", "jax"])
def test_keras_models_in_memory(backend: str) -> None:
    environment = {"KERAS_BACKEND": backend, "PYTHONPATH": ":".join(filter(None, sys.path))}
    done = subprocess.run([sys.executable, "-c", MEMORY], env=environment, capture_output=True, text=True, check=False)
    scaled = " net:scaled/mul" if backend == "tensorflow" else ""
    assert done.stdout.splitlines() == [
        f"net given net:first/MatMul{scaled}",
        "True",
        "objects of type Dense are not read; load the folder of tf.saved_model.save(Dense, folder)",
    ], done.stderr


def test_the_tests_themselves_import_no_tensorflow() -> None:
    assert "tensorflow" not in sys.modules
