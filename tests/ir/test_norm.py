"""Normalization over the last axes computes what onnxruntime computes."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime
import pytest
from onnx import TensorProto, helper

from npuq.ir import Builder, Op, RuleError, evaluate, parse_type, results_of
from npuq.ir.ops.norm import LayerNorm, RmsNorm


def in_onnxruntime(operator: str, *arrays: np.ndarray, **attributes: Any) -> np.ndarray:
    names = [f"x{index}" for index in range(len(arrays))]
    node = helper.make_node(operator, names, ["y"], **attributes)
    infos = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
        for name, array in zip(names, arrays, strict=True)
    ]
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)])
    source = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 23)], ir_version=11)
    session = onnxruntime.InferenceSession(source.SerializeToString())
    return np.asarray(session.run(None, dict(zip(names, arrays, strict=True)))[0])


def computed(op: Op, *arrays: np.ndarray) -> np.ndarray:
    builder = Builder("net")
    shapes = [",".join(map(str, array.shape)) for array in arrays]
    operands = [builder.input(f"x{index}", parse_type(f"f32[{shape}]")) for index, shape in enumerate(shapes)]
    return np.asarray(evaluate(builder.build({"y": builder.add(op, *operands)}))(*arrays)[0])


@pytest.mark.parametrize("axis", [-1, 1, 0])
def test_normalization(axis: int) -> None:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(3, 4, 5)) * 2 + 7).astype(np.float32)
    scale, bias = (rng.normal(size=x.shape[axis:]).astype(np.float32) for _ in range(2))
    for epsilon in (1e-5, 0.3):
        layer = LayerNorm(axis=axis, epsilon=epsilon)
        for factors in ((scale, bias), (scale,)):
            wanted = in_onnxruntime("LayerNormalization", x, *factors, axis=axis, epsilon=epsilon)
            np.testing.assert_allclose(computed(layer, x, *factors), wanted, rtol=1e-4, atol=1e-5)
        rms = computed(RmsNorm(axis=axis, epsilon=epsilon), x, scale)
        np.testing.assert_allclose(
            rms, in_onnxruntime("RMSNormalization", x, scale, axis=axis, epsilon=epsilon), rtol=1e-5, atol=1e-5
        )


REFUSED: tuple[tuple[Op, tuple[str, ...], str], ...] = (
    (LayerNorm(), ("i8[2,3]", "f32[3]"), "operand i8[2,3], floats wanted"),
    (LayerNorm(axis=2), ("f32[2,3]", "f32[3]"), "axis 2 of rank 2"),
    (LayerNorm(), ("f32[2,3]", "f32[3]", "f32[2,3]"), "factor f32[2,3], f32[3] wanted"),
    (RmsNorm(axis=0), ("f32[2,3]", "f32[3]"), "factor f32[3], f32[2,3] wanted"),
    (RmsNorm(epsilon=-1.0), ("f32[2,3]", "f32[3]"), "epsilon -1.0, at least 0 wanted"),
    (LayerNorm(), ("f32[2,0]", "f32[0]"), "statistics of no elements, shape (0,)"),
)


@pytest.mark.parametrize(("op", "types", "message"), REFUSED, ids=[message for *_, message in REFUSED])
def test_refusals_name_rule_and_numbers(op: Op, types: tuple[str, ...], message: str) -> None:
    with pytest.raises(RuleError) as caught:
        results_of(op, tuple(map(parse_type, types)))
    assert message in str(caught.value)
