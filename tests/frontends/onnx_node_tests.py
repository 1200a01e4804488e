"""ONNX's own node tests, of the installed package and of Debian's older one: what they are, and how one is run."""

from __future__ import annotations

import re
import warnings
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import onnx
from onnx import ModelProto, TensorProto, numpy_helper

from npuq.frontends import load
from npuq.frontends.onnx import supported
from npuq.ir import Graph, NpuqError, function, parameters
from tests import zoo

MUST_BE_KNOWN = "must be a constant"
"""What the frontend says of operands that shapes depend on; the tests give even those at run time."""

BODIES = "(function bodies)"
OUTSIDE = re.compile(
    "test_(bernoulli|nllloss|sce_|sequence)|test_(attention|causal_conv|linear_attention|rotary).*_expanded"
)
"""Tests of what belongs to training; written-out forms of great operators, which have tests under their own names."""


@dataclass(frozen=True, slots=True)
class NodeTest:
    """A model of one node, or of a function's body, with inputs and the outputs that they give."""

    source: str
    name: str
    operator: str
    model: ModelProto
    inputs: tuple[object, ...]
    outputs: tuple[object, ...]

    @property
    def place(self) -> str:
        return f"{self.source}/{self.name}"


class MismatchError(Exception):
    """Outputs that are not the wanted ones."""


@cache
def node_tests() -> tuple[NodeTest, ...]:
    """All tests of supported operators: the installed package's, then Debian's others where they can be had."""
    found = tuple(packaged())
    try:
        folder = zoo.path("onnx_node_tests")
    except zoo.UnavailableError:
        return found
    models = {test.model.SerializeToString(deterministic=True) for test in found}
    others = (test for test in stored(folder) if test.model.SerializeToString(deterministic=True) not in models)
    return (*found, *others)


def packaged() -> Iterable[NodeTest]:
    """The tests that the installed onnx generates."""
    from onnx.backend.test.case.node import collect_testcases

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        cases = collect_testcases(None)
    for case in cases:
        assert case.model is not None
        assert case.data_sets is not None
        operator = tested(case.name, case.model)
        if operator is not None:
            inputs, outputs = (tuple(map(array_of, values)) for values in case.data_sets[0])
            yield NodeTest(onnx.__version__, case.name, operator, case.model, inputs, outputs)


def stored(folder: Path) -> Iterable[NodeTest]:
    """The tests in a folder of folders."""
    for path in sorted(folder.iterdir()):
        model = onnx.load(path / "model.onnx")
        operator = tested(path.name, model)
        if operator is not None:
            data = path / "test_data_set_0"
            inputs, outputs = (
                tuple(read(data / f"{kind}_{index}.pb") for index in range(len(values)))
                for kind, values in (("input", model.graph.input), ("output", model.graph.output))
            )
            yield NodeTest("1.12.0", path.name, operator, model, inputs, outputs)


def array_of(value: object) -> object:
    """Scalars as arrays, and tensors of element types that NumPy lacks, which come as messages."""
    if isinstance(value, TensorProto):
        return numpy_helper.to_array(value)
    return np.asarray(value) if isinstance(value, np.generic) else value


def read(path: Path) -> object:
    """A stored array; other kinds of value stay bytes."""
    data = path.read_bytes()
    tensor = TensorProto()
    try:
        tensor.ParseFromString(data)
        return numpy_helper.to_array(tensor)
    except Exception:
        return data


def tested(name: str, model: ModelProto) -> str | None:
    """The operator that a test is about if a converter or a body of others is there; bodies by themselves are one."""
    nodes = model.graph.node
    if OUTSIDE.match(name) or any(node.domain not in ("", "ai.onnx") for node in nodes):
        return None
    if len(nodes) == 1 and "_expanded" not in name:
        (node,) = nodes
        schema = onnx.defs.get_schema(node.op_type)
        composed = schema.has_function or schema.has_context_dependent_function  # type: ignore[attr-defined]  # stubs
        known = node.op_type in supported() or composed
        return str(node.op_type) if known else None
    return BODIES if all(node.op_type in supported() for node in nodes) else None


def run(test: NodeTest) -> None:
    """Import, evaluate op by op, compare; raises `NpuqError` or `MismatchError`."""
    graph, inputs = imported(test)
    with jax.enable_x64(True):
        arrays = [jnp.asarray(inputs[name]) for name in graph.inputs]
        outputs = function(graph)(parameters(graph), arrays)
    for output, wanted in zip(outputs, test.outputs, strict=True):
        compare(np.asarray(output), wanted)


def imported(test: NodeTest) -> tuple[Graph, Mapping[str, np.ndarray]]:
    """The graph and its inputs; operands that must be known become constants: those after the first, or all."""
    declared = [value.name for value in test.model.graph.input]
    inputs = {name: array for name, array in zip(declared, test.inputs, strict=False) if isinstance(array, np.ndarray)}
    empty = {name for name, array in inputs.items() if not array.size}
    for known in (empty, {*empty, *declared[1:]}, set(declared)):
        try:
            return load(*with_known(test.model, inputs, known)), inputs
        except NpuqError as error:
            if MUST_BE_KNOWN not in str(error) or known == set(declared):
                raise
    raise AssertionError


def with_known(
    model: ModelProto, inputs: Mapping[str, np.ndarray], known: Collection[str]
) -> tuple[ModelProto, dict[str, tuple[int, ...]]]:
    """A copy of a model in which some inputs are constants, and the shapes of the others."""
    copy = at_least_opset_7(model)
    copy.graph.initializer.extend(
        numpy_helper.from_array(array, name) for name, array in inputs.items() if name in known
    )
    return copy, {name: array.shape for name, array in inputs.items() if name not in known}


def at_least_opset_7(model: ModelProto) -> ModelProto:
    """A copy; older models of operators that opset 7 left as they were are models of opset 7."""
    copy = ModelProto()
    copy.CopyFrom(model)
    for imported_ in copy.opset_import:
        if imported_.domain == "" and imported_.version < 7:
            names = {node.op_type for node in copy.graph.node}
            if all(onnx.defs.get_schema(name, 7).since_version <= imported_.version for name in names):
                imported_.version = 7
    return copy


def compare(output: np.ndarray, wanted: object) -> None:
    """Integers and bools exactly, floats within a few units of their precision and never closer than 1e-3."""
    assert isinstance(wanted, np.ndarray)
    if output.dtype != wanted.dtype or output.shape != wanted.shape:
        raise MismatchError(f"{output.dtype}{output.shape}, {wanted.dtype}{wanted.shape} wanted")
    if wanted.dtype.kind in "iub":
        close = output == wanted
    else:
        unit = 2.0 ** -np.finfo(wanted.dtype).nmant if wanted.dtype.kind == "f" else 2.0**-7
        output, wanted = output.astype(np.float64), wanted.astype(np.float64)
        close = np.isclose(output, wanted, rtol=max(1e-3, 4 * unit), atol=max(1e-5, unit), equal_nan=True)
    if not np.all(close):
        raise MismatchError(f"{np.count_nonzero(~close)} of {close.size} numbers differ")
