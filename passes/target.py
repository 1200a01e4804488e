"""What passes need to know of an NPU: a target is data, read from TOML by `npuq.backends.target`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args, get_type_hints

from npuq.ir import DType, NpuqError, require

Bounds = tuple[int, int]
Granularity = Literal["channel", "tensor"]
Rounding = Literal["single_half_up", "tflite_double", "tosa_double", "mul16", "pot_half_up", "pot_half_away", "floor"]
ConstantRounding = Literal["half_even", "half_away"]

FRACTION_BITS = 31
"""The IR's multipliers lie in [2^30, 2^31): they stand for fractions of 2^31."""

LAYOUT_OPS = ("transpose", "reshape", "npu.requantize")
"""What any lowering may need between the ops that the user sees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """The widths, ranges, limits and speeds of one NPU.

    `shift_field` bounds the machine's shift register q, `npuq.ir.arithmetic.right_shift` of the IR's whole shift: what
    is left of it after the 31 fraction bits of a normalised multiplier. The IR's own bounds are `shift_range`.
    """

    name: str
    description: str

    activation_dtype: DType
    symmetric: bool
    """Activations have the zero point 0."""
    activation_range: Bounds

    weight_dtype: DType
    weight_range: Bounds
    weight_granularity: Granularity

    accumulator_bits: int
    bias_bits: int
    multiplier_bits: int
    shift_field: Bounds
    rescale_pre_shift: int
    """`npu.add` and `npu.requantize` may shift their operands left by up to this first."""
    rounding: Rounding
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
        for what, (low, high), dtype in (
            ("activation_range", self.activation_range, self.activation_dtype),
            ("weight_range", self.weight_range, self.weight_dtype),
        ):
            require(dtype.is_integer, f"{what}: {dtype} is no integer type")
            least, greatest = dtype.range
            require(least <= low < high <= greatest, f"{what} [{low}, {high}] is not within {dtype}'s")
        require(-self.weight_range[0] == self.weight_range[1], f"weight_range {self.weight_range} is not symmetric")
        require(self.accumulator_bits in (32, 48, 64), f"accumulator_bits {self.accumulator_bits}; 32, 48 or 64 wanted")
        require(self.bias_bits in (32, 64), f"bias_bits {self.bias_bits}; 32 or 64 wanted")
        require(self.multiplier_bits == 31, f"multiplier_bits {self.multiplier_bits}; 31 wanted, fewer are a rounding")
        low, high = self.shift_range
        require(2 <= low <= high <= 62, f"shift_field {self.shift_field} means shifts [{low}, {high}], outside [2, 62]")
        require(0 <= self.rescale_pre_shift <= low - 2, f"rescale_pre_shift {self.rescale_pre_shift}, 0 to {low - 2}")
        for name in LAYOUT_OPS:
            require(name in self.integer_ops, f"integer_ops lacks {name}, which layouts and scales are changed with")
        for name in ("max_rank", "max_window", "max_stride", "max_dilation", "macs_per_cycle", "sram_bytes"):
            require(getattr(self, name) > 0, f"{name} must be positive, not {getattr(self, name)}")
        for name in ("clock_mhz", "bandwidth_gb_s"):
            require(0 < getattr(self, name) < float("inf"), f"{name} must be positive, not {getattr(self, name)}")

    @property
    def shift_range(self) -> Bounds:
        """The whole right shifts s of `y = (acc * M + half) >> s` that a requantization may have."""
        low, high = self.shift_field
        return (low + FRACTION_BITS, high + FRACTION_BITS)

    @property
    def rescale_shift_range(self) -> Bounds:
        """The net shifts of `npu.add` and `npu.requantize`, whose operands may be shifted left first."""
        low, high = self.shift_range
        return (low - self.rescale_pre_shift, high)

    @property
    def accumulator_range(self) -> Bounds:
        return (-(1 << (self.accumulator_bits - 1)), (1 << (self.accumulator_bits - 1)) - 1)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Target:
        """Build a target from untrusted values; lists stand for tuples, names for element types.

        Raises `NpuqError` that names the field: unknown, missing, of the wrong type, or out of its range.
        """
        hints = get_type_hints(cls)
        names = [field.name for field in fields(cls)]
        for key in values:
            if key not in names:
                raise NpuqError(f"a target has no {key!r}; it has {', '.join(names)}")
        missing = [name for name in names if name not in values]
        if missing:
            raise NpuqError(f"the target lacks {', '.join(missing)}")
        return cls(**{name: _typed(name, values[name], hints[name]) for name in names})


def _typed(name: str, value: Any, hint: Any) -> Any:
    """The value as the field wants it, or an error."""
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
