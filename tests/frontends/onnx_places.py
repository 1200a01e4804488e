"""Where ONNX's operators run on the default target: what the passes make of some of their node tests."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

import numpy as np

from npuq.frontends import load
from npuq.ir import Graph, NpuqError
from npuq.passes.canonical.canonicalize import canonicalize
from npuq.passes.lowering import LOWERINGS, Kind
from npuq.passes.lowering.plan import plan_of
from npuq.passes.target import load_target

from .onnx_node_tests import NodeTest, with_known

MOST = 6
"""How many tests of an operator are looked at, spread over all that it has."""

QUANTIZED = re.compile("uantizeLinear$|^QLinear|Integer$")
"""Operators that say what integers mean, and those that take such integers."""

OF_THE_TEST = "only f32 is quantized"
"""What a reason says that a test's element type gives, and not the operator."""


def place(name: str, tests: Sequence[NodeTest]) -> str:
    """NPU, or host and what keeps the operator there, or both; empty where nothing is left to run."""
    if QUANTIZED.search(name):
        return "scales"
    few = tests[:: -(-len(tests) // MOST) or 1]
    found = [reasons for reasons in map(obstacles, few) if reasons is not None]
    told: dict[str, str] = {}
    for reasons in found:
        told = reasons | told
    if not told:
        return "NPU" if found else ""
    return ("host: " if all(found) else "NPU; host: ") + "; ".join(dict.fromkeys(told.values()))


def obstacles(test: NodeTest) -> dict[str, str] | None:
    """Why ops of a test run on the host, by their names; None where nothing runs."""
    found = [_obstacles(graph) for graph in graphs(test) if graph.nodes]
    return min(found, key=len, default=None)


def graphs(test: NodeTest) -> Iterator[Graph]:
    """The test with one computed operand, as far as that is possible, and with all floats computed."""
    declared = [value.name for value in test.model.graph.input]
    inputs = {name: array for name, array in zip(declared, test.inputs, strict=False) if isinstance(array, np.ndarray)}
    floats = [name for name, array in inputs.items() if array.dtype.kind == "f"]
    for computed in (floats[:1] or declared[:1], floats or declared):
        try:
            yield canonicalize()(load(*with_known(test.model, inputs, inputs.keys() - set(computed))))
        except NpuqError:
            continue


def _obstacles(graph: Graph) -> dict[str, str]:
    """What keeps nodes on the host, by their op: that it has no integer form, or the first rule that one breaks."""
    plan = plan_of(graph, load_target("npu"))
    reasons: dict[str, str] = {}
    for node in graph.nodes:
        role = plan.of(node)
        if role.kind is not Kind.HOST or OF_THE_TEST in role.reason:
            continue
        rule = re.sub(r" %\S+", "", role.reason)
        reasons.setdefault(node.op.name, rule if type(node.op) in LOWERINGS else f"`{node.op.name}`")
    return reasons
