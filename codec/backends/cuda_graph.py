"""Networks whose calls are replays of a CUDA graph: one launch for all kernels of a network, at fixed addresses.

A network of ours is some fifty small kernels; at small pictures launching them takes longer than running them. A graph
holds addresses, so inputs and outputs of each combination of shapes have buffers of their own, made once. This has not
run on a GPU yet; the tests run it on the CPU, where onnxruntime ignores the wish to capture.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from duoview.backends.onnxruntime_cpu import check_inputs, signature_of
from duoview.backends.signature import Signature
from duoview.errors import BackendUnavailableError, Error, ProfileError

Array = NDArray[Any]
#: onnxruntime's name for the number of a graph in a call's options; -1: neither captured nor replayed.
GRAPH_NUMBER = "gpu_graph_id"
#: Combinations of shapes that a network keeps graphs and buffers for; calls with others are launched one by one. Golden
#: vectors of exact networks, which come before all else, take four of them.
MOST_SHAPES = 8


def failure(session: onnxruntime.InferenceSession, given: dict[str, Array], path: Path, error: Exception,
            device: str = "cuda") -> Error:
    """What to raise for an error of a call: of the file where it has other inputs, else of the GPU, in one line."""
    try:
        check_inputs(session, given, path)
    except ProfileError as problem:
        return problem
    said = " ".join(str(error).split())
    return BackendUnavailableError(f"device '{device}': {path.stem} failed ({said[:300]}); frames before it are whole. "
                                   "Where memory was out: smaller pictures or fewer streams; else device 'cpu'")


def run_options(graph: int) -> onnxruntime.RunOptions:
    """Options of a call that belongs to this graph; -1 for none."""
    options = onnxruntime.RunOptions()
    options.add_run_config_entry(GRAPH_NUMBER, str(graph))
    return options


@dataclass(frozen=True)
class Capture:
    """Buffers and options of the calls with one combination of shapes."""

    inputs: dict[str, onnxruntime.OrtValue]
    outputs: list[onnxruntime.OrtValue]
    binding: onnxruntime.IOBinding
    options: onnxruntime.RunOptions


class CapturedNetwork:
    """A session that was made with graphs enabled. Calls from several threads come one after another.

    device: onnxruntime's name of where buffers are, ``cuda`` or ``cpu``. path: of the file, for errors.
    """

    def __init__(self, session: onnxruntime.InferenceSession, device: str, index: int,
                 path: Path = Path("network")) -> None:
        self.session, self.device, self.index, self.path = session, device, index, path
        self._captures: dict[tuple[Any, ...], Capture] = {}
        #: Held by who captures or replays: onnxruntime does neither in two threads at once.
        self.lock = threading.Lock()
        self._graphs = 0

    def take_graph(self) -> int:
        """The number of a graph that nobody has yet. With the lock held."""
        self._graphs += 1
        return self._graphs - 1

    def __call__(self, **inputs: Array) -> list[Array]:
        """Raises ProfileError for a file with other inputs, BackendUnavailableError where the GPU fails."""
        try:
            return self._run(inputs)
        except Exception as error:
            raise failure(self.session, inputs, self.path, error) from error

    def _run(self, inputs: dict[str, Array]) -> list[Array]:
        values = {name: np.ascontiguousarray(value) for name, value in inputs.items()}
        key = tuple(sorted((name, value.shape, value.dtype.str) for name, value in values.items()))
        with self.lock:
            if key not in self._captures:
                if len(self._captures) == MOST_SHAPES:
                    return self._launched(values)
                self._captures[key] = self._capture(values, self._launched(values), self.take_graph())
            capture = self._captures[key]
            for name, value in values.items():
                capture.inputs[name].update_inplace(value)
            self.session.run_with_iobinding(capture.binding, capture.options)
            # copies: the buffers are written by the next call
            return [np.array(output.numpy()) for output in capture.outputs]

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the file declares them, and its metadata."""
        return signature_of(self.session)

    def _launched(self, values: dict[str, Array]) -> list[Array]:
        """A call outside of any graph, which also tells the shapes of the outputs."""
        binding = self.session.io_binding()
        for name, value in values.items():
            binding.bind_ortvalue_input(name, self._buffer(value))
        for output in self.session.get_outputs():
            binding.bind_output(output.name, self.device, self.index)
        self.session.run_with_iobinding(binding, run_options(-1))
        outputs: list[Array] = binding.copy_outputs_to_cpu()
        return outputs

    def _capture(self, values: dict[str, Array], outputs: list[Array], graph: int) -> Capture:
        names = [output.name for output in self.session.get_outputs()]
        made = {name: self._buffer(value) for name, value in values.items()}
        given = [self._buffer(np.zeros_like(output)) for output in outputs]
        binding = self.session.io_binding()
        for name, buffer in made.items():
            binding.bind_ortvalue_input(name, buffer)
        for name, buffer in zip(names, given, strict=True):
            binding.bind_ortvalue_output(name, buffer)
        return Capture(made, given, binding, run_options(graph))

    def _buffer(self, value: Array) -> onnxruntime.OrtValue:
        """Memory on the device with these contents. From a copy: on the CPU onnxruntime would use the array itself."""
        return onnxruntime.OrtValue.ortvalue_from_numpy(value.copy(), self.device, self.index)
