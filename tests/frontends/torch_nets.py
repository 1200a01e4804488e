"""PyTorch modules that take published weights, or have a published architecture; to be imported where PyTorch is."""

from __future__ import annotations

from typing import Any

import torch

nn: Any = torch.nn
Module: Any = nn.Module


class ConvNormRelu(nn.Sequential):  # type: ignore[misc]  # untyped where PyTorch is missing
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=groups, bias=False)
        super().__init__(conv, nn.BatchNorm2d(outputs), nn.ReLU6(inplace=True))


class Inverted(Module):  # type: ignore[misc]  # as above
    def __init__(self, inputs: int, outputs: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.same = stride == 1 and inputs == outputs
        wider = [ConvNormRelu(inputs, hidden, 1)] if expansion > 1 else []
        narrower = [nn.Conv2d(hidden, outputs, 1, bias=False), nn.BatchNorm2d(outputs)]
        self.conv = nn.Sequential(*wider, ConvNormRelu(hidden, hidden, 3, stride, hidden), *narrower)

    def forward(self, x: Any) -> Any:
        return x + self.conv(x) if self.same else self.conv(x)


class MobileNetV2(Module):  # type: ignore[misc]  # as above
    """Sandler et al. 2018, table 2, with torchvision's names."""

    def __init__(self) -> None:
        super().__init__()
        table = [
            (1, 16, 1, 1),
            (6, 24, 2, 2),
            (6, 32, 3, 2),
            (6, 64, 4, 2),
            (6, 96, 3, 1),
            (6, 160, 3, 2),
            (6, 320, 1, 1),
        ]
        layers, inputs = [ConvNormRelu(3, 32, 3, 2)], 32
        for expansion, outputs, count, stride in table:
            for index in range(count):
                layers.append(Inverted(inputs, outputs, stride if index == 0 else 1, expansion))
                inputs = outputs
        self.features = nn.Sequential(*layers, ConvNormRelu(inputs, 1280, 1))
        self.classifier = nn.Sequential(nn.Dropout(0.2), nn.Linear(1280, 1000))

    def forward(self, x: Any) -> Any:
        return self.classifier(nn.functional.adaptive_avg_pool2d(self.features(x), 1).flatten(1))


class SameConv(nn.Conv2d):  # type: ignore[misc]  # as above
    """Padded as TensorFlow's SAME is: the odd pixel goes after."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, groups=groups, bias=False)

    def forward(self, x: Any) -> Any:
        (kernel, _), (stride, _) = self.kernel_size, self.stride
        totals = [max((-(-size // stride) - 1) * stride + kernel - size, 0) for size in (x.shape[3], x.shape[2])]
        pads = [part for total in totals for part in (total // 2, total - total // 2)]
        return super().forward(nn.functional.pad(x, pads))


def lite_norm(channels: int) -> Any:
    """The batch norm of EfficientNet's PyTorch port."""
    return nn.BatchNorm2d(channels, eps=1e-3)


class LiteBlock(Module):  # type: ignore[misc]  # as above
    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = inputs * expansion
        self.expands, self.same = expansion > 1, stride == 1 and inputs == outputs
        if self.expands:
            self._expand_conv, self._bn0 = SameConv(inputs, hidden, 1), lite_norm(hidden)
        self._depthwise_conv, self._bn1 = SameConv(hidden, hidden, kernel, stride, hidden), lite_norm(hidden)
        self._project_conv, self._bn2 = SameConv(hidden, outputs, 1), lite_norm(outputs)

    def forward(self, x: Any) -> Any:
        y = nn.functional.relu6(self._bn0(self._expand_conv(x))) if self.expands else x
        y = nn.functional.relu6(self._bn1(self._depthwise_conv(y)))
        y = self._bn2(self._project_conv(y))
        return y + x if self.same else y


class EfficientNetLite0(Module):  # type: ignore[misc]  # as above
    """Tan and Le 2019, table 1, without squeeze-and-excitation and with ReLU6; with its PyTorch port's names."""

    def __init__(self) -> None:
        super().__init__()
        table = [
            (1, 16, 1, 3, 1),
            (6, 24, 2, 3, 2),
            (6, 40, 2, 5, 2),
            (6, 80, 3, 3, 2),
            (6, 112, 3, 5, 1),
            (6, 192, 4, 5, 2),
            (6, 320, 1, 3, 1),
        ]
        blocks, inputs = [], 32
        for expansion, outputs, count, kernel, stride in table:
            for index in range(count):
                blocks.append(LiteBlock(inputs, outputs, kernel, stride if index == 0 else 1, expansion))
                inputs = outputs
        self._conv_stem, self._bn0 = SameConv(3, 32, 3, 2), lite_norm(32)
        self._blocks = nn.Sequential(*blocks)
        self._conv_head, self._bn1 = SameConv(inputs, 1280, 1), lite_norm(1280)
        self._fc = nn.Linear(1280, 1000)

    def forward(self, x: Any) -> Any:
        x = self._blocks(nn.functional.relu6(self._bn0(self._conv_stem(x))))
        x = nn.functional.relu6(self._bn1(self._conv_head(x)))
        return self._fc(nn.functional.adaptive_avg_pool2d(x, 1).flatten(1))


def split(x: Any, width: int) -> Any:
    """Heads of some width: [n, sequence, heads * width] to [n, heads, sequence, width]."""
    return x.unflatten(-1, (-1, width)).transpose(1, 2)


class Residual(Module):  # type: ignore[misc]  # as above
    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.dense, self.LayerNorm = nn.Linear(inputs, outputs), nn.LayerNorm(outputs, eps=1e-12)

    def forward(self, x: Any, inner: Any) -> Any:
        return self.LayerNorm(self.dense(inner) + x)


class BertLayer(Module):  # type: ignore[misc]  # as above
    def __init__(self, hidden: int, heads: int) -> None:
        super().__init__()
        self.width = hidden // heads
        parts = nn.ModuleDict({name: nn.Linear(hidden, hidden) for name in ("query", "key", "value")})
        self.attention = nn.ModuleDict({"self": parts, "output": Residual(hidden, hidden)})
        self.intermediate = nn.ModuleDict({"dense": nn.Linear(hidden, 4 * hidden)})
        self.output = Residual(4 * hidden, hidden)

    def forward(self, x: Any, mask: Any) -> Any:
        parts = self.attention["self"]
        query, key, value = (split(parts[name](x), self.width) for name in ("query", "key", "value"))
        mixed = nn.functional.scaled_dot_product_attention(query, key, value, mask)
        x = self.attention["output"](x, mixed.transpose(1, 2).flatten(2))
        return self.output(x, nn.functional.gelu(self.intermediate["dense"](x)))


class Bert(Module):  # type: ignore[misc]  # as above
    """Devlin et al. 2018 in the size of MiniLM-L6 (Wang et al. 2020), with transformers' names."""

    def __init__(self, vocabulary: int = 30522, hidden: int = 384, heads: int = 12, layers: int = 6) -> None:
        super().__init__()
        rows = {"word": vocabulary, "token_type": 2, "position": 512}
        tables = {f"{name}_embeddings": nn.Embedding(count, hidden) for name, count in rows.items()}
        self.embeddings = nn.ModuleDict({**tables, "LayerNorm": nn.LayerNorm(hidden, eps=1e-12)})
        self.embeddings.register_buffer("position_ids", torch.arange(512)[None])
        self.encoder = nn.ModuleDict({"layer": nn.ModuleList(BertLayer(hidden, heads) for _ in range(layers))})
        self.pooler = nn.ModuleDict({"dense": nn.Linear(hidden, hidden)})

    def forward(self, input_ids: Any, attention_mask: Any, token_type_ids: Any) -> Any:
        places = self.embeddings.position_ids[:, : input_ids.shape[1]]
        x = self.embeddings["word_embeddings"](input_ids) + self.embeddings["token_type_embeddings"](token_type_ids)
        x = self.embeddings["LayerNorm"](x + self.embeddings["position_embeddings"](places))
        mask = (1.0 - attention_mask[:, None, None].to(x.dtype)) * -10000.0
        for layer in self.encoder["layer"]:
            x = layer(x, mask)
        return x, torch.tanh(self.pooler["dense"](x[:, 0]))


class RmsNorm(Module):  # type: ignore[misc]  # as above
    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(width))

    def forward(self, x: Any) -> Any:
        return self.weight * (x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-5))


