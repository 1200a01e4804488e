"""Program files are untrusted: damage gives one line, and what loads all the same is a whole program."""

from __future__ import annotations

import hashlib
import struct
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from npuq.backends.npu import Program
from npuq.backends.npu.flat import Writer, schema
from npuq.backends.npu.write import HEADER, MAGIC, VERSION
from npuq.ir import NpuqError, ParseError
from npuq.passes.target import load_target
from tests.backends.programs import every_op, inputs_of, small


def seal(content: bytes) -> bytes:
    """A file whose header agrees with its content."""
    start = MAGIC + struct.pack("<IQ", VERSION, len(content))
    return HEADER.pack(MAGIC, VERSION, len(content), hashlib.sha256(start + content).digest()) + content


def flip(data: bytes, random: np.random.Generator) -> bytes:
    """Other values in up to eight bytes."""
    changed = bytearray(data)
    for at in random.integers(0, len(data), random.integers(1, 9)):
        changed[at] ^= int(random.integers(1, 256))
    return bytes(changed)


def cut(data: bytes, random: np.random.Generator) -> bytes:
    """Only a beginning, or a beginning and zeros."""
    kept = data[: int(random.integers(0, len(data)))]
    return kept + bytes(len(data) - len(kept)) if random.random() < 0.5 else kept


def change(data: bytes, random: np.random.Generator) -> bytes:
    """An aligned field of 1, 2, 4 or 8 bytes set to a telling number."""
    size = int(random.choice([1, 2, 4, 8]))
    at = int(random.integers(0, len(data) // size)) * size
    limit = 1 << (8 * size - 1)
    number = int(random.choice([0, 1, 2, 255, limit - 1, limit, int(random.integers(0, limit))]) % (2 * limit))
    return data[:at] + number.to_bytes(size, "little") + data[at + size :]


def move(data: bytes, random: np.random.Generator) -> bytes:
    """A stretch copied over another."""
    size = int(random.integers(4, 65))
    source, target = (int(at) for at in random.integers(0, max(len(data) - size, 1), 2))
    return data[:target] + data[source : source + size] + data[target + size :]


DAMAGES = (flip, cut, change, move)


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    target = load_target("npu")
    return [Program.make(graph, target, [inputs_of(graph)]).bytes for graph in (small(), every_op())]


def refused(data: bytes) -> ParseError | None:
    """The error of a file; None where it loads."""
    try:
        Program.of_bytes(data, "x.npuq")
    except ParseError as error:
        return error
    return None


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_file_is_refused_in_one_line(damage: Callable[..., bytes], originals: list[bytes]) -> None:
    random = np.random.default_rng(DAMAGES.index(damage))
    for index in range(250):
        original = originals[index % 2]
        data = damage(original, random)
        if data == original:
            continue
        error = refused(data)
        assert error is not None
        assert str(error).startswith("x.npuq: ")
        assert "\n" not in str(error)


@pytest.mark.parametrize("damage", DAMAGES)
def test_with_the_hash_repaired_a_file_is_refused_or_holds_a_whole_program(
    damage: Callable[..., bytes], originals: list[bytes]
) -> None:
    random = np.random.default_rng(100 + DAMAGES.index(damage))
    outcomes: Counter[bool] = Counter()
    for index in range(250):
        data = seal(damage(originals[index % 2][HEADER.size :], random))
        error = refused(data)
        outcomes[error is None] += 1
        if error is not None:
            assert "\n" not in str(error)
            continue
        loaded = Program.of_bytes(data)
        again = Program(loaded.graph, loaded.target, loaded.plan, loaded.known_answers)
        assert Program.of_bytes(again.bytes) == loaded
    assert outcomes[False] > 25


def test_shared_tables_cannot_make_a_small_file_a_large_one() -> None:
    """Six vectors of a thousand references to one table each stand for 10^18 tables."""
    writer = Writer()
    inner: int | None = None
    for _ in range(6):
        table = writer.table("Attribute", Kind=schema.Kind.Tuple, Items=inner)
        inner = writer.tables([table] * 1000)
    content = writer.finish(writer.table("Program", Target=inner))
    assert len(content) < 30_000
    error = refused(seal(content))
    assert error is not None
    assert "more than a file of this size can hold" in str(error)


def test_a_recorded_proof_that_is_too_small_is_refused(originals: list[bytes]) -> None:
    program = Program.of_bytes(originals[0])
    node = program.graph.nodes[0]
    low, high = node.op.accumulator  # type: ignore[attr-defined]  # a convolution
    lie = originals[0][HEADER.size :].replace(struct.pack("<qq", low, high), struct.pack("<qq", low, high - 1))
    assert str(refused(seal(lie))) == (
        f"x.npuq: net.onnx:a: npu.conv2d: accumulator [{low}, {high - 1}] recorded, sums reach [{low}, {high}]; "
        "lower the graph again"
    )


def test_an_integer_op_cannot_hide_from_the_constraints_on_the_host(originals: list[bytes]) -> None:
    program = Program.of_bytes(originals[0])
    nodes = (replace(program.graph.nodes[0], host="slow"), *program.graph.nodes[1:])
    lie = Program(replace(program.graph, nodes=nodes), program.target, program.plan).bytes
    assert str(refused(lie)) == "x.npuq: net.onnx:a: npu.conv2d: marked for the host, which has no such op"


def test_values_that_share_bytes_are_refused(originals: list[bytes]) -> None:
    """The slot of %c moved onto %a, which is still needed there."""
    program = Program.of_bytes(originals[0])
    slots = {slot.value: slot for slot in program.plan.slots}
    moved = tuple(replace(slot, offset=slots["a"].offset) if slot.value == "c" else slot for slot in program.plan.slots)
    lie = Program(program.graph, program.target, replace(program.plan, slots=moved)).bytes
    assert str(refused(lie)) == "x.npuq: memory plan: %a and %c share bytes while both are needed"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "not an NPU program: it starts with b'', b'NPUQ' wanted"),
        (b"ONNX...", "not an NPU program: it starts with b'ONNX', b'NPUQ' wanted"),
        (b"NPUQ\2\0\0\0", "cut short: 8 bytes, the header alone has 64"),
        (HEADER.pack(MAGIC, 1, 0, b""), "format version 1, this npuq reads 2; emit the program again"),
        (HEADER.pack(MAGIC, 2, 9, b""), "cut short or too long: 0 bytes of content, 9 recorded"),
        (HEADER.pack(MAGIC, 2, 0, b""), "damaged: the content does not have the recorded SHA-256"),
    ],
)
def test_each_fault_of_the_header_has_its_line(data: bytes, reason: str) -> None:
    assert str(refused(data)) == f"x.npuq: {reason}"


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NpuqError, match=r"none\.npuq: No such file or directory"):
        Program.load(tmp_path / "none.npuq")


def test_the_page_of_the_format_says_its_version() -> None:
    page = Path(__file__).parents[2] / "docs" / "program-format.md"
    assert f"| format version, little endian: {VERSION} |" in page.read_text(encoding="utf-8")
