"""`docs/onnx-ops.md`: the supported ONNX operators, and how many of ONNX's node tests pass.

python -m tests.frontends.onnx_table > docs/onnx-ops.md
"""

from __future__ import annotations

import re
from collections import defaultdict

import onnx

from npuq.frontends.onnx import supported

from .onnx_node_tests import BODIES, NodeTest, node_tests
from .onnx_places import place

REASONS = {
    r"FLOAT8|FLOAT4|INT2|UINT4|quantizelinear_(e\dm\d|float4|u?int2|uint4)": "element types that npuq lacks",
    r"dynamicquantizelinear_expanded": "a quotient that float32 rounds up to a half, which the test rounds up again",
    r"quantizelinear_blocked": "scales per block",
    r"FLOAT(16)?_to_INT4": "numbers outside int4, which npuq clamps and the test wraps",
    r"STRING|_string": "strings",
    r"1\.12\.0/test_cast(like)?_.*BFLOAT16": "test data of other types than the model's",
    r"identity_(opt|sequence)": "sequences and optional values",
    r"training_dropout|_training_mode": "training",
    r"split_to_sequence": "sequences as a network's outputs",
}
"""Why tests of supported operators do not pass, by patterns of their places; the suite proves that no other fails."""


def reason(test: NodeTest) -> str | None:
    """Return why a test fails, or None if it must pass."""
    return next((said for pattern, said in REASONS.items() if re.search(pattern, test.place)), None)


def table() -> str:
    """The document."""
    by_operator: defaultdict[str, list[NodeTest]] = defaultdict(list)
    for test in node_tests():
        by_operator[test.operator].append(test)
    newest = onnx.defs.onnx_opset_version()
    composed = sorted(set(by_operator) - set(supported()) - {BODIES})
    passing = [name for name in composed if any(reason(test) is None for test in by_operator[name])]
    sources = " and ".join(sorted({test.source for test in node_tests()}))
    lines = [
        "# ONNX operators",
        "",
        f"npuq supports opsets 7 to {newest}. Definitions are the opsets at which ONNX changed the operator; tests are",
        f"the distinct ones that ONNX {sources} have. `python -m tests.frontends.onnx_table` writes this page.",
        "",
        "An operator runs on the NPU, as integers, or on the host, in float. The reasons for the host come from the",
        "operator's tests: ops without an integer form, and rules of the target `npu`. They hold for float32; computed",
        "integers and bools run on the host. An empty cell means that nothing remains to run or that ONNX has no test.",
        "Quantized operators set the scales of their neighbours (frontends.md). `npuq check` lists where a network's",
        "layers run.",
        "",
        "| operator | runs on | definitions | passed | failing |",
        "|---|---|---|---:|---|",
        *(_row(name, by_operator[name], newest) for name in supported()),
        "",
        "The import removes control flow. An If with a known condition becomes its branch; another If selects between",
        "the results of both, which must have one type. A Scan, and a Loop with a known number of iterations, are",
        "unrolled. Sequences exist only during the import: a network's inputs and outputs are tensors.",
        "",
        "Operators that ONNX defines by others are replaced by that definition:",
        "",
        "| operator | runs on | definitions | passed | failing |",
        "|---|---|---|---:|---|",
        *(_row(name, by_operator[name], newest) for name in passing),
        "",
        f"Of ONNX's {len(by_operator[BODIES])} written-out definitions that use the operators above alone, "
        f"{_passed(by_operator[BODIES])} pass; the rest: {_rest(by_operator[BODIES])}.",
    ]
    return "\n".join(lines) + "\n"


def _row(name: str, tests: list[NodeTest], newest: int) -> str:
    versions = ", ".join(map(str, definitions(name, newest)))
    return f"| {name} | {place(name, tests)} | {versions} | {_passed(tests)}/{len(tests)} | {_rest(tests)} |"


def _passed(tests: list[NodeTest]) -> int:
    return sum(reason(test) is None for test in tests)


def _rest(tests: list[NodeTest]) -> str:
    return "; ".join(dict.fromkeys(said for test in tests if (said := reason(test)) is not None))


def definitions(name: str, newest: int) -> list[int]:
    """Return the opsets that define an operator, of those in force from opset 7 on."""
    versions = (onnx.defs.get_schema(name, opset) for opset in range(7, newest + 1) if _defined(name, opset))
    return sorted({schema.since_version for schema in versions})


def _defined(name: str, opset: int) -> bool:
    try:
        return not onnx.defs.get_schema(name, opset).deprecated
    except onnx.defs.SchemaError:
        return False


if __name__ == "__main__":
    print(table(), end="")
