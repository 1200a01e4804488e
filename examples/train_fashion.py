"""Trains the demo's small ResNet on Fashion-MNIST with Flax and exports it to ONNX, with data to quantize it by.

python -m examples.train_fashion --epochs 10 -o examples/fashion
"""

import argparse
import gzip
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import onnx
import onnxruntime
import optax  # type: ignore[import-untyped]  # has no type marker
from flax import linen as nn
from flax.core import freeze
from onnx import TensorProto, helper, numpy_helper

from tests import zoo

CHANNELS = (24, 48, 96)
EPSILON = 1e-5
SEED = 2026

Array = np.ndarray[Any, np.dtype[Any]]


class Split(NamedTuple):
    """Images u8[n,28,28] and labels u8[n]."""

    images: Array
    labels: Array


class Residual(nn.Module):
    """Two 3x3 convolutions beside a shortcut, which is a 1x1 convolution where the shape changes."""

    channels: int
    stride: int

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Map f32[n,h,w,c] to f32[n,h/stride,w/stride,channels]."""
        norm = partial(nn.BatchNorm, use_running_average=not train, momentum=0.9, epsilon=EPSILON)
        conv = partial(nn.Conv, self.channels, use_bias=False, padding=1)
        y = conv((3, 3), strides=self.stride, name="conv1")(x)
        y = nn.relu(norm(name="bn1")(y))
        y = norm(name="bn2")(conv((3, 3), name="conv2")(y))
        if x.shape != y.shape:
            x = conv((1, 1), strides=self.stride, padding=0, name="shortcut")(x)
            x = norm(name="bn3")(x)
        return nn.relu(x + y)


class ResNet(nn.Module):
    """A stem that halves the picture, one residual block per width, global average, linear."""

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Map pixels f32[n,28,28,1] in [0,1] to logits f32[n,10]."""
        x = nn.Conv(CHANNELS[0], (3, 3), strides=2, padding=1, use_bias=False, name="stem")(x)
        x = nn.relu(nn.BatchNorm(use_running_average=not train, momentum=0.9, epsilon=EPSILON, name="bn")(x))
        for i, channels in enumerate(CHANNELS):
            x = Residual(channels, stride=1 if i == 0 else 2, name=f"block{i + 1}")(x, train)
        return nn.Dense(10, name="classifier")(x.mean(axis=(1, 2)))


