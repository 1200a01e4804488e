"""Random small ONNX networks: each seed names one, made node by node from operators that onnxruntime accepts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
MOST_ELEMENTS = 3000
GREATEST = 1e4

UNARY: tuple[tuple[str, dict[str, Any]], ...] = (
    ("Relu", {}),
    ("LeakyRelu", {"alpha": 0.1}),
    ("Sigmoid", {}),
    ("Tanh", {}),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
    ("HardSwish", {}),
    ("Elu", {}),
    ("Selu", {}),
    ("Celu", {"alpha": 0.7}),
    ("Softplus", {}),
    ("Softsign", {}),
    ("Erf", {}),
    ("Abs", {}),
    ("Neg", {}),
    ("Sin", {}),
    ("Cos", {}),
    ("Identity", {}),
)
BINARY = ("Add", "Add", "Sub", "Mul", "Max", "Min")


def session(model: onnx.ModelProto) -> onnxruntime.InferenceSession:
    """The model as written, on one thread."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 4
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


@dataclass
class Maker:
    """A network that grows: every node runs once on a sample before it is kept."""

    random: np.random.Generator
    values: dict[str, np.ndarray] = field(default_factory=dict)
    inputs: list[str] = field(default_factory=list)
    constants: dict[str, np.ndarray] = field(default_factory=dict)
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    count: int = 0

    def input(self, shape: Sequence[int]) -> str:
        name = f"x{len(self.inputs)}"
        self.inputs.append(name)
        self.values[name] = self.random.normal(0, 1.5, tuple(shape)).astype(np.float32)
        return name

    def known(self, array: Any, dtype: type = np.float32) -> str:
        """A new initializer."""
        self.count += 1
        name = f"k{self.count}"
        self.constants[name] = np.asarray(array, dtype)
        return name

    def normal(self, *shape: int, scale: float = 1.0) -> str:
        """An initializer of random numbers, now and then with channels of zeros or of very different sizes."""
        array = self.random.normal(0, scale, shape).astype(np.float32)
        chance = self.random.random()
        if array.ndim and chance < 0.08:
            array[self.random.integers(len(array))] = 0
        elif array.ndim and chance < 0.14:
            sizes = 10.0 ** self.random.integers(-6, 2, len(array))
            array = (array * sizes.reshape(-1, *(1,) * (array.ndim - 1))).astype(np.float32)
        elif chance < 0.17:
            array = array * np.float32(0)
        elif chance < 0.19:
            array = (array * 1e-20).astype(np.float32)
        return self.known(array)

    def add(self, op: str, *operands: str, results: int = 1, **attributes: Any) -> list[str] | None:
        """Append a node; None where onnxruntime refuses it or its numbers are no good."""
        self.count += 1
        names = [f"v{self.count}{'abcdef'[index]}" for index in range(results)]
        node = helper.make_node(op, operands, names, name=f"n{self.count}", **attributes)
        inputs = [name for name in dict.fromkeys(operands) if name]
        known = {**self.values, **self.constants}
        described = [
            helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(known[name].dtype), known[name].shape)
            for name in inputs
        ]
        results_ = [helper.make_empty_tensor_value_info(name) for name in names]
        model = _model([node], "node", described, results_, [])
        try:
            arrays = session(model).run(None, {name: known[name] for name in inputs})
        except Exception:
            return None
        for array in arrays:
            array = np.asarray(array)
            if not 0 < array.size <= MOST_ELEMENTS or not np.isfinite(array).all() or np.abs(array).max() > GREATEST:
                return None
        self.nodes.append(node)
        self.values.update(zip(names, map(np.asarray, arrays), strict=True))
        return names

    def pick(self, test: Callable[[np.ndarray], bool] = lambda array: True) -> str | None:
        """A float value, late ones more often."""
        fit = [name for name, array in self.values.items() if array.dtype == np.float32 and test(array)]
        if not fit:
            return None
        return fit[-1 - int(len(fit) * self.random.random() ** 2)]

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def integer(self, low: int, high: int) -> int:
        """A number from low to high, both included."""
        return int(self.random.integers(low, high + 1))

    def axis(self, rank: int) -> int:
        return self.integer(-rank, rank - 1) if rank else 0

    def axes(self, rank: int) -> list[int]:
        count = self.integer(1, rank)
        return sorted(int(axis) for axis in self.random.choice(rank, count, replace=False))


