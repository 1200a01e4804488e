"""PyTorch sources: modules, exported programs, and an architecture's code with its weights."""

from __future__ import annotations

import copy
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from npuq.ir import NpuqError, one_line

from ..specialize import Shapes

NESTED = ("state_dict", "model_state_dict", "model")
"""The keys under which training scripts store weights."""


@dataclass(frozen=True, slots=True)
class Source:
    """An exported program, its name, and the shapes that it leaves open."""

    name: str
    program: Any
    shapes: Shapes | None

    @property
    def run(self) -> Callable[..., tuple[np.ndarray, ...]]:
        """The program as a function of arrays."""
        import torch

        def call(*arrays: Any) -> tuple[np.ndarray, ...]:
            tensors = [torch.from_numpy(np.array(array)) for array in arrays]
            args, kwargs = torch.utils._pytree.tree_unflatten(tensors, self.program.call_spec.in_spec)
            with torch.no_grad():
                leaves = torch.utils._pytree.tree_leaves(self.program.module()(*args, **kwargs))
            return tuple(leaf.numpy() for leaf in leaves if isinstance(leaf, torch.Tensor))

        return call


def program(source: Any, shapes: Shapes | None, inputs: Any, weights: Any) -> Source:
    torch = _torch()
    if isinstance(source, (str, Path)):
        path = Path(source)
        if path.suffix == ".py":
            return _exported(module(path, weights), shapes, inputs)
        if path.suffix != ".pt2":
            raise NpuqError(f"{path.name}: weights without code; name both: npuq.load('net.py', weights={path.name!r})")
        _no_weights(path.name, weights)
        return Source(path.stem, _read_program(path), shapes)
    if isinstance(source, torch.export.ExportedProgram):
        _no_weights("an exported program", weights)
        return Source("program", source, shapes)
    if not isinstance(source, torch.nn.Module):
        raise NpuqError(f"objects of type {type(source).__name__} are not PyTorch modules")
    if isinstance(weights, (str, Path)):
        weights = read_weights(Path(weights))
    if weights is not None:
        source = copy.deepcopy(source)
        _fill(source, weights, type(source).__name__)
    return _exported(source, shapes, inputs)


def _torch() -> Any:
    try:
        import onnxscript  # noqa: F401  # PyTorch's exporter needs it
        import torch
    except ImportError as error:
        raise NpuqError(
            f"PyTorch models need {error.name}, which is not installed: pip install 'npuq[torch]'"
        ) from None
    return torch


def _no_weights(name: str, weights: Any) -> None:
    if weights is not None:
        raise NpuqError(f"{name}: an exported program contains its weights; omit weights")


def _read_program(path: Path) -> Any:
    import torch

    try:
        return torch.export.load(path)
    except Exception as error:  # damaged archives raise errors of many classes
        raise NpuqError(f"{path.name}: not an exported program: {one_line(error)[:200]}") from None


def module(path: Path, weights: Any) -> Any:
    """Run a file's code and return its module class that fits the weights, filled with them."""
    import torch

    if weights is None:
        raise NpuqError(f"{path.name}: the weights are missing; name them: --weights FILE.pth")
    state = read_weights(Path(weights)) if isinstance(weights, (str, Path)) else weights
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    code = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(code)
    except Exception as error:  # the user's code may raise anything
        raise NpuqError(f"{path.name}: {type(error).__name__}: {one_line(error)}") from error
    classes = [
        value
        for value in vars(code).values()
        if isinstance(value, type) and issubclass(value, torch.nn.Module) and value.__module__ == path.stem
    ]
    made = [cls() for cls in classes if not _required(cls)]
    if not made:
        names = ", ".join(cls.__name__ for cls in classes) or "none"
        raise NpuqError(f"{path.name}: no module class without required arguments; its classes are {names}")
    fitting = [one for one in made if one.state_dict().keys() == state.keys()]
    fitted = fitting[0] if len(fitting) == 1 else made[-1]
    _fill(fitted, state, f"{path.name}:{type(fitted).__name__}")
    return fitted


