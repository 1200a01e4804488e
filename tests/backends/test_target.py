"""Targets as data: those that come with npuq, and what is said about broken ones."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from npuq.backends.targets.page import targets_page
from npuq.ir import DType, NpuqError
from npuq.ir.arithmetic import multiplier_and_shift, right_shift
from npuq.passes.target import FOLDER, Target, load_target, targets

NPU = (FOLDER / "npu.toml").read_text()


def test_the_default_comes_first() -> None:
    assert targets() == ["npu", "npu-asym", "npu-tflite"]


def test_the_two_targets_differ_in_the_symmetry_of_8_bits_alone() -> None:
    npu, asym = load_target("npu"), load_target("npu-asym")
    assert [width.symmetric for width in npu.widths] == [True, True]
    assert [width.symmetric for width in asym.widths] == [False, True]
    assert replace(asym.width(8), symmetric=True) == npu.width(8)
    assert replace(asym, name=npu.name, description=npu.description, widths=npu.widths) == npu


def test_widths_are_known_by_their_bits() -> None:
    npu = load_target("npu")
    assert [width.bits for width in npu.widths] == [8, 16]
    assert npu.width_of(DType.I16) is npu.width(16)
    assert npu.width_of(DType.U8) is None
    assert npu.width(16).weight_dtype() is DType.I16
    assert npu.width(16).weight_dtype(8) is DType.I8
    with pytest.raises(NpuqError, match=r"^npu has no activations of 4 bits; it has 8 and 16$"):
        npu.width(4)
    with pytest.raises(NpuqError, match=r"^8-bit activations have no weights of 16 bits; they have 8, 4$"):
        npu.width(8).weight_dtype(16)


def test_a_target_is_its_values() -> None:
    npu = load_target("npu")
    assert Target.of(npu.values()) == npu


@pytest.mark.parametrize("real", [2.0**-32, 1e-6, 0.3, 1 - 2.0**-31])
def test_every_factor_below_one_fits_the_shift_register(real: float) -> None:
    _, shift = multiplier_and_shift(real)
    npu = load_target("npu")
    assert npu.shift_range[0] <= shift <= npu.shift_range[1]
    assert npu.shift_field[0] <= right_shift(shift) <= npu.shift_field[1]


def test_an_unknown_target_lists_the_known_ones() -> None:
    with pytest.raises(
        NpuqError, match=r"^there is no target 'tpu'; known: npu, npu-asym, npu-tflite, or a \.toml file$"
    ):
        load_target("tpu")


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ('name = "npu"', "name = ", "not TOML: Invalid value (at line 3, column 8)"),
        ("symmetric = true", "symmetric = 1", "symmetric: 1 is not bool"),
        ("symmetric = true\n", "", "the width lacks symmetric"),
        ('description = "', 'about = "', "a target has no 'about'; it has name, description"),
        ("bias_bits = 32", "bias_bits = 33", "bias_bits 33; 32 or 64 wanted"),
        ("bias_bits = 32", "bais_bits = 32", "a width has no 'bais_bits'; it has activation_dtype, symmetric"),
        ('"channel"', '"row"', "weight_granularity: 'row' is none of channel, tensor"),
        ('"i8"', '"i9"', "activation_dtype: 'i9' is not DType"),
        ('["i8", "i4"]', '["u8"]', "weight_dtypes: u8, i4, i8 or i16 wanted"),
        ('["i8", "i4"]', "[]", "weight_dtypes: at least one wanted"),
        ("mac_turns = [1, 1]", "mac_turns = [1]", "mac_turns [1], a positive one for each of 2 weight types wanted"),
        (
            'activation_dtype = "i16"\nsymmetric = true\nactivation_range = [-32768, 32767]',
            'activation_dtype = "i8"\nsymmetric = true\nactivation_range = [-128, 127]',
            "widths of [8, 8] bits; give at least one, each only once",
        ),
        ("[[widths]]", "[[width]]", "a target has no 'width'; it has name, description, widths"),
        ("[-128, 127]", "[-129, 127]", "activation_range [-129, 127] is not within i8's"),
        (
            "shift_field = [0, 31]",
            "shift_field = [0, 40]",
            "shift_field (0, 40) means shifts [31, 71], outside [2, 62]",
        ),
        ("clock_mhz = 800", "clock_mhz = -1", "clock_mhz must be positive, not -1.0"),
        ("accumulator_bits = 32", "accumulator_bits = 31", "accumulator_bits 31; 32, 48 or 64 wanted"),
        ("rescale_pre_shift = 20", "rescale_pre_shift = 30", "rescale_pre_shift 30, 0 to 29"),
        ("max_window = 256", "max_window = 0", "max_window must be positive, not 0"),
        (
            "multiplier_bits = 31",
            "multiplier_bits = 16",
            "multiplier_bits 16; 31 wanted; fewer bits are a rounding",
        ),
    ],
)
def test_a_broken_field_is_named_in_one_line(old: str, new: str, reason: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    assert old in NPU
    path.write_text(NPU.replace(old, new, 1))
    with pytest.raises(NpuqError, match="^" + re.escape(f"{path}: {reason}")) as caught:
        load_target(path)
    assert "\n" not in str(caught.value)


def test_the_users_own_target_is_a_path(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(NPU.replace('name = "npu"', 'name = "mine"'))
    assert load_target(path).name == "mine"


def test_a_missing_target_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(NpuqError, match=r"none\.toml: No such file or directory"):
        load_target(tmp_path / "none.toml")


def test_bytes_that_are_no_text_are_no_target(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(NpuqError, match="not TOML: 'utf-8' codec"):
        load_target(path)


def test_the_page_about_targets_is_up_to_date() -> None:
    assert (Path(__file__).parents[2] / "docs" / "targets.md").read_text() == targets_page()
