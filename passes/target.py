"""What passes need to know of an NPU: a target is data, a TOML file in `backends/targets/` or the user's own."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal, get_args, get_type_hints

from npuq.ir import DType, NpuqError, require
from npuq.ir.arithmetic import Interval

FOLDER = Path(__file__).parents[1] / "backends" / "targets"
Granularity = Literal["channel", "tensor"]
Rounding = Literal[
    "single_half_up", "tflite_double", "tosa_double", "mul16", "pot_half_up", "pot_half_away", "floor", "half_away"
]
ConstantRounding = Literal["half_even", "half_away"]
Kernels = Literal["npuq", "tflite"]

ROUNDINGS: Mapping[Kernels, Mapping[str, Rounding]] = {
    "npuq": {},
    "tflite": {"npu.matmul": "half_away", "npu.average_pool2d": "half_away"},
}
"""The integer ops that round in another way than a target's `rounding` says: rules T2 and T3 of docs/arithmetic.md."""

FRACTION_BITS = 31
"""The IR's multipliers lie in [2^30, 2^31): they stand for fractions of 2^31."""

LAYOUT_OPS = ("transpose", "reshape", "npu.requantize")
"""What any lowering may need between the ops that the user sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Width:
    """What one width of activations comes with; its `bits` name it.

    `mac_turns` are a multiplier's turns for one product, by weight type; that of two activations takes the first.
    """

    activation_dtype: DType
    symmetric: bool
    """Activations have the zero point 0."""
    activation_range: Interval
    weight_dtypes: tuple[DType, ...]
    """The first is the default; their integers are symmetric: `weight_range`."""
    accumulator_bits: int
    bias_bits: int
    mac_turns: tuple[int, ...]

    def __post_init__(self) -> None:
        (low, high), dtype = self.activation_range, self.activation_dtype
        require(dtype.is_integer, f"activation_dtype: {dtype} is no integer type")
        least, greatest = dtype.range
        require(least <= low < high <= greatest, f"activation_range [{low}, {high}] is not within {dtype}'s")
        require(len(self.weight_dtypes) > 0, "weight_dtypes: at least one wanted")
        for weight in self.weight_dtypes:
            require(weight.is_signed and weight.bits <= 16, f"weight_dtypes: {weight}, i4, i8 or i16 wanted")
        require(self.accumulator_bits in (32, 48, 64), f"accumulator_bits {self.accumulator_bits}; 32, 48 or 64 wanted")
        require(self.bias_bits in (32, 64), f"bias_bits {self.bias_bits}; 32 or 64 wanted")
        turns = f"mac_turns {list(self.mac_turns)}, a positive one for each of {len(self.weight_dtypes)} weight types"
        require(len(self.mac_turns) == len(self.weight_dtypes) and min(self.mac_turns) > 0, f"{turns} wanted")

    @property
    def bits(self) -> int:
        """The width of an activation."""
        return self.activation_dtype.bits

    @property
    def accumulator_range(self) -> Interval:
        return (-(1 << (self.accumulator_bits - 1)), (1 << (self.accumulator_bits - 1)) - 1)

    @property
    def bias_dtype(self) -> DType:
        return DType.I32 if self.bias_bits == 32 else DType.I64

    def weight_dtype(self, bits: int | None = None) -> DType:
        """The weights of so many bits, the default ones where None; raises `NpuqError` where there are none."""
        for dtype in self.weight_dtypes:
            if bits in (None, dtype.bits):
                return dtype
        known = ", ".join(str(dtype.bits) for dtype in self.weight_dtypes)
        raise NpuqError(f"{self.bits}-bit activations have no weights of {bits} bits; they have {known}")


def weight_range(dtype: DType) -> Interval:
    """The integers of weights: symmetric, so that their products with activations negate."""
    return (-dtype.range[1], dtype.range[1])


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The widths, limits and speeds of one NPU; the first of `widths` is the default.

    `shift_field` bounds the machine's shift, `npuq.ir.arithmetic.right_shift` of the IR's, which has the 31 fraction
    bits of a normalized multiplier besides and is bounded by `shift_range`.
    """

    name: str
    description: str

    widths: tuple[Width, ...]
    weight_granularity: Granularity

    multiplier_bits: int
    shift_field: Interval
    rescale_pre_shift: int
    """`npu.add` and `npu.requantize` may shift their operands left by up to this first."""
    rounding: Rounding
    kernels: Kernels
    """Whose rules sums, means, matrix products and softmax follow: B1, P1, B3 and S1, or TFLite's T1 to T5."""
    constant_rounding: ConstantRounding

    table_sizes: tuple[int, ...]
    integer_ops: tuple[str, ...]
    max_rank: int
    max_window: int
    max_stride: int
    max_dilation: int

    clock_mhz: float
    macs_per_cycle: int
    bandwidth_gb_s: float
    sram_bytes: int

    def __post_init__(self) -> None:
        bits = [width.bits for width in self.widths]
        require(0 < len(bits) == len(set(bits)), f"widths of {bits} bits; give at least one, each only once")
        require(
            self.multiplier_bits == 31,
            f"multiplier_bits {self.multiplier_bits}; 31 wanted; fewer bits are a rounding",
        )
        low, high = self.shift_range
        require(2 <= low <= high <= 62, f"shift_field {self.shift_field} means shifts [{low}, {high}], outside [2, 62]")
        require(0 <= self.rescale_pre_shift <= low - 2, f"rescale_pre_shift {self.rescale_pre_shift}, 0 to {low - 2}")
        for name in LAYOUT_OPS:
            require(name in self.integer_ops, f"integer_ops lacks {name}, which changes layouts and scales")
        limits = ("max_rank", "max_window", "max_stride", "max_dilation", "macs_per_cycle", "sram_bytes")
        for name in (*limits, "clock_mhz", "bandwidth_gb_s"):
            require(0 < getattr(self, name) < float("inf"), f"{name} must be positive, not {getattr(self, name)}")

    @property
    def shift_range(self) -> Interval:
        """The whole right shifts s of `y = (acc * M + half) >> s` that a requantization may have."""
        low, high = self.shift_field
        return (low + FRACTION_BITS, high + FRACTION_BITS)

    @property
    def rescale_shift_range(self) -> Interval:
        """The net shifts of `npu.add` and `npu.requantize`, whose operands may be shifted left first."""
        low, high = self.shift_range
        return (low - self.rescale_pre_shift, high)

    def rounding_of(self, op: str) -> Rounding:
        """The profile by which an integer op rounds."""
        return ROUNDINGS[self.kernels].get(op, self.rounding)

    @property
    def default_bits(self) -> int:
        """The width of an activation of which nothing else is said."""
        return self.widths[0].bits

    def width(self, bits: int) -> Width:
        """The width of so many bits; raises `NpuqError` that lists those that there are."""
        for width in self.widths:
            if width.bits == bits:
                return width
        known = " and ".join(str(width.bits) for width in self.widths)
        raise NpuqError(f"{self.name} has no activations of {bits!r} bits; it has {known}")

    def width_of(self, dtype: DType) -> Width | None:
        """The width whose activations are of an element type, if there is one."""
        return next((width for width in self.widths if width.activation_dtype is dtype), None)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Target:
        """Build a target from untrusted values; lists stand for tuples, names for element types, tables for widths.

        Raises `NpuqError` that names the field: unknown, missing, of the wrong type, or out of its range.
        """
        return cls(**_fields(cls, "target", values))

    def values(self) -> dict[str, Any]:
        """What `of` builds an equal target from: numbers, names, element types and tuples of these."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        widths = (tuple((field.name, getattr(width, field.name)) for field in fields(width)) for width in self.widths)
        return plain | {"widths": tuple(widths)}


def targets() -> list[str]:
    """The names of the targets that come with npuq, the default first."""
    names = sorted(path.stem for path in FOLDER.glob("*.toml"))
    return sorted(names, key=lambda name: name != "npu")


def load_target(name_or_path: str | Path | Target) -> Target:
    """Read a target that comes with npuq, by name, or any TOML file, by path; a target itself is returned.

    Raises `NpuqError` for an unknown name, a file that cannot be read, damaged TOML, and the first wrong field.
    """
    if isinstance(name_or_path, Target):
        return name_or_path
    if not isinstance(name_or_path, str | Path):
        raise NpuqError(f"target: {name_or_path!r}, a name or a .toml file wanted; known: {', '.join(targets())}")
    path = FOLDER / f"{name_or_path}.toml"
    if name_or_path not in targets():
        path = Path(name_or_path)
        if path.suffix != ".toml":
            raise NpuqError(f"there is no target {str(name_or_path)!r}; known: {', '.join(targets())}, or a .toml file")
    try:
        return Target.of(tomllib.loads(path.read_bytes().decode("utf-8")))
    except OSError as error:
        raise NpuqError(f"{path}: {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise NpuqError(f"{path}: not TOML: {error}") from None
    except NpuqError as error:
        raise NpuqError(f"{path}: {error}") from None


def _fields(cls: type, what: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a dataclass from untrusted values, all of them and no other."""
    hints = get_type_hints(cls)
    names = [field.name for field in fields(cls)]
    for key in values:
        if key not in names:
            raise NpuqError(f"a {what} has no {key!r}; it has {', '.join(names)}")
    missing = [name for name in names if name not in values]
    if missing:
        raise NpuqError(f"the {what} lacks {', '.join(missing)}")
    return {name: _typed(name, values[name], hints[name]) for name in names}


def _width(value: Any) -> Width:
    """A width from a table, or from pairs of name and value."""
    try:
        values = dict(value)
    except (TypeError, ValueError):
        raise NpuqError(f"widths: {value!r} is no table") from None
    return Width(**_fields(Width, "width", values))


def _typed(name: str, value: Any, hint: Any) -> Any:
    """The value as the field wants it, or an error."""
    if hint is Width:
        return _width(value)
    if hint is DType:
        if value in list(DType):
            return DType(value)
    elif hint is float:
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return float(value)
    elif get_args(hint) and all(isinstance(choice, str) for choice in get_args(hint)):
        if isinstance(value, str) and value in get_args(hint):
            return value
        raise NpuqError(f"{name}: {value!r} is none of {', '.join(get_args(hint))}")
    elif get_args(hint):
        parts = get_args(hint)
        if isinstance(value, (list, tuple)) and (parts[-1] is Ellipsis or len(value) == len(parts)):
            return tuple(_typed(name, item, parts[0]) for item in value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    raise NpuqError(f"{name}: {value!r} is not {getattr(hint, '__name__', hint)}")