Step = Callable[[Maker], object]


def window(maker: Maker, rank: int, *, ceil: bool = False, auto: bool = True) -> dict[str, Any]:
    """Strides, dilations and paddings of a window."""
    found: dict[str, Any] = {"kernel_shape": [maker.integer(1, 3) for _ in range(rank)]}
    if maker.chance(0.5):
        found["strides"] = [maker.integer(1, 3) for _ in range(rank)]
    if maker.chance(0.2) and not ceil:
        found["dilations"] = [maker.integer(1, 2) for _ in range(rank)]
    if auto and maker.chance(0.2):
        found["auto_pad"] = str(maker.random.choice(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    elif maker.chance(0.6):
        most = min(found["kernel_shape"]) - 1 if ceil else 2
        found["pads"] = [maker.integer(0, most) for _ in range(2 * rank)]
    return found


def conv(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim in (3, 4))
    if x is None:
        return None
    channels, rank = maker.values[x].shape[1], maker.values[x].ndim - 2
    divisors = [group for group in range(1, channels + 1) if channels % group == 0]
    groups = channels if maker.chance(0.25) else int(maker.random.choice(divisors))
    outputs = groups * maker.integer(1, max(1, 6 // groups))
    attributes = window(maker, rank)
    weights = maker.normal(outputs, channels // groups, *attributes["kernel_shape"], scale=0.5)
    operands = [x, weights, *([maker.normal(outputs)] if maker.chance(0.6) else [])]
    made = maker.add("Conv", *operands, group=groups, **attributes)
    if made and maker.chance(0.3):
        made = norm_of(maker, made[0])
    return made and maker.chance(0.5) and activation_of(maker, made[0])


def transposed(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim in (3, 4))
    if x is None:
        return None
    channels, rank = maker.values[x].shape[1], maker.values[x].ndim - 2
    groups = 2 if channels % 2 == 0 and maker.chance(0.4) else 1
    outputs = maker.integer(1, 3)
    attributes = window(maker, rank, auto=False)
    if maker.chance(0.3) and "strides" in attributes:
        attributes["output_padding"] = [maker.integer(0, stride - 1) for stride in attributes["strides"]]
    weights = maker.normal(channels, outputs, *attributes["kernel_shape"], scale=0.5)
    operands = [x, weights, *([maker.normal(groups * outputs)] if maker.chance(0.6) else [])]
    made = maker.add("ConvTranspose", *operands, group=groups, **attributes)
    return made and maker.chance(0.3) and norm_of(maker, made[0])


def norm_of(maker: Maker, x: str) -> list[str] | None:
    channels = maker.values[x].shape[1]
    variance = maker.known(maker.random.uniform(0.1, 2, channels))
    return maker.add("BatchNormalization", x, *(maker.normal(channels) for _ in range(3)), variance)


def norm(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim in (2, 3, 4))
    return x and norm_of(maker, x)


def activation_of(maker: Maker, x: str) -> object:
    chance = maker.random.random()
    if chance < 0.2:
        return maker.add("Clip", x, maker.known(-0.5), maker.known(6.0 if maker.chance(0.5) else 0.4))
    if chance < 0.3 and maker.values[x].ndim > 1:
        channels = maker.values[x].shape[1]
        return maker.add("PRelu", x, maker.normal(channels, *(1,) * (maker.values[x].ndim - 2)))
    if chance < 0.4:
        op = str(maker.random.choice(["Exp", "Log", "Sqrt", "Reciprocal", "Pow", "Ceil", "Floor", "Round"]))
        if op in ("Log", "Sqrt", "Reciprocal"):
            made = maker.add("Abs", x)
            made = made and maker.add("Add", made[0], maker.known(0.1))
            return made and maker.add(op, made[0])
        return maker.add(op, x, maker.known(2.0)) if op == "Pow" else maker.add(op, x)
    op, attributes = UNARY[maker.integer(0, len(UNARY) - 1)]
    return maker.add(op, x, **attributes)


def activation(maker: Maker) -> object:
    x = maker.pick()
    return x and activation_of(maker, x)


def binary(maker: Maker) -> object:
    """Two values of one shape or that broadcast, or a value and a constant on either side."""
    op = str(maker.random.choice(BINARY))
    x = maker.pick()
    if x is None:
        return None
    shape = maker.values[x].shape
    if maker.chance(0.5):
        kind = maker.integer(0, 4)
        sizes = {
            0: (),
            1: (1,),
            2: (shape[1], *(1,) * (len(shape) - 2)) if len(shape) > 1 else shape,
            3: shape,
            4: tuple(size if maker.chance(0.5) else 1 for size in shape),
        }[kind]
        operands = [x, maker.normal(*sizes)]
        if maker.chance(0.4):
            operands.reverse()
        if maker.chance(0.1):
            op = "Div"
            operands = [x, maker.known(maker.random.uniform(0.5, 2, sizes))]
        return maker.add(op, *operands)

    def broadcasts(array: np.ndarray) -> bool:
        try:
            np.broadcast_shapes(array.shape, shape)
        except ValueError:
            return False
        return True

    other = maker.pick(broadcasts)
    if other is None:
        return None
    if maker.chance(0.1) and op in ("Max", "Min"):
        third = maker.pick(broadcasts)
        return third and maker.add(op, x, other, third)
    return maker.add(op, x, other)


def matrix(maker: Maker) -> object:
    chance = maker.random.random()
    if chance < 0.4:
        x = maker.pick(lambda array: array.ndim == 2)
        if x is None:
            return None
        turned, transposed_ = maker.chance(0.3), maker.chance(0.5)
        inner, outer = maker.values[x].shape[0 if turned else 1], maker.integer(1, 6)
        weights = maker.normal(*((outer, inner) if transposed_ else (inner, outer)), scale=0.5)
        operands = [x, weights]
        if maker.chance(0.7):
            operands.append(maker.normal(*((outer,) if maker.chance(0.7) else (1,))))
        alpha: dict[str, Any] = {"alpha": 0.5, "beta": 2.0} if maker.chance(0.2) else {}
        return maker.add("Gemm", *operands, transA=int(turned), transB=int(transposed_), **alpha)
    if chance < 0.7:
        x = maker.pick(lambda array: array.ndim >= 1)
        if x is None:
            return None
        made = maker.add("MatMul", x, maker.normal(maker.values[x].shape[-1], maker.integer(1, 5), scale=0.5))
        return made and maker.chance(0.5) and maker.add("Add", made[0], maker.normal(maker.values[made[0]].shape[-1]))
    x = maker.pick(lambda array: array.ndim >= 2)
    if x is None:
        return None
    if maker.chance(0.3):
        return maker.add("MatMul", maker.normal(maker.integer(1, 4), maker.values[x].shape[-2]), x)
    order = list(range(maker.values[x].ndim))
    order[-2:] = order[:-3:-1]
    turned_x = maker.add("Transpose", x, perm=order)
    return turned_x and maker.add("MatMul", *((x, turned_x[0]) if maker.chance(0.5) else (turned_x[0], x)))


def pool(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim in (3, 4))
    if x is None:
        return None
    op = str(maker.random.choice(["MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool"]))
    if op.startswith("Global"):
        return maker.add(op, x)
    attributes = window(maker, maker.values[x].ndim - 2, ceil=True)
    # onnxruntime takes windows that fit nowhere, by rounding towards zero.
    if any(size < width for size, width in zip(maker.values[x].shape[2:], attributes["kernel_shape"], strict=True)):
        return None
    if "auto_pad" not in attributes and maker.chance(0.4):
        attributes["ceil_mode"] = 1
    if op == "AveragePool" and maker.chance(0.4):
        attributes["count_include_pad"] = 1
    return maker.add(op, x, **attributes)


def concat(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 1)
    if x is None:
        return None
    shape = maker.values[x].shape
    axis = maker.axis(len(shape)) % len(shape)

    def joins(array: np.ndarray) -> bool:
        return array.ndim == len(shape) and all(
            a == b for index, (a, b) in enumerate(zip(array.shape, shape, strict=True)) if index != axis
        )

    parts = [x] + [part for part in (maker.pick(joins) for _ in range(maker.integer(1, 2))) if part]
    if maker.chance(0.15):
        parts.append(maker.normal(*(2 if index == axis else size for index, size in enumerate(shape))))
    return maker.add("Concat", *parts, axis=axis - (len(shape) if maker.chance(0.5) else 0))


def split(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 1 and max(array.shape) > 1)
    if x is None:
        return None
    shape = maker.values[x].shape
    axis = int(np.argmax(shape))
    first = maker.integer(1, shape[axis] - 1)
    return maker.add("Split", x, maker.known([first, shape[axis] - first], np.int64), results=2, axis=axis)


def slice_(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 1)
    if x is None:
        return None
    axes = maker.axes(maker.values[x].ndim)
    starts, ends, steps = [], [], []
    for axis in axes:
        size = maker.values[x].shape[axis]
        step = int(maker.random.choice([1, 1, 2, -1, -2]))
        first, last = sorted((maker.integer(0, size), maker.integer(0, size)))
        starts.append(first if step > 0 else last)
        ends.append((last if step > 0 else first) if maker.chance(0.5) else (1 << 40 if step > 0 else -(1 << 40)))
        steps.append(step)
    return maker.add("Slice", x, *(maker.known(numbers, np.int64) for numbers in (starts, ends, axes, steps)))


def transpose(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 2)
    return x and maker.add("Transpose", x, perm=[int(axis) for axis in maker.random.permutation(maker.values[x].ndim)])


def reshape(maker: Maker) -> object:
    x = maker.pick()
    if x is None:
        return None
    array = maker.values[x]
    kind = maker.integer(0, 3)
    if kind == 0:
        return maker.add("Flatten", x, axis=maker.integer(0, array.ndim))
    if kind == 1:
        return (
            maker.add("Unsqueeze", x, maker.known([maker.axis(array.ndim + 1)], np.int64)) if array.ndim < 4 else None
        )
    if kind == 2:
        ones = [axis for axis, size in enumerate(array.shape) if size == 1]
        return ones and maker.add("Squeeze", x, maker.known([int(maker.random.choice(ones))], np.int64))
    rest, shape = array.size, []
    for _ in range(maker.integer(0, 3)):
        factor = int(maker.random.choice([size for size in range(1, rest + 1) if rest % size == 0]))
        shape.append(factor)
        rest //= factor
    return maker.add("Reshape", x, maker.known([*shape, -1], np.int64))


def reduce(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 1)
    if x is None:
        return None
    op = str(maker.random.choice(["ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceProd"]))
    axes, keep = maker.axes(maker.values[x].ndim), maker.integer(0, 1)
    if maker.chance(0.15):
        return maker.add(op, x, keepdims=keep)
    if op == "ReduceSum":
        return maker.add(op, x, maker.known(axes, np.int64), keepdims=keep)
    return maker.add(op, x, axes=axes, keepdims=keep)


def softmax(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 1)
    return x and maker.add("LogSoftmax" if maker.chance(0.1) else "Softmax", x, axis=maker.axis(maker.values[x].ndim))


def resize(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim == 4)
    if x is None:
        return None
    mode = str(maker.random.choice(["nearest", "linear"]))
    coordinates = str(maker.random.choice(["half_pixel", "asymmetric", "align_corners", "pytorch_half_pixel"]))
    attributes: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": coordinates}
    if mode == "nearest":
        attributes["nearest_mode"] = str(maker.random.choice(["floor", "ceil", "round_prefer_floor"]))
    # Of positions with aligned corners and a length that is no whole multiple, onnx and onnxruntime differ.
    if maker.chance(0.5) and coordinates != "align_corners":
        scales = [1.0, 1.0, *(float(maker.random.choice([1.0, 1.5, 2.0, 0.5])) for _ in range(2))]
        return maker.add("Resize", x, "", maker.known(scales), **attributes)
    sizes = [*maker.values[x].shape[:2], *(maker.integer(1, 9) for _ in range(2))]
    return maker.add("Resize", x, "", "", maker.known(sizes, np.int64), **attributes)


def pad(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 1)
    if x is None:
        return None
    rank = maker.values[x].ndim
    mode = str(maker.random.choice(["constant", "constant", "edge", "reflect"]))
    least = 0 if mode != "constant" else -1 if maker.chance(0.2) else 0
    pads = [maker.integer(least, 2) if maker.chance(0.5) else 0 for _ in range(2 * rank)]
    operands = [x, maker.known(pads, np.int64)]
    if mode == "constant" and maker.chance(0.6):
        operands.append(maker.known(float(maker.random.normal())))
    return maker.add("Pad", *operands, mode=mode)


def gather(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 1)
    if x is None:
        return None
    axis = maker.axis(maker.values[x].ndim)
    size = maker.values[x].shape[axis]
    shape: tuple[int, ...] = ((), (1,), (3,), (2, 2))[maker.integer(0, 3)]
    return maker.add("Gather", x, maker.known(maker.random.integers(-size, size, shape), np.int64), axis=axis)


def places(maker: Maker) -> object:
    """Elements at known places, each named once where something is written; or the greatest ones."""
    x = maker.pick(lambda array: array.ndim >= 1)
    if x is None:
        return None
    array = maker.values[x]
    axis = maker.axis(array.ndim) % array.ndim
    size, kind = array.shape[axis], maker.integer(0, 4)
    if kind == 0:
        count = maker.known([maker.integer(1, size)], np.int64)
        return maker.add("TopK", x, count, results=2, axis=axis, largest=maker.integer(0, 1))
    if kind == 1:
        shape = [maker.integer(1, length) for length in array.shape]
        return maker.add(
            "GatherElements", x, maker.known(maker.random.integers(-size, size, shape), np.int64), axis=axis
        )
    if kind == 2:
        depth = maker.integer(1, array.ndim)
        columns = [maker.random.integers(-length, length, 3) for length in array.shape[:depth]]
        return maker.add("GatherND", x, maker.known(np.stack(columns, -1), np.int64))
    other = maker.pick(lambda other: other.shape == array.shape)
    turned = np.argsort(maker.random.random(array.shape), axis)
    if kind == 3:
        return other and maker.add("ScatterElements", x, maker.known(turned, np.int64), other, axis=axis)
    rows = maker.random.permutation(array.shape[0])[:, None]
    return other and maker.add("ScatterND", x, maker.known(rows, np.int64), other)


def copies(maker: Maker) -> object:
    x = maker.pick()
    if x is None:
        return None
    rank = maker.values[x].ndim
    if maker.chance(0.5):
        return maker.add("Tile", x, maker.known([maker.integer(1, 2) for _ in range(rank)], np.int64))
    shape = [size if size > 1 else maker.integer(1, 3) for size in maker.values[x].shape]
    return maker.add("Expand", x, maker.known([*([2] if maker.chance(0.3) else []), *shape], np.int64))


def squeeze_and_excite(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim == 4 and array.shape[1] > 1)
    if x is None:
        return None
    channels = maker.values[x].shape[1]
    made = maker.add("GlobalAveragePool", x)
    made = made and maker.add("Conv", made[0], maker.normal(2, channels, 1, 1), maker.normal(2))
    made = made and maker.add("Relu", made[0])
    made = made and maker.add("Conv", made[0], maker.normal(channels, 2, 1, 1))
    made = made and maker.add("Sigmoid" if maker.chance(0.5) else "HardSigmoid", made[0])
    return made and maker.add("Mul", *((x, made[0]) if maker.chance(0.5) else (made[0], x)))


def residual(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim == 4)
    if x is None:
        return None
    channels = maker.values[x].shape[1]
    made = maker.add("Conv", x, maker.normal(channels, channels, 3, 3, scale=0.3), pads=[1, 1, 1, 1])
    made = made and norm_of(maker, made[0])
    made = made and maker.add("Relu", made[0])
    made = made and maker.add("Add", made[0], x)
    return made and maker.chance(0.5) and maker.add("Relu", made[0])


def silu(maker: Maker) -> object:
    """Forms that recognition rewrites: x * sigmoid(x), hard swish, GELU in parts."""
    x = maker.pick()
    if x is None:
        return None
    kind = maker.integer(0, 2)
    if kind == 0:
        gate = maker.add("Sigmoid", x)
        return gate and maker.add("Mul", x, gate[0])
    if kind == 1:
        made = maker.add("Add", x, maker.known(3.0))
        made = made and maker.add("Clip", made[0], maker.known(0.0), maker.known(6.0))
        made = made and maker.add("Mul", x, made[0])
        return made and maker.add("Div", made[0], maker.known(6.0))
    made = maker.add("Div", x, maker.known(2.0**0.5))
    made = made and maker.add("Erf", made[0])
    made = made and maker.add("Add", made[0], maker.known(1.0))
    made = made and maker.add("Mul", x, made[0])
    return made and maker.add("Mul", made[0], maker.known(0.5))


def position(maker: Maker) -> object:
    x = maker.pick(lambda array: array.ndim >= 1)
    op = "ArgMax" if maker.chance(0.7) else "ArgMin"
    return x and maker.add(op, x, axis=maker.axis(maker.values[x].ndim), keepdims=maker.integer(0, 1))


def choice(maker: Maker) -> object:
    x = maker.pick()
    if x is None:
        return None
    made = maker.add("Greater" if maker.chance(0.5) else "LessOrEqual", x, maker.known(0.2))
    return made and maker.add("Where", made[0], x, maker.normal() if maker.chance(0.5) else x)


STEPS: tuple[tuple[float, Step], ...] = (
    (4, conv),
    (1, transposed),
    (1, norm),
    (4, activation),
    (4, binary),
    (2, matrix),
    (2, pool),
    (2, concat),
    (1, split),
    (1, slice_),
    (1, transpose),
    (1.5, reshape),
    (1.5, reduce),
    (1, softmax),
    (1, resize),
    (1, pad),
    (0.7, gather),
    (0.7, places),
    (0.7, copies),
    (0.7, squeeze_and_excite),
    (1, residual),
    (0.7, silu),
    (0.3, position),
    (0.2, choice),
)


def network(seed: int) -> onnx.ModelProto:
    """The network of a seed: 5 to 25 nodes, one to two inputs, any outputs."""
    for attempt in itertools.count():
        model = _network(seed, attempt)
        try:
            # Node by node onnxruntime took it; as a whole its shape inference may contradict its own kernels.
            names = [value.name for value in model.graph.input]
            session(model).run(None, dict(zip(names, data(model, 0)[0], strict=True)))
        except Exception:
            continue
        return model
    raise AssertionError


def _network(seed: int, attempt: int) -> onnx.ModelProto:
    maker = Maker(np.random.default_rng((seed, attempt)))
    batch = 1 if maker.chance(0.75) else maker.integer(2, 3)
    for _ in range(1 if maker.chance(0.75) else 2):
        rank = int(maker.random.choice([4, 4, 4, 3, 2, 1, 5], p=[0.3, 0.2, 0.2, 0.12, 0.12, 0.03, 0.03]))
        sizes = (maker.integer(1, 6), *(maker.integer(3, 8) for _ in range(3)))
        maker.input(((batch, *sizes) if rank > 1 else (maker.integer(1, 8),))[:rank])
    weights = np.array([weight for weight, _ in STEPS])
    wanted = maker.integer(4, 22)
    for _ in range(4 * wanted):
        if len(maker.nodes) >= wanted:
            break
        STEPS[int(maker.random.choice(len(STEPS), p=weights / weights.sum()))][1](maker)
    return _model(maker.nodes, f"random{seed}", *_interface(maker))


def _interface(
    maker: Maker,
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto], list[onnx.TensorProto]]:
    """Inputs, outputs (what nothing reads, and now and then more) and initializers."""
    read = {name for node in maker.nodes for name in node.input}
    made = [name for node in maker.nodes for name in node.output]
    outputs = [name for name in made if name not in read] or [maker.inputs[0]]
    outputs += [name for name in made if name in read and maker.chance(0.06)]
    if maker.chance(0.05):
        outputs.append(maker.inputs[0])
    if maker.chance(0.08):
        maker.nodes.append(helper.make_node("Identity", [outputs[0]], ["again"]))
        maker.values["again"] = maker.values[outputs[0]]
        outputs.append("again")
    if maker.chance(0.05):
        outputs.append(constant := maker.known(maker.random.normal(size=3)))
        maker.values[constant] = maker.constants[constant]
    known = [numpy_helper.from_array(array, name) for name, array in maker.constants.items()]
    described = [
        [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(maker.values[name].dtype), maker.values[name].shape
            )
            for name in names
        ]
        for names in (maker.inputs, dict.fromkeys(outputs))
    ]
    return described[0], described[1], known


def _model(
    nodes: Sequence[onnx.NodeProto],
    name: str,
    inputs: Sequence[onnx.ValueInfoProto],
    outputs: Sequence[onnx.ValueInfoProto],
    known: Sequence[onnx.TensorProto],
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, name, inputs, outputs, known)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=8)


def data(model: onnx.ModelProto, seed: int, count: int = 3) -> list[tuple[np.ndarray, ...]]:
    """Random samples of all inputs."""
    random = np.random.default_rng(seed)
    shapes = [[axis.dim_value for axis in value.type.tensor_type.shape.dim] for value in model.graph.input]
    return [tuple(random.normal(0, 1.5, shape).astype(np.float32) for shape in shapes) for _ in range(count)]


__all__ = ["TensorProto", "data", "network", "session"]