def _required(cls: type) -> list[str]:
    parameters = list(inspect.signature(cls).parameters.values())
    kinds = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    return [one.name for one in parameters if one.default is one.empty and one.kind not in kinds]


def read_weights(path: Path) -> Mapping[str, Any]:
    """Read a state dict; refuse pickles that could run code."""
    import pickle

    import torch

    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise NpuqError(f"{path}: there is no such file") from None
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "not an allowed global" in str(error) or "weights_only" in str(error):
            raise NpuqError(
                f"{path.name}: a pickle of more than weights could run any code and is refused; "
                f"save the weights: torch.save(model.state_dict(), path)"
            ) from None
        raise NpuqError(f"{path.name}: not a file of weights: {one_line(error)[:200]}") from None
    except Exception as error:  # damaged archives raise errors of many classes
        raise NpuqError(f"{path.name}: not a file of weights: {one_line(error)[:200]}") from None
    for name in NESTED:
        if isinstance(found, Mapping) and isinstance(found.get(name), Mapping):
            found = found[name]
    if not isinstance(found, Mapping) or not all(isinstance(value, torch.Tensor) for value in found.values()):
        raise NpuqError(f"{path.name}: not a state dict: a mapping of names to tensors is wanted")
    return {name.removeprefix("module."): value for name, value in found.items()}


def _fill(target: Any, state: Mapping[str, Any], name: str) -> None:
    """Load weights, all of which must belong to the module."""
    own = target.state_dict()
    counters = {key for key in own if key.endswith(".num_batches_tracked")}
    missing, other = sorted(own.keys() - state.keys() - counters), sorted(state.keys() - own.keys())
    if missing or other:
        parts = [f"{len(missing)} missing ({missing[0]}, ...)"] if missing else []
        parts += [f"{len(other)} unknown ({other[0]}, ...)"] if other else []
        raise NpuqError(f"{name}: the weights do not fit: {', '.join(parts)}")
    for key in own.keys() & state.keys():
        if own[key].shape != state[key].shape:
            shapes = f"{tuple(state[key].shape)}, {tuple(own[key].shape)} wanted"
            raise NpuqError(f"{name}: the weights do not fit: {key} of shape {shapes}")
    target.load_state_dict(dict(state), strict=False)


def _exported(module: Any, shapes: Shapes | None, inputs: Any) -> Source:
    """Trace a module in evaluation mode with example inputs, or with shapes of float inputs."""
    import torch

    name = type(module).__name__
    parameters = list(inspect.signature(module.forward).parameters)
    if inputs is None:
        if not shapes:
            raise NpuqError(
                f"{name}: example inputs or shapes are wanted, for example: --shape {parameters[0]}:1,3,224,224"
            )
        unknown = [input_ for input_ in shapes if input_ not in parameters]
        if unknown:
            raise NpuqError(f"{name}: there is no input {unknown[0]!r}; the inputs are {', '.join(parameters)}")
        inputs = {input_: np.zeros(tuple(shape), np.float32) for input_, shape in shapes.items()}
    elif shapes:
        raise NpuqError(f"{name}: either shapes or example inputs, not both")
    args: tuple[Any, ...] = () if isinstance(inputs, Mapping) else inputs if isinstance(inputs, tuple) else (inputs,)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else {}
    args, kwargs = torch.utils._pytree.tree_map(_tensor, (args, kwargs))
    try:
        exported = torch.export.export(copy.deepcopy(module).eval(), args, kwargs)
    except Exception as error:  # the user's module and the tracer may raise anything
        raise NpuqError(f"{name}: torch.export cannot trace it: {one_line(error)[:300]}") from error
    return Source(name, exported, None)


def _tensor(value: Any) -> Any:
    import torch

    return torch.from_numpy(np.array(value)) if isinstance(value, np.ndarray) else value
