"""The first place where two programs, or a program and a dump, do not compute the same integers."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from npuq.ir import Graph, NpuqError

from .compare import Progress, Samples, runs, sides
from .dump import Dump
from .sides import Layer


@dataclass(frozen=True)
class Divergence(Layer):
    """The first instruction of a program whose integers differ from the other side's, behind `agreeing` equal values.

    `position` and `values`, here and there, are those of the first difference, in `sample`; `count` of `elements` over
    all samples differ, by at most `greatest`. Where `types` differ, nothing is counted.
    """

    agreeing: int
    types: tuple[str, str]
    sample: int = 0
    position: tuple[int, ...] = ()
    values: tuple[int, int] = (0, 0)
    count: int = 0
    elements: int = 0
    greatest: int = 0

    def __str__(self) -> str:
        where = f"{self.place}: %{self.name} = {self.op}, instruction {self.index}"
        agreeing = f"the {self.agreeing} values before it agree"
        if not self.count:
            return f"{where}: {self.types[0]} here, {self.types[1]} there; {agreeing}"
        return (
            f"{where}: {self.count} of {self.elements} integers differ, by at most {self.greatest}; first in sample "
            f"{self.sample} at {list(self.position)}: {self.values[0]} here, {self.values[1]} there; {agreeing}"
        )


def diverge(
    program: Graph | Dump,
    other: Graph | Dump,
    samples: Samples | None = None,
    *,
    progress: Progress = lambda count: None,
) -> Divergence | None:
    """Find the first value of `program`, in its order, whose integers or type differ on the other side.

    Floats, behind host layers, are left out. Samples are as in `compare`. Raises `NpuqError` where no integers are
    common to both.
    """
    one, two = sides(program, other)
    names = [name for name in one.layers if name in two.layers and one.type(name).dtype.is_integer]
    if not names:
        raise NpuqError(f"{one.name}, {two.name}: no integers have the same name in both")
    odd = next((at for at, name in enumerate(names) if one.type(name) != two.type(name)), len(names))
    common = names[:odd]
    counts, elements, greatest = np.zeros((3, len(common)), np.int64)
    first: dict[int, dict[str, Any]] = {}
    readers = [side.reader(common) for side in (one, two)]
    for index, inputs in enumerate(runs(program, other, samples) if common else ()):
        arrays = (read(index, given, ()) for read, given in zip(readers, inputs, strict=True))
        for at, (left, right) in enumerate(zip(*arrays, strict=True)):
            elements[at] += left.size
            distance = np.abs(left.astype(np.int64) - right.astype(np.int64))
            if not distance.any():
                continue
            counts[at] += np.count_nonzero(distance)
            greatest[at] = max(greatest[at], distance.max())
            position = tuple(int(part) for part in np.unravel_index(int((distance > 0).argmax()), left.shape))
            values = int(left[position]), int(right[position])
            first.setdefault(at, {"sample": index, "position": position, "values": values})
        progress(index + 1)
    at = min(first, default=odd)
    if at == len(names):
        return None
    types = (str(one.type(names[at])), str(two.type(names[at])))
    found = Divergence(**asdict(one.layers[names[at]]), agreeing=at, types=types, **first.get(at, {}))
    if at not in first:
        return found
    return replace(found, count=int(counts[at]), elements=int(elements[at]), greatest=int(greatest[at]))
