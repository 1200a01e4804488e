"""The program as a value: round trip, determinism, saving, running, verifying, text and cost."""

from __future__ import annotations

import errno
import os
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from npuq.backends.npu import KnownAnswer, Program, VerificationError
from npuq.backends.npu.flat import pack, unpack
from npuq.ir import Builder, Constant, DType, Graph, NpuqError, Quantization, parse_type
from npuq.ir.ops.activation import Sigmoid
from npuq.ir.ops.elementwise import Add
from npuq.ir.ops.quant import Dequantize, Quantize
from npuq.passes.target import load_target
from tests.backends.programs import every_op, inputs_of, small

NPU = load_target("npu")


@pytest.fixture(scope="module")
def program() -> Program:
    graph = small()
    return Program.make(graph, NPU, [inputs_of(graph), inputs_of(graph, 1)])


def odd() -> Graph:
    """Host ops, quoted names, element types of the host, an unused constant, an output that is an input."""
    builder = Builder("odd name \u00e9")
    x = builder.input("x y", parse_type("f32[2,3]"))
    half = builder.constant(np.array([1, -2, 3], DType.I4.numpy), "four", Quantization.per_tensor(0.5))
    flags = builder.constant(np.array([True, False]), "flags")
    brain = builder.constant(np.ones((2, 3), DType.BF16.numpy), "brain")
    scale = builder.constant(np.full((2, 3), 0.1, np.float32), "scale")
    s = builder.add(Sigmoid(), x, name="s", host="npu has no sigmoid", loc="m.onnx:\u00fc")
    q = builder.add(Quantize(scales=(0.5,)), s, name="q", host="edge")
    real = builder.add(Dequantize(scales=(0.5,)), q, name="r", host="edge")
    y = builder.add(Add(), real, scale, name="y", host="float")
    return builder.build({"out put": y, "same": "x y", "four": half, "flags": flags, "brain": brain})


@pytest.mark.parametrize("graph", [small(), every_op(), odd()], ids=["small", "every_op", "odd"])
def test_what_is_saved_loads_to_an_equal_program(graph: Graph, tmp_path: Path) -> None:
    made = Program.make(graph, NPU)
    made.save(tmp_path / "p.npuq")
    loaded = Program.load(tmp_path / "p.npuq")
    assert loaded == made
    assert loaded.graph == graph
    assert str(loaded.graph) == str(graph)
    assert loaded.hash == made.hash


def test_the_same_graph_and_samples_give_the_same_bytes(program: Program) -> None:
    graph = small()
    again = Program.make(graph, load_target("npu"), [inputs_of(graph), inputs_of(graph, 1)])
    assert again.bytes == program.bytes
    assert Program.make(graph, load_target("npu-asym"), []).hash != Program.make(graph, NPU, []).hash


@pytest.mark.parametrize("dtype", list(DType))
def test_every_element_type_packs_and_unpacks(dtype: DType) -> None:
    type_ = parse_type(f"{dtype}[3,1]")
    array = np.array([[1], [0], [1]]).astype(dtype.numpy)
    data = pack(array)
    assert len(data) == type_.bytes
    assert unpack(np.frombuffer(data, np.uint8), type_) == Constant(type_, array)


