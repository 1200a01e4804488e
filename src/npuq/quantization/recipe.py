"""How to quantize: the options of `npuq.quantize`, as a value and as chains of passes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypedDict

import numpy as np

from npuq.backends.write_file import write_file
from npuq.ir import Graph, NpuqError, one_line
from npuq.passes.calibration.choose_ranges import choose_ranges
from npuq.passes.calibration.collect_statistics import FEW, collect_statistics
from npuq.passes.calibration.thresholds import require_share
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.canonical.normalize_input import normalize_input
from npuq.passes.lowering.lower_to_integer import lower_to_integer
from npuq.passes.lowering.plan import Held
from npuq.passes.lowering.tables import require_length
from npuq.passes.pipeline import Pass, Pipeline, chain
from npuq.passes.precision import CALIBRATED_BITS, METHODS, Precision, Precisions, set_precision
from npuq.passes.ptq.correct_bias import correct_bias
from npuq.passes.ptq.equalize import EQUALIZED_BITS, collect_channels, equalize
from npuq.passes.ptq.learn_rounding import learn_rounding
from npuq.passes.quantize.input_dtypes import InputDtypes, chosen_dtypes, input_dtypes
from npuq.passes.quantize.insert_fake_quant import insert_fake_quant
from npuq.passes.quantize.scale_file import give_scales
from npuq.passes.quantize.split_output_concats import split_output_concats
from npuq.passes.target import Target, load_target

LEARNED_BITS = 4
"""Rounding is learned for weights of at most so many bits; finer steps gain nothing."""

LEARNING_SAMPLES = 32


@dataclass(frozen=True)
class Effort:
    """The methods used beyond calibration to keep the accuracy; `number` is the short spelling."""

    name: str
    number: int
    corrects_bias: bool = False
    equalizes: bool = False
    learns_rounding: bool = False

    @classmethod
    def of(cls, spelling: Any) -> Effort:
        """The effort of a name, a number, or a number in a text."""
        if isinstance(spelling, Effort):
            return spelling
        for effort in EFFORTS:
            if spelling in (effort.name, str(effort.number)) or (is_whole(spelling) and spelling == effort.number):
                return effort
        raise NpuqError(f"effort {spelling!r}; one of {KNOWN_EFFORTS} wanted")


EFFORTS = (
    Effort("minimal", 0),
    Effort("standard", 1, corrects_bias=True),
    Effort("high", 2, corrects_bias=True, equalizes=True, learns_rounding=True),
)
KNOWN_EFFORTS = ", ".join(f"{effort.name} ({effort.number})" for effort in EFFORTS)


def is_whole(value: object) -> bool:
    return isinstance(value, Integral) and not isinstance(value, bool)


def is_number(value: object) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def each_of(value: object) -> Iterable[object]:
    """The elements of a tuple, the names and values of a mapping, else the value alone."""
    if isinstance(value, Mapping):
        return (*value, *value.values())
    return value if isinstance(value, tuple) else (value,)


Kind = tuple[Callable[[Any], bool], str]
"""A test of an option's value, and the words for what passes it."""
WHOLE: Kind = (is_whole, "a whole number")
NUMBER: Kind = (is_number, "a number")
NUMBERS: Kind = (
    lambda value: all(map(is_number, each_of(value))) and np.asarray(value).dtype.kind in "iuf",
    "numbers",
)
KINDS: Mapping[str, Kind] = {
    "method": (lambda value: isinstance(value, str), f"one of {', '.join(METHODS)}"),
    **dict.fromkeys(("bits", "weight_bits", "lut_len"), WHOLE),
    **dict.fromkeys(("percentile", "layer_threshold"), NUMBER),
    **dict.fromkeys(("mean", "std"), NUMBERS),
    "unify_input_scale": (lambda value: isinstance(value, bool), "true or false"),
    "precision": (
        lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value),
        "Precision by the names of nodes",
    ),
    "input_dtype": (
        lambda value: all(isinstance(one, str) for one in each_of(value)),
        "a type's name, or one for each input",
    ),
    "scales": (lambda value: isinstance(value, str | Mapping), "a file, or entries by the names of values"),
}


