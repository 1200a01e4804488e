"""Builds the ONNX file of a small BERT that is published as bare safetensors weights, as PyTorch's exporter writes one.

LayerNorm and GELU are written out in elementary arithmetic, as files of opsets before 17 hold them.
"""

import json
import struct
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from .nets import Net
from .torch_weights import Array

SEQUENCE = 128
LAYERS = 6
HEADS = 12
HIDDEN = 384
MASKED = -10000.0
DTYPES: dict[str, np.dtype[Any]] = {"F32": np.dtype("<f4"), "I64": np.dtype("<i8")}


def read_safetensors(path: Path) -> dict[str, Array]:
    """Read a file of named arrays: a JSON header behind its length, then the data that its offsets speak of."""
    data = path.read_bytes()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    arrays: dict[str, Array] = {}
    for name, entry in header.items():
        if name != "__metadata__":
            start, stop = (8 + length + offset for offset in entry["data_offsets"])
            arrays[name] = np.frombuffer(data[start:stop], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return arrays


def minilm(weights: Path) -> bytes:
    """Build the encoder of all-MiniLM-L6-v2: Wang et al., arXiv:2002.10957; BERT's layers, arXiv:1810.04805."""
    net = Net(read_safetensors(weights), epsilon=1e-12)
    for unused in ("pooler.dense.weight", "pooler.dense.bias"):
        net.weights.pop(unused)
    x = layer_norm(net, embeddings(net), "embeddings.LayerNorm")
    mask = attention_mask(net)
    for index in range(LAYERS):
        name = f"encoder.layer.{index}"
        attended = linear(net, attention(net, x, mask, f"{name}.attention.self"), f"{name}.attention.output.dense")
        x = layer_norm(net, net.node("Add", f"{name}.attention.add", attended, x), f"{name}.attention.output.LayerNorm")
        inner = gelu(net, linear(net, x, f"{name}.intermediate.dense"), f"{name}.intermediate.gelu")
        x = net.node("Add", f"{name}.add", linear(net, inner, f"{name}.output.dense"), x)
        x = layer_norm(net, x, f"{name}.output.LayerNorm")
    if net.weights:
        raise ValueError(f"weights left over: {', '.join(net.weights)}")
    names = ("input_ids", "attention_mask", "token_type_ids")
    graph = helper.make_graph(
        [*net.nodes, helper.make_node("Identity", [x], ["last_hidden_state"], name="last_hidden_state")],
        "minilm",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["N", SEQUENCE]) for name in names],
        [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["N", SEQUENCE, HIDDEN])],
        net.tensors,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8, producer_name="npuq")
    onnx.checker.check_model(model, full_check=True)
    return model.SerializeToString()  # type: ignore[no-any-return]  # protobuf is untyped


def constant(net: Net, name: str, value: float | list[int]) -> str:
    """Add a float scalar or a list of int64 once."""
    if all(tensor.name != name for tensor in net.tensors):
        dtype = np.int64 if isinstance(value, list) else np.float32
        net.tensors.append(numpy_helper.from_array(np.asarray(value, dtype), name))
    return name


def embeddings(net: Net) -> str:
    """Add the rows for words, kinds of segment and places."""
    word, kind, place = (
        net.take(f"embeddings.{name}_embeddings.weight") for name in ("word", "token_type", "position")
    )
    start, stop, axis = (
        constant(net, name, [value]) for name, value in (("start", 0), ("sequence", SEQUENCE), ("axis", 1))
    )
    places = net.node("Slice", "positions", net.take("embeddings.position_ids"), start, stop, axis)
    words = net.node("Gather", "embeddings.word", word, "input_ids")
    kinds = net.node("Gather", "embeddings.token_type", kind, "token_type_ids")
    both = net.node("Add", "embeddings.add", words, kinds)
    return net.node("Add", "embeddings.add_1", both, net.node("Gather", "embeddings.position", place, places))


def attention_mask(net: Net) -> str:
    """Give 0 for every token that counts and a large negative number for padding: [N, 1, 1, sequence]."""
    axes = constant(net, "mask_axes", [1, 2])
    wide = net.node("Unsqueeze", "mask.wide", "attention_mask", axes)
    left_out = net.node(
        "Sub", "mask.sub", constant(net, "one", 1.0), net.node("Cast", "mask.cast", wide, to=TensorProto.FLOAT)
    )
    return net.node("Mul", "mask", left_out, constant(net, "masked", MASKED))


def attention(net: Net, x: str, mask: str, name: str) -> str:
    """Add multi-head self-attention without its output layer."""
    split = constant(net, "split_heads", [0, 0, HEADS, HIDDEN // HEADS])
    order = {"query": [0, 2, 1, 3], "key": [0, 2, 3, 1], "value": [0, 2, 1, 3]}
    q, k, v = (
        net.node(
            "Transpose",
            f"{name}.{part}.heads",
            net.node("Reshape", f"{name}.{part}.split", linear(net, x, f"{name}.{part}"), split),
            perm=perm,
        )
        for part, perm in order.items()
    )
    root = constant(net, "root", float(np.sqrt(HIDDEN / HEADS)))
    scores = net.node("Div", f"{name}.scores", net.node("MatMul", f"{name}.matmul", q, k), root)
    weights = net.node("Softmax", f"{name}.softmax", net.node("Add", f"{name}.masked", scores, mask), axis=-1)
    heads = net.node("Transpose", f"{name}.join", net.node("MatMul", f"{name}.context", weights, v), perm=[0, 2, 1, 3])
    return net.node("Reshape", f"{name}.joined", heads, constant(net, "join_heads", [0, 0, HIDDEN]))


def linear(net: Net, x: str, name: str) -> str:
    """Add a product with transposed weights and a bias."""
    net.weights[f"{name}.weight"] = np.ascontiguousarray(net.weights[f"{name}.weight"].T)
    product = net.node("MatMul", f"{name}.matmul", x, net.take(f"{name}.weight"))
    return net.node("Add", name, net.take(f"{name}.bias"), product)


def layer_norm(net: Net, x: str, name: str) -> str:
    """Add a layer normalization over the last axis."""
    centred = net.node("Sub", f"{name}.sub", x, net.node("ReduceMean", f"{name}.mean", x, axes=[-1]))
    squares = net.node("Pow", f"{name}.pow", centred, constant(net, "two", 2.0))
    variance = net.node("ReduceMean", f"{name}.variance", squares, axes=[-1])
    epsilon = constant(net, "epsilon", net.epsilon)
    root = net.node("Sqrt", f"{name}.sqrt", net.node("Add", f"{name}.add", variance, epsilon))
    normal = net.node("Div", f"{name}.div", centred, root)
    scaled = net.node("Mul", f"{name}.mul", normal, net.take(f"{name}.weight"))
    return net.node("Add", name, scaled, net.take(f"{name}.bias"))


def gelu(net: Net, x: str, name: str) -> str:
    """Add x * (1 + erf(x / sqrt(2))) * 0.5."""
    curve = net.node(
        "Erf", f"{name}.erf", net.node("Div", f"{name}.div", x, constant(net, "root_2", float(np.sqrt(2))))
    )
    gate = net.node("Mul", f"{name}.mul", x, net.node("Add", f"{name}.add", curve, constant(net, "one", 1.0)))
    return net.node("Mul", name, gate, constant(net, "half", 0.5))