def test_saving_writes_the_whole_file_or_none(
    program: Program, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "p.npuq"
    path.write_bytes(b"old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(NpuqError, match=re.escape(f"{path}: not written: No space left on device")):
        program.save(path)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_named(program: Program, tmp_path: Path) -> None:
    with pytest.raises(NpuqError, match=r"none/p\.npuq: not written: No such file or directory"):
        program.save(tmp_path / "none" / "p.npuq")


def test_known_answers_verify_and_other_ones_do_not(program: Program) -> None:
    program.verify()
    answer = program.known_answers[1]
    logits = answer.outputs[0].array.copy()
    logits[0, :2] ^= 3
    wrong = KnownAnswer(answer.inputs, (Constant(answer.outputs[0].type, logits), *answer.outputs[1:]))
    other = Program(program.graph, program.target, program.plan, (program.known_answers[0], wrong))
    with pytest.raises(VerificationError, match=r"^small: output 'logits' of known answer 1: 2 of 10 elements differ"):
        other.verify()


def test_a_program_of_floats_verifies_within_its_bound() -> None:
    graph = odd()
    made = Program.make(graph, NPU, [np.ones((2, 3), np.float32)])
    made.verify()
    answer = made.known_answers[0]
    off = KnownAnswer(
        answer.inputs,
        (Constant(answer.outputs[0].type, answer.outputs[0].array * np.float32(1.001)), *answer.outputs[1:]),
    )
    with pytest.raises(VerificationError, match="output 'out put' of known answer 0: 6 of 6 elements differ"):
        replace(made, known_answers=(off,)).verify()


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ((), "small: 0 inputs given; it takes x: q8<0.5>[2,6,6,3]"),
        (({"z": np.zeros(1)},), "small: no input 'z' here; it takes x: q8<0.5>[2,6,6,3]"),
        ((np.zeros((2, 6, 6, 4), np.int8),), "input x: shape (2, 6, 6, 4), (2, 6, 6, 3) wanted"),
        ((np.zeros((3, 6, 6, 3), np.int8),), "input x: shape (3, 6, 6, 3), (2, 6, 6, 3) wanted"),
        ((np.full((2, 6, 6, 3), np.nan),), "input x: 216 numbers are NaN or infinite"),
        ((np.zeros((2, 6, 6, 3), np.uint8),), "input x: uint8 data, int8 integers or floats wanted"),
    ],
)
def test_wrong_inputs_are_refused_in_one_line(program: Program, inputs: Any, reason: str) -> None:
    with pytest.raises(NpuqError, match="^" + re.escape(reason)):
        program.run(*inputs)


def test_the_disassembly_shows_places_scales_and_sources(program: Program) -> None:
    lines = program.disassemble().splitlines()
    assert lines[:4] == [
        "program small",
        "target npu: int8 and int16, symmetric activations, per-channel weights, single rounding half up; "
        "rounding single_half_up",
        "arena 384 bytes for 288 alive at most, constants 576 bytes, 2 known answers",
        "input %x@0 i8[2x6x6x3] scale 0.5",
    ]
    assert lines[6] == (
        "2  %c@128 i8[2x3x3x4] scale 0.375 = npu.add a=%a@256, b=%b.2@0, M=#256 -0x55555555..0x2aaaaaab, q=#272 -1  "
        "accumulator=(-274877906944, 274877906944)  ; net.onnx:c"
    )
    assert lines[-2:] == [
        "output logits = %y@128 i8[2x5] scale 0.75",
        "output hidden = %d@0 i8[2x3x3x4] scale 0.125",
    ]
    assert "HOST: npu has no sigmoid" in Program.make(odd(), NPU).disassemble()


def test_costs_count_products_bytes_and_the_slower_of_two_clocks(program: Program) -> None:
    cost = program.cost()
    first = cost.rows[0]
    assert (first.name, first.op, first.place) == ("a", "npu.conv2d", "net.onnx:a")
    assert first.macs == 2 * 3 * 3 * 4 * 27
    assert first.bytes == 27 * 4 + 3 * 16
    assert first.compute_cycles == 2
    assert first.memory_cycles == 20
    assert first.cycles == 20
    assert first.bound == "memory"
    assert cost.macs == 1944 + 288 + 40
    assert cost.bytes == cost.constant_bytes == 576
    assert cost.milliseconds == pytest.approx(cost.cycles / 800e3)
    assert str(cost).splitlines()[-1] == "arena 384 bytes, constants 576 bytes"


def test_activations_cost_bytes_only_where_they_do_not_fit(program: Program) -> None:
    tight = replace(program, target=replace(NPU, sram_bytes=128))
    assert tight.cost().rows[0].bytes == program.cost().rows[0].bytes + 216 + 72
