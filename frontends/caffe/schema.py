"""Caffe's messages as protobuf classes, made from `caffe.proto` at run time.

Generated code would depend on one version of protobuf.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

FILE = Path(__file__).with_name("caffe.proto")
TOKEN = re.compile(r'[A-Za-z_][\w.]*|[{}\[\]=;,]|-?[\d.]+(?:e[+-]?\d+)?|"[^"]*"')


@cache
def message(name: str) -> Any:
    """The class of one message of `caffe.proto`."""
    from google.protobuf import message_factory

    return message_factory.GetMessageClass(_pool().FindMessageTypeByName(f"npuq.caffe.{name}"))


@cache
def _pool() -> Any:
    """Return a separate pool, so that another library may register Caffe's messages too."""
    from google.protobuf import descriptor_pool

    pool: Any = descriptor_pool.DescriptorPool()
    pool.Add(_file(FILE.read_text(encoding="utf-8")))
    return pool


def _file(text: str) -> Any:
    """The descriptor of a proto2 file of messages, enums and fields, which is all that ours holds."""
    from google.protobuf import descriptor_pb2

    tokens = TOKEN.findall(re.sub(r"//.*", "", text))[::-1]
    file = descriptor_pb2.FileDescriptorProto(name=FILE.name)
    while tokens:
        match tokens.pop():
            case "syntax":
                tokens.pop()
                file.syntax = tokens.pop().strip('"')
            case "package":
                file.package = tokens.pop()
            case "enum":
                _enum(file.enum_type.add(), tokens)
            case "message":
                _message(file.message_type.add(), tokens)
    enums = {enum.name for enum in file.enum_type}
    for one in file.message_type:
        inner = {enum.name for enum in one.enum_type}
        for field in one.field:
            if field.type_name in inner:
                field.type, field.type_name = field.TYPE_ENUM, f".{file.package}.{one.name}.{field.type_name}"
            elif field.type_name:
                field.type = field.TYPE_ENUM if field.type_name in enums else field.TYPE_MESSAGE
                field.type_name = f".{file.package}.{field.type_name}"
    return file


def _enum(enum: Any, tokens: list[str]) -> None:
    """Read `Name { A = 0; ... }`."""
    enum.name = tokens.pop()
    tokens.pop()
    while (name := tokens.pop()) != "}":
        tokens.pop()
        enum.value.add(name=name, number=int(tokens.pop()))
        tokens.pop()


def _message(proto: Any, tokens: list[str]) -> None:
    """Read `Name { enum ... optional type name = 1 [default = 2]; ... }`."""
    proto.name = tokens.pop()
    tokens.pop()
    while (label := tokens.pop()) != "}":
        if label == "enum":
            _enum(proto.enum_type.add(), tokens)
            continue
        kind, name, _, number = (tokens.pop() for _ in range(4))
        field = proto.field.add(name=name, number=int(number))
        field.label = field.LABEL_REPEATED if label == "repeated" else field.LABEL_OPTIONAL
        scalar = f"TYPE_{kind.upper()}"
        if hasattr(field, scalar):
            field.type = getattr(field, scalar)
        else:
            field.type_name = kind
        while (token := tokens.pop()) != ";":
            if token in ("default", "packed"):
                tokens.pop()
                value = tokens.pop()
                if token == "packed":
                    field.options.packed = value == "true"
                else:
                    field.default_value = value