def read(folder: Path, prefix: str) -> Split:
    """Read one split, `train` or `t10k`, from the data set's gzipped IDX files."""
    images = gzip.decompress((folder / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
    labels = gzip.decompress((folder / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
    return Split(
        np.frombuffer(images, np.uint8, offset=16).reshape(-1, 28, 28), np.frombuffer(labels, np.uint8, offset=8)
    )


def batches(data: Split, size: int, rng: np.random.Generator) -> Iterator[tuple[Array, Array]]:
    """Yield one epoch in random order, each picture shifted by up to two pixels and mirrored at random."""
    padded = np.pad(data.images, ((0, 0), (2, 2), (2, 2)))
    order = rng.permutation(len(data.labels))
    for start in range(0, len(order) - size + 1, size):
        pick = order[start : start + size]
        rows, columns = rng.integers(0, 5, (2, size, 1)) + np.arange(28)
        columns = np.where(rng.random((size, 1)) < 0.5, columns, columns[:, ::-1])
        yield padded[pick[:, None, None], rows[:, :, None], columns[:, None, :]], data.labels[pick]


def pixels(images: Array) -> Array:
    """Scale u8[n,28,28] to f32[n,28,28,1] in [0,1]."""
    return images[..., None].astype(np.float32) / np.float32(255)


def train(data: Split, epochs: int, batch: int = 128) -> dict[str, Any]:
    """Train with SGD on a one-cycle schedule; return the variables `params` and `batch_stats`."""
    model = ResNet()
    variables = model.init(jax.random.key(SEED), jnp.zeros((1, 28, 28, 1)), train=False)
    params, stats = variables["params"], variables["batch_stats"]
    steps = epochs * (len(data.labels) // batch)
    schedule = optax.cosine_onecycle_schedule(steps, peak_value=0.2, pct_start=0.2)
    optimizer = optax.chain(optax.add_decayed_weights(5e-4), optax.sgd(schedule, momentum=0.9, nesterov=True))

    @jax.jit
    def step(params: Any, stats: Any, state: Any, x: jax.Array, labels: jax.Array) -> tuple[Any, Any, Any, jax.Array]:
        def loss(params: Any) -> tuple[jax.Array, Any]:
            logits, changed = model.apply(
                {"params": params, "batch_stats": stats}, x, train=True, mutable=["batch_stats"]
            )
            targets = optax.smooth_labels(jax.nn.one_hot(labels, 10), 0.05)
            return optax.softmax_cross_entropy(logits, targets).mean(), changed["batch_stats"]

        (value, stats), gradient = jax.value_and_grad(loss, has_aux=True)(params)
        update, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, update), stats, state, value

    state, rng = optimizer.init(params), np.random.default_rng(SEED)
    for epoch in range(epochs):
        start, losses = time.perf_counter(), []
        for images, labels in batches(data, batch, rng):
            params, stats, state, value = step(params, stats, state, pixels(images), labels)
            losses.append(value)
        print(
            f"epoch {epoch + 1}/{epochs}: loss {np.mean(losses):.4f}, {time.perf_counter() - start:.0f} s", flush=True
        )
    return {"params": params, "batch_stats": stats}


class Export:
    """Collects the nodes and weights of an ONNX graph."""

    def __init__(self, variables: dict[str, Any]) -> None:
        self.variables = jax.tree.map(np.asarray, freeze(variables))
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []

    def weight(self, name: str, value: Array) -> str:
        """Store a weight under its name."""
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), name))
        return name

    def leaf(self, collection: str, name: str) -> Array:
        """Find a Flax leaf by its dotted name."""
        node = self.variables[collection]
        for part in name.split("."):
            node = node[part]
        return node  # type: ignore[no-any-return]  # Flax's trees are untyped

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node whose only output has its name."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(self, x: str, name: str, stride: int) -> str:
        """Add a convolution, its HWIO kernel as OIHW."""
        kernel = self.leaf("params", f"{name}.kernel").transpose(3, 2, 0, 1)
        size = kernel.shape[2]
        return self.node(
            "Conv",
            name,
            x,
            self.weight(f"{name}.weight", kernel),
            kernel_shape=[size, size],
            strides=[stride, stride],
            pads=[size // 2] * 4,
        )

    def norm(self, x: str, name: str) -> str:
        """Add a batch normalization."""
        leaves = [("params", "scale"), ("params", "bias"), ("batch_stats", "mean"), ("batch_stats", "var")]
        inputs = [self.weight(f"{name}.{leaf}", self.leaf(kind, f"{name}.{leaf}")) for kind, leaf in leaves]
        return self.node("BatchNormalization", name, x, *inputs, epsilon=EPSILON)

    def residual(self, x: str, name: str, stride: int) -> str:
        """Add one residual block."""
        y = self.node("Relu", f"{name}.relu1", self.norm(self.conv(x, f"{name}.conv1", stride), f"{name}.bn1"))
        y = self.norm(self.conv(y, f"{name}.conv2", 1), f"{name}.bn2")
        if "shortcut" in self.variables["params"][name]:
            x = self.norm(self.conv(x, f"{name}.shortcut", stride), f"{name}.bn3")
        return self.node("Relu", f"{name}.relu2", self.node("Add", f"{name}.add", x, y))


def to_onnx(variables: dict[str, Any]) -> onnx.ModelProto:
    """Write the net as ONNX: NCHW input `image`, output `logits`, batch normalization kept apart."""
    export = Export(variables)
    x = export.node("Relu", "relu", export.norm(export.conv("image", "stem", 2), "bn"))
    for i in range(len(CHANNELS)):
        x = export.residual(x, f"block{i + 1}", 1 if i == 0 else 2)
    x = export.node("Flatten", "flatten", export.node("GlobalAveragePool", "pool", x))
    kernel = export.weight("classifier.weight", export.leaf("params", "classifier.kernel"))
    bias = export.weight("classifier.bias", export.leaf("params", "classifier.bias"))
    export.nodes.append(helper.make_node("Gemm", [x, kernel, bias], ["logits"], name="classifier"))
    graph = helper.make_graph(
        export.nodes,
        "fashion_resnet",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 1, 28, 28])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 10])],
        export.weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="npuq")
    onnx.checker.check_model(model, full_check=True)
    return model


def sample(data: Split, count: int) -> Split:
    """Choose pictures evenly over the classes, the first of each."""
    picks = [np.flatnonzero(data.labels == label)[: -(-count // 10)] for label in range(10)]
    in_turn = np.stack(picks, axis=1).ravel()[:count]
    return Split(data.images[in_turn], data.labels[in_turn])


def main() -> None:
    """Train, export, compare the two nets on the whole test set, write the files."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--output", "-o", type=Path, default=Path("examples/fashion"))
    options = parser.parse_args()
    folder = zoo.path("fashion_mnist")
    training, test = read(folder, "train"), read(folder, "t10k")
    variables = train(training, options.epochs)

    model = to_onnx(variables)
    options.output.mkdir(parents=True, exist_ok=True)
    (options.output / "resnet.onnx").write_bytes(model.SerializeToString())
    calibration, evaluation = sample(training, 256), sample(test, 512)
    np.savez_compressed(options.output / "calibration.npz", image=calibration.images[:, None])
    np.savez_compressed(options.output / "evaluation.npz", image=evaluation.images[:, None], label=evaluation.labels)

    x = pixels(test.images)
    flax_logits = np.asarray(jax.jit(partial(ResNet().apply, train=False))(variables, x))
    session = onnxruntime.InferenceSession(options.output / "resnet.onnx")
    (logits,) = session.run(None, {"image": x.transpose(0, 3, 1, 2)})
    print(f"weights: {sum(leaf.size for leaf in jax.tree.leaves(variables['params'])):,}")
    print(f"test accuracy: {np.mean(logits.argmax(1) == test.labels):.2%}")
    print(f"largest difference between Flax and ONNX: {np.abs(logits - flax_logits).max():.2g}")


if __name__ == "__main__":
    main()
