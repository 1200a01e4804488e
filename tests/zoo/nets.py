"""Builds ONNX files of two ImageNet nets that are published as bare PyTorch weights."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .torch_weights import Array, read_weights

SIZE = 224


@dataclass
class Net:
    """An ONNX graph under construction that hands out each weight of a state dict once."""

    weights: dict[str, Array]
    epsilon: float
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    tensors: list[onnx.TensorProto] = field(default_factory=list)

    def take(self, name: str) -> str:
        """Move a weight from the state dict into the graph."""
        self.tensors.append(numpy_helper.from_array(self.weights.pop(name), name))
        return name

    def node(self, op: str, name: str, *inputs: str, **attributes: Any) -> str:
        """Add a node that is named like its only output."""
        self.nodes.append(helper.make_node(op, inputs, [name], name=name, **attributes))
        return name

    def conv(
        self, x: str, name: str, *, stride: int = 1, pads: tuple[int, int] = (0, 0), depthwise: bool = False
    ) -> str:
        """Add a convolution without bias; `pads` holds before and after, the same for both axes."""
        out_channels, _, kernel, _ = self.weights[f"{name}.weight"].shape
        return self.node(
            "Conv",
            name,
            x,
            self.take(f"{name}.weight"),
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[pads[0], pads[0], pads[1], pads[1]],
            group=out_channels if depthwise else 1,
        )

    def norm(self, x: str, name: str) -> str:
        """Add a batch normalization."""
        leaves = [self.take(f"{name}.{leaf}") for leaf in ("weight", "bias", "running_mean", "running_var")]
        return self.node("BatchNormalization", name, x, *leaves, epsilon=self.epsilon)

    def relu6(self, x: str, name: str) -> str:
        """Clip to [0, 6]."""
        if not any(tensor.name == "zero" for tensor in self.tensors):
            self.tensors += [numpy_helper.from_array(np.array(v, np.float32), n) for v, n in ((0, "zero"), (6, "six"))]
        return self.node("Clip", name, x, "zero", "six")

    def classify(self, x: str, name: str) -> bytes:
        """Add average pooling and a linear layer, check that no weight is left, and serialize."""
        x = self.node("Flatten", "flatten", self.node("GlobalAveragePool", "pool", x))
        linear = helper.make_node(
            "Gemm", [x, self.take(f"{name}.weight"), self.take(f"{name}.bias")], ["logits"], name=name, transB=1
        )
        if self.weights:
            raise ValueError(f"weights left over: {', '.join(self.weights)}")
        graph = helper.make_graph(
            [*self.nodes, linear],
            "classifier",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", 1000])],
            self.tensors,
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="npuq"
        )
        onnx.checker.check_model(model, full_check=True)
        return model.SerializeToString()  # type: ignore[no-any-return]  # protobuf is untyped


def mobilenet_v2(weights: Path) -> bytes:
    """Build MobileNetV2 (Sandler et al. 2018, table 2) with torchvision's names."""
    net = Net(read_weights(weights), epsilon=1e-5)

    def conv_norm_relu(x: str, name: str, *, stride: int = 1, pad: int = 0, depthwise: bool = False) -> str:
        x = net.conv(x, f"{name}.0", stride=stride, pads=(pad, pad), depthwise=depthwise)
        return net.relu6(net.norm(x, f"{name}.1"), f"{name}.2")

    x, channels, index = conv_norm_relu("x", "features.0", stride=2, pad=1), 32, 1
    table = [(1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)]
    for expansion, width, repeats, first_stride in table:
        for repeat in range(repeats):
            name, stride, shortcut = f"features.{index}", first_stride if repeat == 0 else 1, x
            expands = int(expansion > 1)
            if expands:
                x = conv_norm_relu(x, f"{name}.conv.0")
            x = conv_norm_relu(x, f"{name}.conv.{expands}", stride=stride, pad=1, depthwise=True)
            x = net.norm(net.conv(x, f"{name}.conv.{expands + 1}"), f"{name}.conv.{expands + 2}")
            if stride == 1 and width == channels:
                x = net.node("Add", f"{name}.add", shortcut, x)
            channels, index = width, index + 1
    return net.classify(conv_norm_relu(x, "features.18"), "classifier.1")


def same_pads(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """Pad as TensorFlow's SAME does: the odd pixel goes after."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def efficientnet_lite0(weights: Path) -> bytes:
    """Build EfficientNet-Lite0 with the names and the TensorFlow padding of its PyTorch port.

    The widths are those of EfficientNet-B0 (Tan and Le 2019, table 1); Lite has no squeeze-and-excitation, and ReLU6.
    """
    net = Net(read_weights(weights), epsilon=1e-3)
    x = net.norm(net.conv("x", "_conv_stem", stride=2, pads=same_pads(SIZE, 3, 2)), "_bn0")
    x, size, channels, index = net.relu6(x, "_swish0"), SIZE // 2, 32, 0
    table = [
        (1, 16, 1, 3, 1),
        (6, 24, 2, 3, 2),
        (6, 40, 2, 5, 2),
        (6, 80, 3, 3, 2),
        (6, 112, 3, 5, 1),
        (6, 192, 4, 5, 2),
        (6, 320, 1, 3, 1),
    ]
    for expansion, width, repeats, kernel, first_stride in table:
        for repeat in range(repeats):
            name, stride, shortcut = f"_blocks.{index}", first_stride if repeat == 0 else 1, x
            if expansion > 1:
                x = net.relu6(net.norm(net.conv(x, f"{name}._expand_conv"), f"{name}._bn0"), f"{name}._swish0")
            pads = same_pads(size, kernel, stride)
            x = net.conv(x, f"{name}._depthwise_conv", stride=stride, pads=pads, depthwise=True)
            x = net.relu6(net.norm(x, f"{name}._bn1"), f"{name}._swish1")
            x = net.norm(net.conv(x, f"{name}._project_conv"), f"{name}._bn2")
            if stride == 1 and width == channels:
                x = net.node("Add", f"{name}.add", x, shortcut)
            channels, size, index = width, -(-size // stride), index + 1
    return net.classify(net.relu6(net.norm(net.conv(x, "_conv_head"), "_bn1"), "_swish1"), "_fc")
