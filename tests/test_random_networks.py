"""The whole way on random networks: float as onnxruntime, integers as fake-quant, the program as its interpreter."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np
import pytest

import npuq
from npuq.backends.exact_onnx import to_exact_onnx
from npuq.backends.npu import Program
from npuq.backends.qdq import to_onnx
from npuq.backends.simulator import to_edge
from npuq.ir import Builder, Graph, Node, blobs, evaluate, parse, to_text, verify
from npuq.ir.ops.npu.interpolate import Interpolate
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering.context import order
from npuq.passes.precision import Precision
from tests.backends.programs import inputs_of
from tests.backends.test_execution import assert_equals_interpreter
from tests.oracle.interpreter import OPS
from tests.random_networks import data, network, session

SEEDS = range(24)
MIXED_SEEDS = (4, 6, 9)
Sample = tuple[np.ndarray, ...]

JUMPS = frozenset(
    {"floor", "ceil", "round", "sign", "mod", "argmax", "argmin", "top_k", "where", "equal"}
    | {"less", "less_or_equal", "greater", "greater_or_equal"}
)
"""Ops that turn a last bit of float into a whole step."""


@cache
def imported(seed: int) -> Graph:
    return npuq.load(network(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_floats_are_what_onnxruntime_says(seed: int) -> None:
    assert_float_equals(seed)


@pytest.mark.parametrize("target", ["npu", "npu-asym"])
@pytest.mark.parametrize("seed", SEEDS)
def test_integers_are_right_at_every_level(seed: int, target: str) -> None:
    assert_integers_right(seed, target)


@pytest.mark.parametrize("seed", MIXED_SEEDS)
def test_integers_are_right_where_widths_meet(seed: int) -> None:
    """Every node of a width of its own, by lot; tables are off by what they say."""
    random = np.random.default_rng(seed)
    graph = canonicalize()(imported(seed))
    bits = random.choice([8, 16], len(graph.nodes))
    assert_integers_right(
        seed,
        random.choice(["npu", "npu-asym"]),
        bits=int(random.choice([8, 16])),
        precision={node.results[0]: Precision(int(wide)) for node, wide in zip(graph.nodes, bits, strict=True)},
    )


def assert_float_equals(seed: int) -> None:
    """All outputs within 1e-4 of their range, save behind jumps."""
    model, graph = network(seed), imported(seed)
    jumps = any(node.op.name in JUMPS for node in graph.nodes)
    run = evaluate(graph)
    names = [value.name for value in model.graph.input]
    assert list(graph.inputs) == names
    assert list(graph.outputs) == [value.name for value in model.graph.output]
    for sample in data(model, seed):
        wanted = session(model).run(None, dict(zip(names, sample, strict=True)))
        for name, given, array in zip(graph.outputs, map(np.asarray, run(*sample)), wanted, strict=True):
            assert given.shape == array.shape, name
            assert given.dtype == array.dtype, name
            error = np.abs(given.astype(np.float64) - array) / max(
                float(np.ptp(array)), float(np.abs(array).max()), 0.01
            )
            assert jumps or error.max() <= 1e-4, f"{name}: {error.max()}"


def assert_integers_right(seed: int, target: str, **widths: Any) -> None:
    """The network of a seed, calibrated on the samples that it runs on."""
    assert_levels_agree(imported(seed), data(network(seed), seed), target, seed=seed, **widths)


def assert_levels_agree(
    graph: Graph, samples: Sequence[Sample], target: str, *, seed: int = 0, **widths: Any
) -> npuq.Quantized:
    """Text, file, simulator, interpreter, fake-quant graph and its ONNX export agree; what was quantized."""
    calibration = [dict(zip(graph.inputs, sample, strict=True)) for sample in samples]
    quantized = npuq.quantize(graph, calibration, target=target, method="min_max", **widths)
    for level in (quantized.qdq, quantized.graph):
        assert parse(to_text(level), blobs(level)) == verify(level)
    program = Program.of_bytes(quantized.program.bytes)
    assert program.graph == quantized.graph
    edge = tuple(map(np.asarray, to_edge(program.graph, samples[0])[0]))
    if all(node.op.name in OPS for node in program.graph.nodes):
        floats = any(type_.dtype.is_float for type_ in program.graph.input_types)
        assert_equals_interpreter(program, [edge, *([] if floats else [inputs_of(program.graph, seed)])])
    for one, other in zip(quantized.simulate(*samples[0], raw=True), program.run(*edge, raw=True), strict=True):
        np.testing.assert_array_equal(one, other)
    assert_follows_fake_quant(quantized, samples[1])
    if not widths:
        assert_export_follows(quantized.qdq, samples[1])
    assert_exact_export_equals(quantized, samples)
    return quantized


def assert_exact_export_equals(quantized: npuq.Quantized, samples: Sequence[Sample]) -> None:
    """In the exact ONNX model all integers are the program's, and what host segments give is close."""
    graph = quantized.graph
    run = session(to_exact_onnx(graph))
    if any(isinstance(node.op, Quantize) for node in graph.nodes):
        return
    for sample in samples:
        given = run.run(None, dict(zip(graph.inputs, sample, strict=True)))
        wanted = quantized.simulate(*sample, raw=True)
        for one, other, type_ in zip(given, wanted, graph.output_types, strict=True):
            tolerance = 1e-4 if type_.dtype.is_float else 0.0
            np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