def turn(x: Any, cos: Any, sin: Any) -> Any:
    """Rotate the pairs of a head's first and second half (Su et al. 2021)."""
    first, second = x.chunk(2, -1)
    return x * cos + torch.cat((-second, first), -1) * sin


class LlamaLayer(Module):  # type: ignore[misc]  # as above
    def __init__(self, hidden: int, heads: int, shared: int, inner: int) -> None:
        super().__init__()
        self.width, self.group = hidden // heads, heads // shared
        sizes = {"q": (hidden, hidden), "k": (hidden, shared * self.width), "v": (hidden, shared * self.width)}
        sizes["o"] = (hidden, hidden)
        self.self_attn = nn.ModuleDict({f"{name}_proj": nn.Linear(*size, bias=False) for name, size in sizes.items()})
        sizes = {"gate": (hidden, inner), "up": (hidden, inner), "down": (inner, hidden)}
        self.mlp = nn.ModuleDict({f"{name}_proj": nn.Linear(*size, bias=False) for name, size in sizes.items()})
        self.input_layernorm, self.post_attention_layernorm = RmsNorm(hidden), RmsNorm(hidden)

    def forward(self, x: Any, cos: Any, sin: Any) -> Any:
        y = self.input_layernorm(x)
        query, key, value = (split(self.self_attn[f"{name}_proj"](y), self.width) for name in "qkv")
        key, value = (part.repeat_interleave(self.group, 1) for part in (turn(key, cos, sin), value))
        mixed = nn.functional.scaled_dot_product_attention(turn(query, cos, sin), key, value, is_causal=True)
        x = x + self.self_attn["o_proj"](mixed.transpose(1, 2).flatten(2))
        y = self.post_attention_layernorm(x)
        return x + self.mlp["down_proj"](nn.functional.silu(self.mlp["gate_proj"](y)) * self.mlp["up_proj"](y))


class SmolLm2(Module):  # type: ignore[misc]  # as above
    """Llama (Touvron et al. 2023) in the size of SmolLM2-135M but for layers and vocabulary, with random weights."""

    def __init__(self, layers: int = 2, vocabulary: int = 1000, hidden: int = 576) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(vocabulary, hidden)
        self.layers = nn.ModuleList(LlamaLayer(hidden, 9, 3, 1536) for _ in range(layers))
        self.norm = RmsNorm(hidden)
        self.frequencies = 100000.0 ** -(torch.arange(0, 64, 2) / 64)
        for weight in self.parameters():
            nn.init.normal_(weight, std=hidden**-0.5) if weight.ndim > 1 else nn.init.uniform_(weight, 0.5, 1.5)

    def forward(self, tokens: Any) -> Any:
        angles = torch.outer(torch.arange(tokens.shape[1]), self.frequencies).repeat(1, 2)
        x = self.embed_tokens(tokens)
        for layer in self.layers:
            x = layer(x, angles.cos(), angles.sin())
        return self.norm(x) @ self.embed_tokens.weight.T