def require_kind(kind: Kind, option: str, value: object) -> None:
    """Raise `NpuqError` unless an option's value is of its kind."""
    fits, wanted = kind
    if not fits(value):
        raise NpuqError(f"{option}: {value!r}, {wanted} wanted")


class RecipeOptions(TypedDict, total=False):
    """The fields of a `Recipe`, as options of functions that make one."""

    method: str | None
    bits: int | None
    weight_bits: int | None
    precision: Mapping[str, Precision] | None
    lut_len: int | None
    percentile: float
    unify_input_scale: bool
    layer_threshold: float | None
    input_dtype: InputDtypes | None
    effort: int | str | Effort
    scales: str | Path | Mapping[str, Any] | None
    mean: Sequence[float] | float | None
    std: Sequence[float] | float | None


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """How to quantize a network.

    `method` is the calibration method: one of min_max, percentile, mse, kl, kl_v2 (docs/calibration.md); by default
    kl_v2 for 8 bits (mse with effort high) and min_max times 1.5 for 16. Graph outputs always take min_max, so that no
    logit saturates.
    `bits` is the width of activations, one of the target's, by default its first; `weight_bits` that of weights.
    `precision` overrides both and the method for single nodes, by their first result's name in the canonical graph.
    `lut_len` is the n of 16-bit tables of 2^n + 1 entries, 8 to 12, by default the least that is near enough.
    `percentile` is the share of elements that the method of that name keeps.
    With `unify_input_scale` all inputs of a Concat share its scale; without, an input that another node reads too
    keeps a finer one if that gains a bit.
    `layer_threshold` bounds the magnitude of the inputs and results of layer normalizations.
    `input_dtype`, int8, uint8, int16 or float32, is the type of the program's inputs: one for all, one for each in
    order, or by name; by default that of their readers' integers.
    `effort` is an `Effort`, its name or its number: minimal (0) calibrates, standard (1) corrects biases as well, high
    (2) equalizes channels and learns the rounding of 4-bit weights too (docs/effort.md).
    `scales`, a file that `save_scales` wrote or its entries by value name, replaces the calibration of these values.
    `mean` and `std` insert (x - mean) / std behind the first input.
    """

    method: str | None = None
    bits: int | None = None
    weight_bits: int | None = None
    precision: Mapping[str, Precision] | None = None
    lut_len: int | None = None
    percentile: float = 0.99999
    unify_input_scale: bool = False
    layer_threshold: float | None = None
    input_dtype: InputDtypes | None = None
    effort: int | str | Effort = EFFORTS[1]
    scales: str | Path | Mapping[str, Any] | None = None
    mean: Sequence[float] | float | None = None
    std: Sequence[float] | float | None = None

    @classmethod
    def load(cls, path: str | Path) -> Recipe:
        """Read a .toml or .json file with some of the fields; raises `NpuqError` for unknown ones."""
        path = Path(path)
        try:
            text = path.read_text(encoding="utf-8")
            content = tomllib.loads(text) if path.suffix == ".toml" else json.loads(text)
        except (OSError, ValueError, RecursionError) as error:
            raise NpuqError(f"{path}: cannot be read as a recipe: {one_line(error)}") from None
        known = [one.name for one in fields(cls)]
        if not isinstance(content, dict) or not content.keys() <= set(known):
            others = ", ".join(sorted(content.keys() - set(known))) if isinstance(content, dict) else "no table"
            raise NpuqError(f"{path}: {others}: a recipe has {', '.join(known)}")
        try:
            return cls(**content)
        except NpuqError as error:
            raise NpuqError(f"{path}: {one_line(error)}") from None

    def save(self, path: str | Path) -> None:
        """Write the fields that differ from their defaults as .toml or .json; `load` gives an equal recipe.

        Raises `NpuqError` for scales that such a file cannot hold, and for an effort of one's own.
        """
        import tomli_w

        path, content = Path(path), self.content()
        if self.effort not in EFFORTS:
            raise NpuqError(f"{path}: effort {self.effort!r} cannot be written; {KNOWN_EFFORTS} can")
        try:
            text = tomli_w.dumps(content) if path.suffix == ".toml" else json.dumps(content, indent=1) + "\n"
            encoded = text.encode()
        except (TypeError, ValueError):
            kinds = "numbers, strings, lists and tables by name"
            raise NpuqError(f"{path}: scales hold what cannot be written; give {kinds}, or a scale file") from None
        write_file(path, encoded)

    def content(self) -> dict[str, Any]:
        """The fields that differ from their defaults, as numbers, strings, sequences and tables."""
        found = {one.name: getattr(self, one.name) for one in fields(self)}
        return {name: _table(value) for name, value in found.items() if value != getattr(Recipe, name)}

    def __post_init__(self) -> None:
        """Give each option one form: equal recipes compare equal, and files can hold them."""
        given = {one.name: _plain(getattr(self, one.name)) for one in fields(self)}
        for option, value in given.items():
            object.__setattr__(self, option, tuple(value) if isinstance(value, list) else value)
        object.__setattr__(self, "effort", Effort.of(self.effort))
        for option, kind in KINDS.items():
            value = getattr(self, option)
            if value is not None or getattr(Recipe, option) is not None:
                require_kind(kind, option, value)
        if self.precision is not None:
            nodes = {name: _precision(name, one) for name, one in self.precision.items()}
            object.__setattr__(self, "precision", nodes)

    @property
    def chosen_effort(self) -> Effort:
        return Effort.of(self.effort)

    @property
    def every(self) -> Precision:
        """The precision of nodes that `precision` does not name."""
        return Precision(self.bits, self.method, self.weight_bits)

    @property
    def nodes(self) -> Mapping[str, Precision]:
        return self.precision or {}

    def learns(self, widths: Collection[int | None]) -> bool:
        """Whether the rounding of some weights, of these widths, is learned."""
        return self.chosen_effort.learns_rounding and any(bits is not None and bits <= LEARNED_BITS for bits in widths)

    def equalizes(self, target: Target) -> bool:
        """Whether channels are equalized, which wider activations do not need."""
        return self.chosen_effort.equalizes and (self.bits or target.default_bits) <= EQUALIZED_BITS

    def check(self, graph: Graph, target: Target) -> None:
        """Raise `NpuqError` for an option that does not fit the graph or the target, before any work."""
        Precisions(self.every).check(graph, target)
        if self.layer_threshold is not None and not self.layer_threshold > 0:
            raise NpuqError(f"layer_threshold {self.layer_threshold!r}; a number above 0 wanted")
        chosen_dtypes(graph, self.input_dtype)
        require_share(self.percentile)
        require_length(self.lut_len, target)

    def unused(self, precision: Precisions, held: Collection[Held]) -> tuple[str, ...]:
        """A note for each option without effect on nodes of this precision and on the `held` values."""
        methods = {self.method, *(one.method for one in precision.nodes.values())}
        notes = []
        if self.lut_len is not None and all(bits <= CALIBRATED_BITS for _, bits in held):
            notes.append(f"lut_len {self.lut_len} has no effect: no value is held at 16 bits")
        if self.percentile != Recipe.percentile and "percentile" not in methods:
            notes.append(f"percentile {self.percentile!r} has no effect: no value is calibrated by this method")
        return tuple(notes)

    def preparation(self) -> Pipeline:
        """The passes to the canonical form, behind (x - mean) / std if these are given."""
        given = {name: value for name, value in (("mean", self.mean), ("std", self.std)) if value is not None}
        numbers = {name: tuple(np.atleast_1d(value).tolist()) for name, value in given.items()}
        return chain(normalize_input(**numbers), canonicalize()) if numbers else canonicalize()

    def calibration(
        self,
        target: Any,
        *,
        nodes: Mapping[str, Precision] | None = None,
        every_width: bool = False,
        file: str | Path | None = None,
        equalizes: bool = True,
    ) -> Pipeline:
        """The passes that run the data, which is among the findings that they start with."""
        options = {**({"nodes": nodes} if nodes else {}), **asdict(self.every)}
        passes: list[Pass] = [set_precision(target=target, **options, unify_input_scale=self.unify_input_scale)]
        if equalizes:
            passes += [collect_channels(), equalize()]
        if self.scales is not None:
            passes.append(give_scales(file=self.scales))
        learns = self.learns([one.weight_bits for one in (self.every, *self.nodes.values())])
        collect = collect_statistics(
            file=file,
            means=self.scales is None or self.chosen_effort.corrects_bias,
            inputs=self.input_dtype is not None,
            every_width=every_width,
            count=LEARNING_SAMPLES if learns or every_width else FEW,
        )
        return chain(*passes, collect)

    def finish(self, *, learns: bool) -> Pipeline:
        """The passes from statistics to integers."""
        ranges = choose_ranges(percentile=self.percentile, layer_threshold=self.layer_threshold)
        passes: list[Pass] = [ranges, split_output_concats()]
        if self.chosen_effort.corrects_bias:
            passes.append(correct_bias())
        passes.append(insert_fake_quant())
        if learns:
            passes.append(learn_rounding(most_bits=LEARNED_BITS))
        if self.input_dtype is not None:
            dtypes = self.input_dtype
            passes.append(input_dtypes(dtypes=dtypes if isinstance(dtypes, str | Mapping) else tuple(dtypes)))
        return chain(*passes, lower_to_integer(lut_len=self.lut_len))

    def pipeline(self, target: Any = "npu") -> Pipeline:
        """The whole chain; `npuq opt` runs its text, provided that the recipe names files and no objects."""
        return chain(
            self.preparation(),
            self.calibration(target, nodes=self.nodes, equalizes=self.equalizes(load_target(target))),
            self.finish(learns=self.learns([self.weight_bits])),
        )