def assert_follows_fake_quant(quantized: npuq.Quantized, sample: Sample) -> None:
    """Every quantized value is the fake-quant rule of its own operands' integers, to one step (two of some ops)."""
    lowered, fake = quantized.lowered, quantized.qdq
    places = {name: place for name, place in lowered.values.items() if place.name in lowered.graph.types}
    run = evaluate(lowered.graph, [place.name for place in places.values()])
    found = dict(zip(places, map(np.asarray, run(*to_edge(lowered.graph, sample)[0])), strict=True))
    given = {
        name: array.transpose(order(array.ndim, last=False)) if places[name].last else array
        for name, array in found.items()
    }
    for (name, integers), wanted in zip(
        given.items(), evaluate(cut(fake, given))(*sample, *given.values()), strict=True
    ):
        made = fake.producers[name].op.name if name in fake.producers else "input"
        assert integers.shape == wanted.shape, name
        steps = np.abs(integers.astype(np.int64) - np.asarray(wanted))
        table = lowered.graph.producers[places[name].name].op if places[name].name in lowered.graph.producers else None
        worst = table.worst if isinstance(table, Interpolate) else 0.0
        most = 1 + math.ceil(worst) if worst else 2 if made in ("softmax", "resize") else 1
        assert steps.max() <= most, f"%{name} of {made}: {steps.max()} steps"
        assert worst or steps.size < 50 or (steps > 0).mean() <= 0.15, f"%{name} of {made}: {(steps > 0).mean()} differ"


def cut(fake: Graph, values: Mapping[str, np.ndarray]) -> Graph:
    """The fake-quant graph in pieces: it reads the integers of `values` as inputs, and gives its own for each."""
    builder = Builder(fake.name, dict(fake.inputs), dict(fake.constants), types={**fake.inputs})
    builder.types.update((name, constant.type) for name, constant in fake.constants.items())
    pairs = {node.operands[0]: node for node in fake.nodes if isinstance(node.op, Quantize)}
    read = {pairs[name].result: builder.input(f"{name}.given", pairs[name].type) for name in values}
    renamed: dict[str, str] = {name: name for name in builder.types}
    for node in fake.nodes:
        operands = [read.get(operand, renamed[operand]) for operand in node.operands]
        renamed.update(zip(node.results, builder.copy(node, operands), strict=True))
    return builder.build({f"y{index}": renamed[pairs[name].result] for index, name in enumerate(values)})


def assert_export_follows(fake: Graph, sample: Sample) -> None:
    """The exported QDQ model's integers are at most one step off wherever the integers that they come from agree."""
    pairs = [node.result for node in fake.nodes if isinstance(node.op, Quantize)]
    shown = Graph(fake.name, fake.inputs, fake.constants, fake.nodes, {name: name for name in dict.fromkeys(pairs)})
    if not pairs:
        return
    given = session(to_onnx(shown)).run(list(shown.outputs), dict(zip(fake.inputs, sample, strict=True)))
    wanted = evaluate(shown)(*sample)
    equal: dict[str, bool] = {}
    for name, one, other in zip(shown.outputs, given, map(np.asarray, wanted), strict=True):
        steps = np.abs(one.astype(np.int64) - other)
        equal[name] = not steps.any()
        jumps = any(node.op.name in JUMPS for node in between(fake, name))
        if not jumps and all(equal.get(node.operands[0], True) for node in between(fake, name)):
            assert steps.max() <= 1, f"%{name}: {steps.max()} steps"


def between(fake: Graph, name: str) -> list[Node]:
    """The nodes from the nearest quantized values to a quantized value."""
    found: list[Node] = []
    waiting = list(fake.producers[name].operands)
    while waiting:
        node = fake.producers.get(waiting.pop())
        if node is not None and node not in found:
            found.append(node)
            waiting.extend(() if isinstance(node.op, Dequantize) else node.operands)
    return found
