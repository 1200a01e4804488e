"""A program around Paddle and paddle2onnx, so that no other process imports them; it does not import npuq.

    python -P worker.py convert PROGRAM PARAMETERS OUT.onnx
    python -P worker.py run PROGRAM PARAMETERS INPUTS.npz OUT.npz

The last line of stderr is the error, after `npuq: `.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import sys
from pathlib import Path
from typing import NoReturn

import numpy as np

SAYS = "npuq: "
"""The prefix of an error."""

OPSET = 17
"""The ONNX opset that both generations of paddle2onnx write."""

GENERATIONS = {
    ".pdmodel": (1, "written by Paddle 2 and needs paddle2onnx 1", "pip install 'paddle2onnx>=1.3.1,<2'"),
    ".json": (
        2,
        "written by Paddle 3 and needs paddle2onnx 2",
        "pip install --no-deps 'paddle2onnx>=2.1' && pip install packaging",
    ),
}
"""The major version of paddle2onnx that reads each kind of program, its message, and how to install it."""


def main(command: str, program: str, parameters: str, *files: str) -> None:
    if importlib.util.find_spec("paddle") is None:
        refuse("Paddle models need paddlepaddle, which is not installed: pip install 'npuq[paddle]'")
    if command == "convert":
        convert(program, parameters, *files)
    else:
        run(program, parameters, *files)


def convert(program: str, parameters: str, target: str) -> None:
    """Write a program as ONNX, without paddle2onnx's optimizers, which would install packages."""
    generation, wanted, remedy = GENERATIONS[Path(program).suffix]
    if importlib.util.find_spec("paddle2onnx") is None:
        refuse(f"it is {wanted}, which is not installed: {remedy}")
    version = importlib.metadata.version("paddle2onnx")
    if int(version.partition(".")[0]) != generation:
        refuse(f"it is {wanted}, but {version} is installed: {remedy}")
    import paddle2onnx

    written = paddle2onnx.export(program, parameters, opset_version=OPSET, verbose=False)
    if not written:
        sys.exit(1)
    Path(target).write_bytes(written)


def run(program: str, parameters: str, inputs: str, target: str) -> None:
    """Run a program without Paddle's optimizations, and write its outputs by name."""
    from paddle import inference

    config = inference.Config(program, parameters)
    config.disable_gpu()
    config.disable_mkldnn()
    config.disable_glog_info()
    config.switch_ir_optim(False)
    predictor = inference.create_predictor(config)
    with np.load(inputs) as arrays:
        for name in predictor.get_input_names():
            handle = predictor.get_input_handle(name)
            handle.reshape(arrays[name].shape)
            handle.copy_from_cpu(np.ascontiguousarray(arrays[name]))
    predictor.run()
    outputs = {name: predictor.get_output_handle(name).copy_to_cpu() for name in predictor.get_output_names()}
    np.savez(target, **outputs)


def refuse(reason: str) -> NoReturn:
    sys.exit(SAYS + reason)


if __name__ == "__main__":
    main(*sys.argv[1:])
