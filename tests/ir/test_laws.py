"""The laws that every op obeys, proved on the examples of all registered ops."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from npuq.ir import Builder, RuleError, TensorType, blobs, make_op, parse, results_of, to_text, verify

from .examples import EXAMPLES, Example

pytestmark = pytest.mark.parametrize("example", EXAMPLES, ids=str)


def abstract(type_: TensorType) -> tuple[tuple[int, ...], np.dtype[np.generic]]:
    return type_.shape, type_.dtype.numpy


def test_inferred_types_are_those_of_the_evaluated_arrays(example: Example) -> None:
    inferred = results_of(example.op, example.operands)
    with jax.enable_x64(True):
        operands = [jnp.zeros(*abstract(type_)) for type_ in example.operands]
        computed = jax.eval_shape(example.op.evaluate, *operands)
    arrays = computed if isinstance(computed, tuple) else (computed,)
    assert [abstract(type_) for type_ in inferred] == [(array.shape, array.dtype) for array in arrays]


def test_text_of_the_op_parses_back(example: Example) -> None:
    builder = Builder("law")
    operands = [builder.input(f"x{index}", type_) for index, type_ in enumerate(example.operands)]
    results = builder.add_all(example.op, *operands, loc="somewhere")
    graph = verify(builder.build({f"y{index}": name for index, name in enumerate(results)}))
    assert parse(to_text(graph), blobs(graph)) == graph


def test_attributes_rebuild_the_op(example: Example) -> None:
    assert make_op(example.op.name, example.op.attributes) == example.op


def test_an_op_refuses_no_operands_by_a_rule(example: Example) -> None:
    if example.operands:
        with pytest.raises(RuleError):
            results_of(example.op, ())
