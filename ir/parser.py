"""Text to graphs: the inverse of `to_text`, for text that may be damaged."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from .errors import NpuqError, ParseError, one_line
from .graph import PLAIN_NAME, Constant, Graph, Node
from .op import make_op
from .types import DType, Quantization, TensorType

_STRING = re.compile(r'"(?:[^"\\]|\\.)*"')
_NAME = re.compile(f"{_STRING.pattern}|{PLAIN_NAME.pattern}", re.ASCII)
_NUMBERS = re.compile(r"[^]]*\]")
_OP = re.compile(r"[A-Za-z_][\w.]*")
_TYPE = re.compile(r"(?P<kind>[a-z]+\d+|bool)(?:<(?P<quant>[^>]*)>)?\[(?P<shape>[\d,]*)\]")
_QUANT_TYPES = {f"{'q' if dtype.is_signed else 'qu'}{dtype.bits}": dtype for dtype in DType if dtype.is_integer}
_NAMES: dict[str, Any] = {dtype.value: dtype for dtype in DType} | {"inf": float("inf"), "nan": float("nan")}

Blobs = Mapping[str, np.ndarray]
T = TypeVar("T")


def parse(text: str, blobs: Blobs | None = None, *, source: str = "text") -> Graph:
    """Read the text of one graph; `blobs` holds the arrays that it names by digest.

    Raises `ParseError` with source, line and reason. The graph is not verified: `verify` does that.
    """
    reader = _Reader(text, blobs or {})
    try:
        return reader.graph()
    except (NpuqError, ValueError, OverflowError, SyntaxError, RecursionError, MemoryError) as error:
        raise ParseError(f"{source}:{reader.line}: {one_line(error)}") from None


def parse_type(text: str, blobs: Blobs | None = None) -> TensorType:
    """Read one type."""
    return _Reader(text, blobs or {}).type()


class _Reader:
    """A cursor over the text, one method per grammar rule."""

    def __init__(self, text: str, blobs: Blobs) -> None:
        self.text, self.blobs, self.at = text, blobs, 0

    @property
    def line(self) -> int:
        return self.text.count("\n", 0, self.at) + 1

    def graph(self) -> Graph:
        self.mark("graph")
        self.mark("@")
        name = self.name()
        self.mark("(")
        inputs = dict(self.several(self.argument, ")"))
        self.mark("{")
        constants: dict[str, Constant] = {}
        nodes: list[Node] = []
        while not self.sees("return"):
            if self.sees("const"):
                self.mark("const")
                value, constant = self.constant()
                constants[value] = constant
            else:
                nodes.append(self.node())
        self.mark("return")
        outputs = dict(self.several(self.output, "}"))
        self.space()
        if self.at != len(self.text):
            raise ParseError("text after the end of the graph")
        return Graph(name, inputs, constants, tuple(nodes), outputs)

    def argument(self) -> tuple[str, TensorType]:
        name = self.value()
        self.mark(":")
        return name, self.type()

    def output(self) -> tuple[str, str]:
        if self.sees("%"):
            value = self.value()
            return value, value
        name = self.name()
        self.mark("=")
        return name, self.value()

    def constant(self) -> tuple[str, Constant]:
        name, type_ = self.argument()
        self.mark("=")
        if self.sees("#"):
            return name, Constant(type_, self.blob())
        numbers = _literal(ast.parse(self.match(_NUMBERS, "']'"), mode="eval").body)
        array = np.asarray(numbers, np.float64 if type_.dtype.is_float else None)
        if array.size == 0:
            array = array.astype(type_.dtype.numpy)
        if not type_.dtype.is_float and array.dtype.kind not in "iub":
            raise ParseError(f"constant {name}: integers wanted")
        if type_.dtype.is_integer and array.size:
            low, high = type_.dtype.range
            if int(array.min()) < low or int(array.max()) > high:
                raise ParseError(f"constant {name}: outside {type_.dtype}'s [{low}, {high}]")
        return name, Constant(type_, array.astype(type_.dtype.numpy).reshape(type_.shape))

    def node(self) -> Node:
        results = self.listed(self.value)
        self.mark("=")
        name = self.match(_OP, "an op")
        operands = self.listed(self.value) if self.sees("%") else []
        attributes = self.attributes() if self.sees("{") else {}
        self.mark(":")
        types = self.listed(self.type)
        host = self.note("host")
        loc = self.note("loc")
        if len(types) != len(results):
            raise ParseError(f"{name}: {len(results)} results, {len(types)} types")
        return Node(make_op(name, attributes), tuple(operands), tuple(results), tuple(types), loc, host)

    def attributes(self) -> dict[str, Any]:
        start = self.at
        depth = 0
        while True:
            if self.at >= len(self.text):
                raise ParseError("unclosed {")
            letter = self.text[self.at]
            if letter in "\"'":
                self.at = self.skip_string(letter)
                continue
            depth += (letter == "{") - (letter == "}")
            self.at += 1
            if depth == 0:
                break
        body = self.text[start + 1 : self.at - 1]
        call = ast.parse(f"f({body})", mode="eval").body
        if not isinstance(call, ast.Call) or call.args or any(keyword.arg is None for keyword in call.keywords):
            raise ParseError(f"attributes {body!r} are not name=value pairs")
        return {str(keyword.arg): self.attribute(keyword.value) for keyword in call.keywords}

    def attribute(self, value: ast.expr) -> Any:
        match value:
            case ast.Call(func=ast.Name(id="blob"), args=[ast.Constant(value=str(digest))], keywords=[]):
                return tuple(self.named_blob(digest).tolist())
        return _literal(value)

    def skip_string(self, quote: str) -> int:
        at = self.at + 1
        while at < len(self.text) and self.text[at] != quote:
            at += 2 if self.text[at] == "\\" else 1
        return at + 1

    def note(self, word: str) -> str:
        if not self.sees(f"{word}("):
            return ""
        self.mark(f"{word}(")
        said = json.loads(self.match(_STRING, "a string"))
        self.mark(")")
        return str(said)

    def type(self) -> TensorType:
        self.space()
        found = _TYPE.match(self.text, self.at)
        if not found:
            raise ParseError(f"a type wanted at {self.text[self.at : self.at + 20]!r}")
        self.at = found.end()
        shape = tuple(int(size) for size in found["shape"].split(",") if size)
        kind, quant = found["kind"], found["quant"]
        if quant is None:
            if kind not in _NAMES:
                raise ParseError(f"there is no element type {kind!r}")
            return TensorType(DType(kind), shape)
        if kind not in _QUANT_TYPES:
            raise ParseError(f"there is no quantized type {kind!r}")
        return TensorType(_QUANT_TYPES[kind], shape, self.quantization(quant))

    def quantization(self, text: str) -> Quantization:
        axis: int | None = None
        if text.startswith("axis="):
            spelled, _, text = text.removeprefix("axis=").partition(":")
            axis = int(spelled)
        numbers, _, zeros = text.partition(":")
        numbers = numbers.strip()
        if numbers.startswith("#"):
            scales = tuple(self.named_blob(numbers[1:]).astype(np.float32).tolist())
        else:
            scales = tuple(float(number) for number in numbers.split(","))
        zero_points = tuple(int(zero) for zero in zeros.split(",")) if zeros else (0,) * len(scales)
        return Quantization(scales, zero_points, axis)

    def blob(self) -> np.ndarray:
        self.mark("#")
        return self.named_blob(self.match(_NAME, "a digest"))

    def named_blob(self, digest: str) -> np.ndarray:
        if digest not in self.blobs:
            raise ParseError(f"no data for #{digest}; text and blobs belong together")
        return self.blobs[digest]

    def value(self) -> str:
        self.mark("%")
        return self.name()

    def name(self) -> str:
        word = self.match(_NAME, "a name")
        return str(json.loads(word)) if word.startswith('"') else word

    def several(self, rule: Callable[[], tuple[str, Any]], end: str) -> list[tuple[str, Any]]:
        found = [] if self.sees(end) else self.listed(rule)
        self.mark(end)
        if len(dict(found)) != len(found):
            raise ParseError("a name occurs twice")
        return found

    def listed(self, rule: Callable[[], T]) -> list[T]:
        found = [rule()]
        while self.sees(","):
            self.mark(",")
            found.append(rule())
        return found

    def space(self) -> None:
        while self.at < len(self.text) and self.text[self.at].isspace():
            self.at += 1

    def sees(self, mark: str) -> bool:
        self.space()
        return self.text.startswith(mark, self.at)

    def mark(self, mark: str) -> None:
        if not self.sees(mark):
            raise ParseError(f"{mark!r} wanted at {self.text[self.at : self.at + 20]!r}")
        self.at += len(mark)

    def match(self, pattern: re.Pattern[str], what: str) -> str:
        self.space()
        found = pattern.match(self.text, self.at)
        if not found:
            raise ParseError(f"{what} wanted at {self.text[self.at : self.at + 20]!r}")
        self.at = found.end()
        return found[0]


def _literal(node: ast.expr) -> Any:
    """The value of a literal: a number, string, None, True, False, element type, or tuple or list of these."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (int, float, str, type(None))):
        return node.value
    if isinstance(node, ast.Name) and node.id in _NAMES:
        return _NAMES[node.id]
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand)
        if isinstance(value, (int, float)):
            return -value
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(map(_literal, node.elts))
    raise ParseError(f"{ast.unparse(node)!r} is not a literal")
