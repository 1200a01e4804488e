"""Import and canonicalization of chains of 5 000, 10 000 and 20 000 nodes: microseconds a node, which stay the same.

python -m benchmarks.long_chain [CHAIN...]
"""

import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from onnx import ModelProto, TensorProto, helper, numpy_helper

import npuq
from npuq.ir import Graph
from npuq.passes.canonical.canonicalize import canonicalize

LENGTHS = (5_000, 10_000, 20_000)
SHAPE = (1, 4, 2, 2)
Block = tuple[tuple[str, tuple[str, ...], dict[str, Any]], ...]
"""Operators in a row; each reads the value before it and constants."""

TENSORS = {
    "channels": np.linspace(0.999, 1.001, 4, dtype=np.float32).reshape(1, 4, 1, 1),
    "flat": np.array([4, 4]),
    "plane": np.array(SHAPE),
    "scale": np.float32(0.1),
    "zero": np.int8(3),
}
BLOCKS: dict[str, Block] = {
    "layers": (
        ("Relu", (), {}),
        ("Mul", ("channels",), {}),
        ("Add", ("channels",), {}),
        ("Identity", (), {}),
        ("Sigmoid", (), {}),
        ("Transpose", (), {"perm": (0, 2, 3, 1)}),
        ("Tanh", (), {}),
        ("Transpose", (), {"perm": (0, 3, 1, 2)}),
        ("Reshape", ("flat",), {}),
        ("Reshape", ("plane",), {}),
    ),
    "steps": (("Mul", ("channels",), {}), ("Add", ("channels",), {})),
    "identities": (("Identity", (), {}),),
    "transposes": (("Transpose", (), {"perm": (0, 2, 3, 1)}), ("Tanh", (), {})),
    "pairs": (("QuantizeLinear", ("scale", "zero"), {}), ("DequantizeLinear", ("scale", "zero"), {})),
    "moved integers": (
        ("QuantizeLinear", ("scale", "zero"), {}),
        *(("Reshape", ("flat",), {}), ("Reshape", ("plane",), {})) * 4,
        ("DequantizeLinear", ("scale", "zero"), {}),
    ),
}


def model(block: Block, count: int) -> ModelProto:
    """A chain of so many nodes."""
    nodes, value = [], "x"
    for index in range(count):
        op, constants, attributes = block[index % len(block)]
        nodes.append(helper.make_node(op, [value, *constants], [f"n{index}"], **attributes))
        value = f"n{index}"
    graph = helper.make_graph(
        nodes,
        "chain",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info(value, TensorProto.FLOAT, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in TENSORS.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def function(count: int) -> Callable[[jax.Array], jax.Array]:
    """A JAX function of so many equations."""

    def chain(x: jax.Array) -> jax.Array:
        for index in range(count):
            x = (jnp.tanh, jnp.abs, lambda x: x + 1.0)[index % 3](x)
        return x

    return chain


def timed(call: Callable[[Any], Graph], argument: Any) -> tuple[Graph, float]:
    begin = time.process_time()
    return call(argument), time.process_time() - begin


def measure(chain: str, count: int) -> dict[str, float]:
    """The seconds of the import and of each pass."""
    if chain == "jax":
        graph, seconds = timed(lambda source: npuq.load(source, {"x": SHAPE}), function(count))
    else:
        graph, seconds = timed(npuq.load, model(BLOCKS[chain], count))
    found = {"import": seconds}
    for index, pass_ in enumerate(canonicalize().passes):
        graph, found[f"{index} {pass_.name}"] = timed(pass_, graph)
    return found


def main(chains: list[str]) -> None:
    """Print a line for each chain and step."""
    for chain in chains or (*BLOCKS, "jax"):
        rows = [measure(chain, count) for count in LENGTHS]
        for step in rows[0]:
            cells = (f"{1e6 * row[step] / count:8.0f}" for row, count in zip(rows, LENGTHS, strict=True))
            print(f"{chain:16} {step:25} {' '.join(cells)}", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
