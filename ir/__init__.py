"""The typed graph that every level of npuq is made of, with its ops, text, verifier and evaluator."""

from __future__ import annotations

from . import ops
from .builder import Builder, rewrite
from .errors import NpuqError, ParseError, PassError, RuleError, one_line, require
from .evaluate import compiler_options, evaluate, evaluate_by_node, evaluate_op, function, parameters, run_nodes
from .graph import Constant, Graph, Node, blobs, node_text, text_digest, to_text
from .op import Op, make_op, op, registry, results_of
from .parser import parse, parse_type
from .types import DType, Quantization, Shape, TensorType
from .verify import verify

__all__ = [
    "Builder",
    "Constant",
    "DType",
    "Graph",
    "Node",
    "NpuqError",
    "Op",
    "ParseError",
    "PassError",
    "Quantization",
    "RuleError",
    "Shape",
    "TensorType",
    "blobs",
    "compiler_options",
    "evaluate",
    "evaluate_by_node",
    "evaluate_op",
    "function",
    "make_op",
    "node_text",
    "one_line",
    "op",
    "ops",
    "parameters",
    "parse",
    "parse_type",
    "registry",
    "require",
    "results_of",
    "rewrite",
    "run_nodes",
    "text_digest",
    "to_text",
    "verify",
]
