"""One arithmetic: the loaded program equals the independent interpreter of its file, value by value."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest

import npuq
from npuq.backends.npu import Program
from npuq.backends.simulator import simulator, to_edge
from npuq.ir import Graph, evaluate_by_node
from npuq.passes.target import load_target
from tests.backends.programs import every_op, inputs_of, small
from tests.oracle.interpreter import execute, known_answers

FASHION = Path(__file__).parents[2] / "examples" / "fashion"
GRAPHS = pytest.mark.parametrize("make", [small, every_op])


def program_of(graph: Graph) -> Program:
    """The program for the default target, loaded from its bytes."""
    return Program.of_bytes(Program.make(graph, load_target("npu"), [inputs_of(graph)]).bytes)


def assert_equals_interpreter(program: Program, samples: Iterable[tuple[np.ndarray, ...]]) -> None:
    """Every value of every sample is what the interpreter makes of the file's bytes."""
    names = [result for node in program.graph.nodes for result in node.results]
    run = evaluate_by_node(program.graph, names)
    for inputs in samples:
        reference = execute(program.bytes, inputs)
        for name, array in zip(names, run(inputs), strict=True):
            np.testing.assert_array_equal(reference.values[name], array, err_msg=name)
        for name, array in zip(program.graph.outputs, program.run(*inputs, raw=True), strict=True):
            np.testing.assert_array_equal(reference.outputs[name], array, err_msg=name)


@GRAPHS
def test_every_value_equals_the_interpreter(make: Callable[[], Graph]) -> None:
    program = program_of(make())
    assert_equals_interpreter(program, (inputs_of(program.graph, seed) for seed in range(8)))


@pytest.mark.parametrize("target", ["npu", "npu-asym"])
def test_the_demo_net_equals_the_interpreter(target: str) -> None:
    images = np.load(FASHION / "calibration.npz")["image"][:16].astype(np.float32)
    quantized = npuq.quantize(npuq.load(str(FASHION / "resnet.onnx")), images, target=target, method="min_max")
    program = Program.of_bytes(quantized.program.bytes)
    assert program.graph == quantized.graph
    program.verify()
    extremes = (inputs_of(program.graph, seed) for seed in range(4))
    real = (tuple(np.asarray(part) for part in to_edge(program.graph, (image[None],))[0]) for image in images[:4])
    assert_equals_interpreter(program, (*extremes, *real))


@GRAPHS
def test_the_memory_plan_keeps_every_value_that_is_needed(make: Callable[[], Graph]) -> None:
    program = program_of(make())
    inputs = inputs_of(program.graph, 7)
    plain, planned = execute(program.bytes, inputs), execute(program.bytes, inputs, arena=True)
    for name, array in plain.values.items():
        np.testing.assert_array_equal(planned.values[name], array, err_msg=name)
    for name, array in plain.outputs.items():
        np.testing.assert_array_equal(planned.outputs[name], array, err_msg=name)


@GRAPHS
def test_the_interpreter_confirms_the_known_answers(make: Callable[[], Graph]) -> None:
    program = program_of(make())
    answers = known_answers(program.bytes)
    assert len(answers) == 1
    for inputs, outputs in answers:
        found = execute(program.bytes, inputs).outputs
        for array, wanted in zip(found.values(), outputs, strict=True):
            np.testing.assert_array_equal(array, wanted)


def test_batches_of_floats_by_name_or_in_order_give_the_integers_of_single_runs() -> None:
    program = program_of(small())
    x = np.random.default_rng(3).uniform(-60, 60, (6, 6, 6, 3)).astype(np.float32)
    integers = np.clip(np.rint(x / 0.5), -128, 127).astype(np.int8)
    logits, hidden = program.run(x, raw=True)
    by_name = program.run({"x": integers}, raw=True)
    for start in range(0, 6, 2):
        alone = execute(program.bytes, [integers[start : start + 2]]).outputs
        np.testing.assert_array_equal(logits[start : start + 2], alone["logits"])
        np.testing.assert_array_equal(hidden[start : start + 2], alone["hidden"])
    np.testing.assert_array_equal(by_name["logits"], logits)
    real, _ = program.run(x)
    np.testing.assert_array_equal(real, logits.astype(np.float32) * np.float32(0.75))
    np.testing.assert_array_equal(logits, simulator(program.graph)(x, raw=True)[0])
