"""Templates in the vendors' JSON: both forms, what is tolerated, and what each rule refuses."""

from __future__ import annotations

import json
import re

import pytest

from npuq.ir import Graph, NpuqError
from npuq.mixing.templates import read_template, write_template
from npuq.passes.precision import Precision
from npuq.passes.target import load_target

from ...passes.rewriting import graph

CONV = "{stride=(1, 1), padding=((0, 0), (0, 0)), dilation=(1, 1)}"
NET = f"""
graph @net(%x: f32[1,2,8,8]) {{
  const %w: f32[2,2,1,1] = [1.0, 2.0, 4.0, 5.0]
  %c = conv %x, %w {CONV} : f32[1,2,8,8]  loc("net.onnx:first")
  %r = relu %c : f32[1,2,8,8]
  %d = conv %r, %w {CONV} : f32[1,2,8,8]  loc("net.onnx:second")
  %b = abs %d : f32[1,2,8,8]  loc("net.onnx:size")
  %p = max_pool %b {{window=(2, 2), stride=(2, 2), padding=((0, 0), (0, 0)), dilation=(1, 1)}} : f32[1,2,4,4]
  return %p
}}
"""
TARGET = load_target("npu")


@pytest.fixture(scope="module")
def net() -> Graph:
    return graph(NET)


def read(net: Graph, template: object, bits: int = 8) -> dict[str, Precision]:
    text = template if isinstance(template, str) else json.dumps(template)
    return read_template(text, net, target=TARGET, bits=bits, place="mix.json")


def entry(bits: object = 16, mode: str = "kl", **more: object) -> dict[str, object]:
    return {"bitwidth": bits, "mode": mode, **more}


def test_a_template_lists_the_quantized_ops_alone(net: Graph) -> None:
    """A clamp is fused, a pooling moves elements: neither has an entry."""
    text = write_template(net, {"c": Precision(16, "mse", 8)}, target=TARGET, method="kl_v2")
    plain = {"bitwidth": 8, "mode": "kl_v2"}
    assert json.loads(text) == {"c": {"bitwidth": 16, "mode": "mse", "weight_bitwidth": 8}, "d": plain, "b": plain}


def test_what_is_written_is_read_again(net: Graph) -> None:
    chosen = {"c": Precision(16, "mse", 8), "d": Precision(8, "kl"), "b": Precision(8, "min_max")}
    text = write_template(net, chosen, target=TARGET, method="kl_v2")
    assert read(net, text) == chosen | {"r": chosen["c"]}


def test_comments_and_quoted_numbers_are_fine(net: Graph) -> None:
    text = """{  // widths
      "first": {"bitwidth": "16", "mode": "kl"}, // by its name in the file
      "r": {"mode": "kl", "bitwidth": 16}
    }"""
    assert read(net, text) == {"c": Precision(16, "kl"), "r": Precision(16, "kl")}


def test_groups_cover_what_they_name_and_names_win_over_types(net: Graph) -> None:
    by_type = entry(8, "mse", op_types=["Conv", "Abs"])
    by_name = entry(16, "min_max", op_names=["c"])
    wanted = {"d": Precision(8, "mse"), "b": Precision(8, "mse")}
    wanted |= dict.fromkeys("cr", Precision(16, "min_max"))
    assert read(net, [by_type, by_name]) == read(net, {"these": by_name, "others": by_type}) == wanted
    assert read(net, entry(16, "kl", op_types="conv"), bits=16) == dict.fromkeys("crd", Precision(16, "kl"))


def test_entries_of_one_fused_op_agree(net: Graph) -> None:
    """A clamp that is fused goes by its own name, too."""
    assert read(net, {"c": entry(8), "r": entry(8)}) == read(net, {"c": entry(8)})
    said = "16 bits, kl, but another entry gives c 8 bits, kl; one entry for it wanted"
    with pytest.raises(NpuqError, match=rf"^mix\.json: r: {said}$"):
        read(net, {"c": entry(8), "r": entry(16)})
    with pytest.raises(NpuqError, match=rf"^mix\.json: entry 1: first: {said}$"):
        read(net, [{"op_names": ["c"], **entry(8)}, {"op_names": ["first"], **entry(16)}])
    with pytest.raises(NpuqError, match=r"^mix\.json: entry 1: Conv: 16 bits, kl, but another entry gives conv 8 bits"):
        read(net, [{"op_types": ["conv"], **entry(8)}, {"op_types": ["Conv"], **entry(16)}])


def test_types_that_the_network_lacks_may_stand_there(net: Graph) -> None:
    """So one file serves several networks."""
    types = ["LSTM", "LayerNormalization", "Gemm", "GlobalAveragePool"]
    assert read(net, [entry(8, "kl", op_types=types)]) == {}


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ({"c": {"bitwidth": 16}}, "mix.json: c: no mode; both bitwidth and mode wanted"),
        ({"c": {}}, "mix.json: c: no bitwidth and no mode; both bitwidth and mode wanted"),
        ({"c": entry("None")}, "mix.json: c: no bitwidth; both bitwidth and mode wanted"),
        ({"c": entry(12)}, "mix.json: c: bitwidth 12; npu has 8 and 16"),
        ({"c": entry(8.5)}, "mix.json: c: bitwidth 8.5; npu has 8 and 16"),
        ({"c": entry(mode="best")}, "mix.json: c: mode 'best'; there are min_max, percentile, mse, kl, kl_v2"),
        ({"c": entry(width=1)}, "mix.json: c: unknown key 'width'; there are bitwidth, mode, weight_bitwidth,"),
        (
            {"c": entry(8, weight_bitwidth=16)},
            "mix.json: c: weight_bitwidth 16; beside 8 bits npu has 8 and 4",
        ),
        ({"fist": entry()}, "mix.json: fist: there is no such quantized op; there is first"),
        ({"p": entry()}, "mix.json: p: there is no such quantized op; there is "),
        ([entry(op_names=["fist"])], "mix.json: entry 0: fist: there is no such quantized op; there is first"),
        ([entry(op_types=["Convv"])], "mix.json: entry 0: Convv: there is no such quantized op type; there is conv"),
        ([entry(op_names=3)], "mix.json: entry 0: op_names 3; a list of names wanted"),
        ({"c": 3}, "mix.json: c: 3; an object with bitwidth and mode wanted"),
        ('{"c": 1, "c": 2}', "mix.json: not a template: 'c' stands there twice"),
        ("{", "mix.json: not a template: Expecting property name enclosed in double quotes"),
        ("[" * 100000, "mix.json: not a template: "),
        ("3", "mix.json: not a template: an object of entries, or a list of them, wanted"),
        (
            {"second": entry()},
            "mix.json: net.onnx:size: an abs takes no part in mixing: it has the width of the ops before and after it: "
            "%b has 8 bits, %d 16; give them one width",
        ),
    ],
)
def test_each_rule_has_its_message(net: Graph, template: object, message: str) -> None:
    with pytest.raises(NpuqError, match=re.escape(message)):
        read(net, template)
