"""The program as a value: made from an integer graph, saved, loaded, run, verified."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from npuq.ir import Constant, Graph, NpuqError
from npuq.passes.target import Target

from ..memory import make_plan
from ..simulator import simulator, to_edge
from ..write_file import write_file
from .contents import Contents, KnownAnswer, check
from .cost import CostTable, cost_of
from .disassemble import disassemble
from .read import from_bytes
from .write import HEADER, to_bytes

Arrays = tuple[np.ndarray, ...]


class VerificationError(NpuqError):
    """An execution does not give the known answers."""


@dataclass(frozen=True)
class Program(Contents):
    """An integer program for one NPU: graph, target, memory plan and known answers.

    The graph is the integer core: its inputs and outputs are the machine's integers, or floats next to a host
    segment.
    """

    @classmethod
    def make(cls, graph: Graph, target: Target, samples: Iterable[Any] = ()) -> Program:
        """Plan the memory of an integer graph and record the outputs of each sample.

        A sample is an argument of `run`: an array, a tuple of arrays, or a dict by input name. Raises `NpuqError` if
        the graph violates a constraint of the target.
        """
        bare = check(cls(graph, target, make_plan(graph)))
        answers = tuple(bare._answer(sample) for sample in samples)
        made = cls(graph, target, bare.plan, answers)
        if answers:
            made.__dict__["_execute"] = bare._execute
        return made

    @classmethod
    def load(cls, path: str | Path) -> Program:
        """Read a program file; raises `NpuqError` if it is missing, damaged or violates a rule."""
        try:
            data = Path(path).read_bytes()
        except OSError as error:
            raise NpuqError(f"{path}: {error.strerror or error}") from None
        return cls.of_bytes(data, str(path))

    @classmethod
    def of_bytes(cls, data: bytes, source: str = "program") -> Program:
        contents = from_bytes(data, source)
        program = cls(contents.graph, contents.target, contents.plan, contents.known_answers)
        program.__dict__["bytes"] = bytes(data)
        return program

    @cached_property
    def bytes(self) -> bytes:
        """The file's content: the same graph, target and samples give the same bytes."""
        return to_bytes(self)

    @property
    def hash(self) -> str:
        """The SHA-256 in the file's header, in hexadecimal."""
        return str(HEADER.unpack_from(self.bytes)[3].hex())

    def save(self, path: str | Path) -> None:
        """Write the file whole or not at all; raises `NpuqError` if that fails."""
        write_file(path, self.bytes)

    def run(self, *inputs: Any, raw: bool = False) -> Any:
        """Execute the program.

        Inputs are arrays in order, or one dict by name: floats, which are quantized, or the program's own integers.
        Their first axis may be a multiple of the program's batch size. Outputs are dequantized, unless `raw`; they are
        a tuple in order, or a dict if the inputs are.
        """
        if len(inputs) == 1 and isinstance(inputs[0], Mapping):
            return dict(zip(self.graph.outputs, self._execute(*self._ordered(inputs[0]), raw=raw), strict=True))
        return self._execute(*inputs, raw=raw)

    def verify(self) -> None:
        """Run every known answer again; raises `VerificationError` with the output and the size of the difference.

        Integers must be equal, floats behind host segments within 1e-5 of the output's range.
        """
        for index, answer in enumerate(self.known_answers):
            found = self._execute(*(constant.array for constant in answer.inputs), raw=True)
            for name, array, wanted in zip(self.graph.outputs, found, answer.outputs, strict=True):
                difference = np.abs(array.astype(np.float64) - wanted.array.astype(np.float64))
                reach = np.abs(wanted.array).max(initial=0) if wanted.type.dtype.is_float else 0
                wrong = int((~(difference <= 1e-5 * reach)).sum())
                if wrong:
                    raise VerificationError(
                        f"{self.graph.name}: output {name!r} of known answer {index}: {wrong} of {array.size} elements "
                        f"differ, by at most {difference.max():g}; this machine does not compute what the file promises"
                    )

    def disassemble(self) -> str:
        """The program as text, one line per instruction."""
        return disassemble(self)

    def cost(self) -> CostTable:
        """Multiplications, bytes and cycles per instruction, from the target's numbers."""
        return cost_of(self)

    @cached_property
    def _execute(self) -> Callable[..., Arrays]:
        return simulator(self.graph)

    def _ordered(self, inputs: Mapping[str, Any]) -> Arrays:
        arrays, _ = to_edge(self.graph, inputs)
        return tuple(arrays)

    def _answer(self, sample: Any) -> KnownAnswer:
        inputs = sample if isinstance(sample, (Mapping, tuple)) else (sample,)
        arrays, count = to_edge(self.graph, inputs)
        batch = tuple(array[: array.shape[0] // count] if count > 1 else array for array in arrays)
        outputs = self._execute(*batch, raw=True)
        return KnownAnswer(
            tuple(Constant(type_, array) for array, type_ in zip(batch, self.graph.input_types, strict=True)),
            tuple(Constant(type_, array) for array, type_ in zip(outputs, self.graph.output_types, strict=True)),
        )
