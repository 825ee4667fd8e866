"""A toolkit for engines that needs no GPU: its plan is the ONNX file that TensorRT would be given, run by onnxruntime.

It keeps TensorRT's rules as far as they matter here: no int16, inputs within the chosen optimisation profile. As a
script it is the process that builds one engine. ``DUOVIEW_TEST_BUILD`` makes it do wrong.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import onnx
import onnxruntime

from duoview.backends.engine import EngineMachine, InputRange, Ranges
from duoview.backends.tensorrt_toolkit import Built, Progress
from duoview.errors import EngineError
from duoview.export import engine_child

MACHINE = EngineMachine("10.0.0", 12040, "a GPU of the tests", "9.0", 132)
TIMES = Path(os.environ.get("DUOVIEW_TEST_TIMES", os.devnull))


class CpuExecution:
    def __init__(self, session: onnxruntime.InferenceSession, profiles: Sequence[Ranges], off: float) -> None:
        self.session, self.profiles, self.off = session, profiles, off

    def __call__(self, profile: int, inputs: Mapping[str, Any]) -> dict[str, Any]:
        for one in self.profiles[profile]:
            if not one.holds(inputs[one.name].shape):
                raise EngineError(f"{one.name} of shape {inputs[one.name].shape} is not in {one}")
        names = [output.name for output in self.session.get_outputs()]
        outputs = dict(zip(names, self.session.run(None, dict(inputs)), strict=True))
        return {name: (value + self.off).astype(value.dtype) for name, value in outputs.items()}

    def close(self) -> None:
        pass


class CpuEngine:
    def __init__(self, plan: bytes) -> None:
        text, _, model = plan.partition(b"\n")
        fields = json.loads(text)
        self.off = fields["off"]
        self.profiles = [tuple(InputRange(one["name"], tuple(one["low"]), tuple(one["best"]), tuple(one["high"]))
                               for one in ranges) for ranges in fields["profiles"]]
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])

    def execution(self) -> CpuExecution:
        return CpuExecution(self.session, self.profiles, self.off)


class CpuToolkit:
    """What TensorRt is on a machine with a GPU."""

    def __init__(self, index: int = 0, machine: EngineMachine = MACHINE) -> None:
        self.machine = machine
        self.opened = 0

    def build(self, model: bytes, profiles: Sequence[Ranges], timing: bytes, level: int,
              tell: Callable[[Progress], None]) -> Built:
        wrong = os.environ.get("DUOVIEW_TEST_BUILD", "")
        with TIMES.open("a") as file:
            file.write(f"begin {time.monotonic()}\n")
        tell(Progress("Building Engine", "", 0, 2))
        if wrong == "killed":
            os.kill(os.getpid(), signal.SIGSEGV)
        if wrong == "refused":
            raise EngineError("TensorRT 10.0.0 cannot read the network: no such operator")
        time.sleep(0.2 if Path(os.devnull) != TIMES else 0)
        kinds = {value.type.tensor_type.elem_type for value in onnx.load_from_string(model).graph.output}
        assert onnx.TensorProto.INT16 not in kinds, "TensorRT has no int16"
        tell(Progress("Building Engine", "", 2, 2))
        header = json.dumps({"profiles": [[asdict(one) for one in ranges] for ranges in profiles],
                             "off": 1.0 if wrong == "off by one" else 0.0}).encode()
        with TIMES.open("a") as file:
            file.write(f"end {time.monotonic()}\n")
        return Built(header + b"\n" + model, timing + b"timed ")

    def open(self, plan: bytes) -> CpuEngine:
        self.opened += 1
        return CpuEngine(plan)


if __name__ == "__main__":
    sys.exit(engine_child.main(sys.argv[1:], CpuToolkit))
