"""Pipelines as text: what prints parses back, and what is wrong is marked."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from npuq.ir import ParseError
from npuq.passes import parse
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.canonical.normalize_input import normalize_input
from npuq.passes.pipeline import CATALOGUE, chain
from npuq.passes.quantize.insert_fake_quant import insert_fake_quant
from npuq.passes.spec import load_all, options, text_of
from npuq.passes.target import load_target
from npuq.quantization.recipe import Recipe


def test_a_pipeline_parses_back_to_an_equal_one(tmp_path: Path) -> None:
    texts = (
        "normalize-input{mean=(0.5, 1.0), std=(2.0,)} | drop-identity",
        'input-dtypes{dtypes=("uint8",)}',
        r'read-scales{file="a (1), \"b\".json"}',
        "normalize-input{mean=(1e999, -1e999)}",
        "fold-constants",
    )
    for text in texts:
        assert str(parse(text)) == text
    scales = tmp_path / "scales.json"
    scales.write_text('{"format": "npuq-scales", "version": 1, "values": {}}')
    pipeline = chain(canonicalize(), insert_fake_quant(target="npu", ranges=str(scales)))  # type: ignore[arg-type]
    assert parse(str(pipeline)) == pipeline


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=4).map(tuple))
def test_numbers_are_exact(numbers: tuple[float, ...]) -> None:
    pipeline = chain(normalize_input(mean=numbers))
    assert parse(str(pipeline)) == pipeline


@pytest.mark.parametrize("effort", ["minimal", "standard", "high"])
def test_the_whole_chain_of_a_recipe_is_text(effort: str) -> None:
    recipe = Recipe(effort=effort, weight_bits=4, mean=(1.0, 2.0), input_dtype="uint8", scales="s.json", lut_len=9)
    pipeline = recipe.pipeline("npu-asym")
    assert parse(str(pipeline)) == pipeline


def test_numbers_of_numpy_are_text() -> None:
    numbers: list[Any] = [np.float64(0.5), np.float32(2), np.int64(3)]
    pipeline = chain(normalize_input(mean=tuple(numbers)))
    assert text_of(pipeline) == str(pipeline) == "normalize-input{mean=(0.5, 2.0, 3)}"


def test_the_chain_equalizes_as_quantize_does() -> None:
    target = load_target("npu")
    wide = replace(target, widths=target.widths[::-1])
    recipe = Recipe(effort="high")
    assert [recipe.equalizes(one) for one in (target, wide)] == [True, False]
    assert ["equalize" in str(recipe.pipeline(one)) for one in (target, wide)] == [True, False]


def test_white_space_and_spelling_are_free() -> None:
    assert str(parse(" normalize-input { mean = ( 1 , 2.0, ) } \n| drop-identity ")) == (
        "normalize-input{mean=(1, 2.0)} | drop-identity"
    )
    assert str(parse("set-precision{target='npu', unify_input_scale=True, bits=16}")) == (
        'set-precision{target="npu", unify_input_scale=True, bits=16}'
    )


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "^: the name of a pass wanted"),
        ("fold-constants |", "fold-constants |^: the name of a pass wanted"),
        ("fold-constants drop-identity", "fold-constants ^drop-identity: '|' wanted"),
        (
            "fold-constants | fuse-batchnorm",
            "fold-constants | ^fuse-batchnorm: there is no pass 'fuse-batchnorm'; "
            "similar names: fuse-batch-norm, fuse-bias; npuq passes lists all",
        ),
        ("drop-identity{fast=True}", "drop-identity{^fast=True}: drop-identity has no option fast; it has none"),
        ("lower-to-integer{lut_len=9", "lower-to-integer{lut_len=9^: ',' wanted"),
        ("lower-to-integer{lut_len=9.5}", "lower-to-integer{lut_len=^9.5}: lut_len of lower-to-integer: int wanted"),
        ("lower-to-integer{lut_len=9, lut_len=9}", "lower-to-integer{lut_len=9, ^lut_len=9}: lut_len is given twice"),
        (
            "lower-to-integer{target=npu}",
            "lower-to-integer{target=^npu}: a number, a string in quotes, True, False or None wanted",
        ),
        (
            'set-precision{method="oops"}',
            "set-precision{method=^\"oops\"}: there is no calibration method 'oops'; "
            "there are min_max, percentile, mse, kl, kl_v2",
        ),
        (
            'input-dtypes{dtypes=("int8", "int99")}',
            'input-dtypes{dtypes=^("int8", "int99")}: \'int99\'; one of int8, uint8, int16, float32, None wanted',
        ),
        (
            "lower-to-integer{lut_len=-5}",
            "lower-to-integer{lut_len=^-5}: lut_len -5: npuq has tables of 2^n + 1 entries for n of 8, 9, 10, 11, 12",
        ),
        (
            "choose-ranges{percentile=7}",
            "choose-ranges{percentile=^7}: calibration: percentile 7, a share above 0.5 and up to 1 wanted",
        ),
        ("collect-statistics{count=-1}", "collect-statistics{count=^-1}: count -1: 0 samples or more wanted"),
        (
            'insert-fake-quant{ranges=""}',
            "insert-fake-quant{ranges=^\"\"}: .: cannot be read: [Errno 21] Is a directory: '.'",
        ),
        (
            f"lower-to-integer{{lut_len={'-' * 3000}1}}",
            f"lower-to-integer{{lut_len=^{'-' * 40}...: a number, a string in quotes, True, False or None wanted",
        ),
        (
            'lower-to-integer{target="tpu"}',
            "lower-to-integer{target=^\"tpu\"}: there is no target 'tpu'; known: npu, npu-asym, npu-tflite, "
            "or a .toml file",
        ),
    ],
)
def test_a_caret_stands_before_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(ParseError) as caught:
        parse(text)
    assert str(caught.value) == message


def test_long_texts_are_cut_around_the_caret() -> None:
    with pytest.raises(ParseError) as caught:
        parse(f"{canonicalize()} | oops | {canonicalize()}")
    assert str(caught.value).startswith("...ides | drop-identity | drop-dead-code | ^oops | drop-zero-products")


def test_every_pass_is_in_the_catalogue_with_the_options_that_text_can_give() -> None:
    load_all()
    assert {"collect-statistics", "equalize", "adopt-scales", "empirical-bias"} <= CATALOGUE.keys()
    assert options(CATALOGUE["lower-to-integer"]) == {
        "target": ("target name or .toml file", ""),
        "lut_len": ("int", "None"),
    }
    assert "data" not in options(CATALOGUE["collect-statistics"])
