"""Converters of convolutions, poolings and other window layers."""

from __future__ import annotations

from typing import Any

import numpy as np

from npuq.ir import ops, require

from ..context import Ints
from .registry import Layer, converts

LETTERS = "hw"


def _sizes(parameter: Any, name: str, rank: int, default: int | None = None) -> Ints:
    """A size per spatial axis: one for all, one each, or the older `_h` and `_w` fields."""
    stem = name.removesuffix("_size")
    if any(parameter.HasField(f"{stem}_{letter}") for letter in LETTERS if hasattr(parameter, f"{stem}_{letter}")):
        require(rank == 2, f"{stem}_h and {stem}_w on {rank} spatial axes")
        return tuple(int(getattr(parameter, f"{stem}_{letter}")) for letter in LETTERS)
    field = getattr(parameter, name)
    if isinstance(field, int):
        values: Ints = (field,) if parameter.HasField(name) else ()
    else:
        values = tuple(map(int, field))
    if not values:
        require(default is not None, f"{name} is missing")
        values = (default or 0,)
    require(len(values) in (1, rank), f"{name} {values} on {rank} spatial axes")
    return values * rank if len(values) == 1 else values


@converts("Convolution", "DepthwiseConvolution", "ConvolutionDepthwise", "Deconvolution")
def convolution(layer: Layer) -> str:
    """The depthwise types have one group per channel by default."""
    parameter, kind = layer.message.convolution_param, layer.spec.type
    require(layer.axis(parameter.axis) == 1, f"axis {parameter.axis}, 1 wanted")
    rank = len(layer.shape) - 2
    require(1 <= rank <= 3, f"bottom of shape {layer.shape}, 1 to 3 spatial axes wanted")
    pads, window = _sizes(parameter, "pad", rank, 0), _sizes(parameter, "kernel_size", rank)
    strides, dilations = _sizes(parameter, "stride", rank, 1), _sizes(parameter, "dilation", rank, 1)
    channels, outputs = layer.shape[1], parameter.num_output
    group = channels if "Depthwise" in kind and not parameter.HasField("group") else parameter.group
    require(group > 0 and channels % group == outputs % group == 0, f"{channels} to {outputs} channels, {group} groups")
    operator, stored = "Conv", (outputs, channels // group)
    if kind == "Deconvolution":
        operator, stored = "ConvTranspose", (channels, outputs // group)
    operands = [layer.x, layer.weight(0, "weight", *stored, *window)]
    if parameter.bias_term:
        operands.append(layer.weight(1, "bias", outputs))
    return layer.onnx(operator, *operands, group=group, strides=strides, dilations=dilations, pads=pads + pads)


@converts("InnerProduct")
def inner_product(layer: Layer) -> str:
    """Axes from `axis` on are joined; weights are stored [outputs, inputs] unless `transpose` is set."""
    parameter = layer.message.inner_product_param
    axis = layer.axis(parameter.axis)
    outer, inputs = layer.shape[:axis], int(np.prod(layer.shape[axis:], dtype=np.int64))
    outputs = parameter.num_output
    stored = (inputs, outputs) if parameter.transpose else (outputs, inputs)
    weight = layer.array(0, "weight", *stored)
    flat = layer.x if len(layer.shape) == axis + 1 else layer.add(ops.Reshape(shape=(*outer, inputs)))
    operands = [flat, layer.constant(weight if parameter.transpose else weight.T, "weight")]
    if parameter.bias_term:
        operands.append(layer.weight(1, "bias", outputs))
    return layer.add(ops.MatMul(), *operands)


@converts("Pooling")
def pooling(layer: Layer) -> str:
    """Sizes round up by default; an average counts padding, but no elements beyond it."""
    parameter = layer.message.pooling_param
    methods = {parameter.MAX: "Max", parameter.AVE: "Average"}
    require(parameter.pool in methods, "stochastic pooling is not supported")
    method = methods[parameter.pool]
    if parameter.global_pooling:
        return layer.onnx(f"Global{method}Pool", layer.x)
    rank = len(layer.shape) - 2
    pads = _sizes(parameter, "pad", rank, 0)
    up = parameter.ceil_mode and parameter.round_mode == parameter.CEIL
    attributes: dict[str, Any] = {"ceil_mode": int(up), "pads": pads + pads}
    if method == "Average":
        attributes["count_include_pad"] = 1
    attributes["kernel_shape"] = _sizes(parameter, "kernel_size", rank)
    return layer.onnx(f"{method}Pool", layer.x, strides=_sizes(parameter, "stride", rank, 1), **attributes)


@converts("LRN")
def local_response_normalization(layer: Layer) -> str:
    """Over neighbouring channels, as in ONNX, or over the neighbourhood within a channel."""
    parameter = layer.message.lrn_param
    size, alpha, beta = parameter.local_size, parameter.alpha, parameter.beta
    if parameter.norm_region == parameter.ACROSS_CHANNELS:
        return layer.onnx("LRN", layer.x, size=size, alpha=alpha, beta=beta, bias=parameter.k)
    require(size % 2 == 1, f"local_size {size}, an odd one wanted")
    around = ((size // 2, size // 2),) * 2
    mean = ops.AveragePool(window=(size, size), stride=(1, 1), padding=around, dilation=(1, 1), count_padding=True)
    squares = layer.add(mean, layer.add(ops.Mul(), layer.x, layer.x))
    scaled = layer.add(ops.Add(), layer.add(ops.Mul(), squares, layer.number(alpha)), layer.number(1.0))
    return layer.add(ops.Div(), layer.x, layer.add(ops.Pow(), scaled, layer.number(beta)))


@converts("Interp")
def interpolation(layer: Layer) -> str:
    """Bilinear with aligned corners; negative padding crops first, then come shrinking and zooming."""
    parameter = layer.message.interp_param
    require(len(layer.shape) == 4, f"bottom of shape {layer.shape}, 4 axes wanted")
    require(max(parameter.pad_beg, parameter.pad_end) <= 0, "positive padding is not supported")
    x = layer.x
    if parameter.pad_beg or parameter.pad_end:
        inside = [range(-parameter.pad_beg, size + parameter.pad_end) for size in layer.shape[2:]]
        x = layer.sliced(x, [*map(range, layer.shape[:2]), *inside])
    shape = layer.type(x).shape
    if parameter.height or parameter.width:
        space: Ints = (parameter.height, parameter.width)
    else:
        shrunk = ((size - 1) // parameter.shrink_factor + 1 for size in shape[2:])
        space = tuple(size + (size - 1) * (parameter.zoom_factor - 1) for size in shrunk)
    sizes_ = layer.constant(np.asarray((*shape[:2], *space), np.int64))
    return layer.onnx("Resize", x, None, None, sizes_, mode="linear", coordinate_transformation_mode="align_corners")


@converts("Upsample")
def upsample(layer: Layer) -> str:
    """The nearest element; masks are not supported."""
    require(len(layer.node.operands) == 1, "upsampling with a mask is not supported")
    scale = layer.message.upsample_param.scale
    scales = layer.constant(np.asarray((1, 1) + (scale,) * (len(layer.shape) - 2), np.float32))
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return layer.onnx("Resize", layer.x, None, scales, **attributes)
