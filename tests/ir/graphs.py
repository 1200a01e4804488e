"""A small graph for the tests of graphs and of their builder."""

from __future__ import annotations

import numpy as np

from npuq.ir import Builder, DType, Graph, TensorType, verify
from npuq.ir.ops.activation import Relu
from npuq.ir.ops.elementwise import Add, Mul

X = TensorType(DType.F32, (2, 3))


def affine() -> Graph:
    """relu(x * w + b), with the product returned too."""
    builder = Builder("affine")
    x = builder.input("x", X)
    w = builder.constant(np.array([1, -2, 3], np.float32), "w")
    b = builder.constant(np.array([[1.0], [0.5]], np.float32), "b")
    product = builder.add(Mul(), x, w, name="product", loc="net:product")
    y = builder.add(Relu(), builder.add(Add(), product, b, name="sum"), name="y")
    return verify(builder.build({"y": y, "product": product}))