def recipe_of(recipe: Recipe | None, options: RecipeOptions) -> Recipe:
    """The recipe, or the default one, with other options."""
    if not isinstance(recipe, Recipe | None):
        raise NpuqError(f"recipe: {recipe!r}, a Recipe wanted; give options by name, or a file with Recipe.load")
    return replace(recipe or Recipe(), **options)


def _plain(value: Any) -> Any:
    """An option's value with Python's own numbers, strings, lists and dicts in it."""
    if hasattr(value, "tolist") and not isinstance(value, type):
        value = value.tolist()
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str):
        return [_plain(one) for one in value]
    if is_number(value):
        return int(value) if is_whole(value) else float(value)
    return value


def _precision(name: str, given: Any) -> Precision:
    """The precision of a node, or that of a table of its fields; raises `NpuqError` for anything else."""
    place, known = f"precision of {name}", [one.name for one in fields(Precision)]
    table = _plain(asdict(given) if isinstance(given, Precision) else given)
    if not isinstance(table, dict) or not table.keys() <= set(known):
        raise NpuqError(f"{place}: {given!r}, a Precision wanted; it has {', '.join(known)}")
    for option, value in table.items():
        if value is not None:
            require_kind(KINDS[option], f"{place}: {option}", value)
    return Precision(**table)


def _table(value: Any) -> Any:
    """An option's value, with names for efforts and tables for precisions."""
    if isinstance(value, Effort):
        return value.name
    if isinstance(value, Precision):
        return {name: one for name, one in asdict(value).items() if one is not None}
    return {name: _table(one) for name, one in value.items()} if isinstance(value, Mapping) else value
