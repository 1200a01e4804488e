"""Builds TensorFlow models with random weights and what they compute, in a process of its own.

    python keras_nets.py FOLDER

TensorFlow must not be imported by the tests' own process, where Paddle may be.
"""

import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops


def mobilenet() -> Any:
    """Keras's MobileNetV2 with the statistics of a few random images."""
    model = keras.applications.MobileNetV2(input_shape=(64, 64, 3), alpha=0.35, weights=None, classes=10)
    for layer in model.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.momentum = 0.0
            layer.beta.assign(np.random.default_rng(0).normal(0, 0.3, layer.beta.shape))
    model(np.random.default_rng(1).normal(size=(16, 64, 64, 3)), training=True)
    return model


def vision_transformer() -> Any:
    """Dosovitskiy et al. 2020, small: patches, positions, two encoder layers, the mean token."""
    image = layers.Input((32, 32, 3), name="image")
    x = layers.Reshape((16, 48), name="tokens")(layers.Conv2D(48, 8, strides=8, name="patches")(image))
    x = x + layers.Embedding(16, 48, name="positions")(ops.arange(16))
    for i in range(2):
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{i}a")(x)
        x = layers.Add(name=f"add{i}a")([x, layers.MultiHeadAttention(4, 12, name=f"attention{i}")(y, y)])
        y = layers.LayerNormalization(epsilon=1e-6, name=f"norm{i}b")(x)
        y = layers.Dropout(0.1)(layers.Dense(96, activation="gelu", name=f"mlp{i}a")(y))
        x = layers.Add(name=f"add{i}b")([x, layers.Dense(48, name=f"mlp{i}b")(y)])
    x = layers.GlobalAveragePooling1D(name="mean")(layers.LayerNormalization(epsilon=1e-6, name="norm")(x))
    return keras.Model(image, layers.Dense(10, name="classes")(x), name="vit")


def branches() -> Any:
    """Several inputs and outputs, a grouped convolution, which Keras compiles by XLA, and a nested model."""
    inner = keras.Sequential([layers.Input((8, 8, 4)), layers.DepthwiseConv2D(3, name="deep")], name="inner")
    a, b = layers.Input((8, 8, 4), name="a"), layers.Input((3,), name="b")
    x = layers.Conv2D(4, 3, padding="same", groups=2, activation="relu", name="grouped")(a)
    x = layers.Flatten(name="flat")(layers.MaxPooling2D(name="pool")(inner(x)))
    second = layers.Dense(2, activation="softmax", name="second")(b)
    first = layers.Dense(5, name="first")(layers.Concatenate(name="join")([x, second]))
    return keras.Model({"a": a, "b": b}, {"one": first, "two": second}, name="branches")


def sequence() -> Any:
    """A Sequential with a recurrent layer of each kind and a layer norm over the channels of an image."""
    image = [layers.Input((6, 5, 4)), layers.Conv2D(4, 3, padding="same"), layers.LayerNormalization(name="norm")]
    recurrent = [layers.LSTM(4, return_sequences=True), layers.Bidirectional(layers.GRU(3, return_sequences=True))]
    return keras.Sequential([*image, layers.Reshape((6, 20)), *recurrent, layers.SimpleRNN(2)], name="sequence")


class Doubled(tf.Module):  # type: ignore[misc]  # untyped where TensorFlow is missing
    """A module with two functions to serve, one of an op that has no translation."""

    def __init__(self) -> None:
        super().__init__()
        self.w = tf.Variable(np.arange(6, dtype=np.float32).reshape(3, 2))

    @tf.function(input_signature=[tf.TensorSpec((None, 3), tf.float32, "x")])  # type: ignore[untyped-decorator]
    def double(self, x: Any) -> Any:
        return {"y": 2 * tf.matmul(x, self.w, name="product")}

    @tf.function(input_signature=[tf.TensorSpec((3, 3), tf.float32, "x")])  # type: ignore[untyped-decorator]
    def odd(self, x: Any) -> Any:
        return {"y": tf.linalg.det(x, name="determinant"), "z": tf.raw_ops.Igamma(a=x, x=x, name="gamma")}


class Scaled(layers.Layer):  # type: ignore[misc]  # as above
    """A layer that no other process knows."""

    def call(self, x: Any) -> Any:
        return 3 * x


def write_graph(path: Path) -> None:
    """A GraphDef of the first TensorFlow: a placeholder with a default, an unused branch, a split."""
    tf1 = tf.compat.v1
    with tf.Graph().as_default() as graph:
        x = tf1.placeholder(tf.float32, (None, 8, 8, 3), name="input")
        keep = tf1.placeholder_with_default(tf.constant(1.0), (), name="keep")
        phase = tf1.placeholder(tf.bool, (), name="phase")
        weights = tf.constant(np.random.default_rng(0).normal(size=(3, 3, 3, 4)).astype(np.float32), name="weights")
        with tf1.name_scope("net/block"):
            y = tf.nn.relu(tf.nn.conv2d(x, weights, 2, "SAME", name="conv"), name="relu") * keep
            left, right = tf.split(y, 2, axis=3, name="split")
            tf.identity(left + right, name="sum")
        tf1.where(phase, left, right, name="chosen")
        variable = tf1.get_variable("w", (4,), use_resource=True)
        tf.add(y, variable, name="trained")
    path.write_bytes(graph.as_graph_def().SerializeToString())


def main(folder: Path) -> None:
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    found: dict[str, np.ndarray] = {}
    for model in (mobilenet(), vision_transformer(), branches(), sequence()):
        name = "mobilenet" if model.name.startswith("mobilenet") else model.name
        inputs = {
            one._keras_history[0].name: rng.normal(size=(4, *one.shape[1:])).astype(np.float32) for one in model.inputs
        }
        results = model.predict(inputs if len(inputs) > 1 else next(iter(inputs.values())), verbose=0)
        outputs = results if isinstance(results, dict) else {model.layers[-1].name: results}
        found |= {f"{name}/{key}": value for key, value in (*inputs.items(), *outputs.items())}
        model.save(folder / f"{name}.keras")
    branches().save_weights(folder / "only.weights.h5")
    np.savez(folder / "computed.npz", allow_pickle=False, **found)
    module = Doubled()
    tf.saved_model.save(module, folder / "doubled", signatures={"double": module.double, "odd": module.odd})
    x = layers.Input((4,))
    keras.Model(x, Scaled()(x)).save(folder / "custom.keras")
    write_graph(folder / "net.pb")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
