"""OpenVINO on the CPU, for networks that exist only as its .xml and .bin files. Used for detectors alone.

pip's `openvino` is no dependency of ours: it is imported when such a network is loaded, and its absence is an error.
"""

from __future__ import annotations

import importlib
import os
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from duoview.backends.signature import Signature, TensorSpec
from duoview.errors import BackendUnavailableError, ProfileError

_DTYPES = {"f32": "float", "f16": "float16", "u8": "uint8", "i32": "int32", "i64": "int64"}


class OpenVinoNetwork:
    """One compiled network. Raises ProfileError when the files hold none that OpenVINO can run."""

    def __init__(self, core: Any, version: str, path: Path, threads: int) -> None:
        try:
            model = core.read_model(str(path))
            # Without the hint a processor with bfloat16 computes in it, and scores differ from machine to machine.
            self.compiled = core.compile_model(
                model, "CPU", {"INFERENCE_NUM_THREADS": str(threads), "INFERENCE_PRECISION_HINT": "f32"})
        except Exception as error:  # openvino raises plain RuntimeError for all that can be wrong
            raise ProfileError(f"{path}: OpenVINO {version} cannot load this network ({error})") from error
        self.request = self.compiled.create_infer_request()

    def __call__(self, **inputs: NDArray[Any]) -> list[NDArray[Any]]:
        results = self.request.infer(inputs)
        return [results[port].copy() for port in self.compiled.outputs]

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the file declares them."""
        sides = [tuple(TensorSpec.of(port.get_any_name(), _lengths(port.get_partial_shape()),
                                     _DTYPES.get(port.get_element_type().get_type_name(),
                                                 port.get_element_type().get_type_name()))
                       for port in side) for side in (self.compiled.inputs, self.compiled.outputs)]
        return Signature(sides[0], sides[1])


class OpenVinoBackend:
    """Compiles networks for the CPU.

    Args:
        threads: threads of the networks; 0 uses all cores this process may run on.

    Raises BackendUnavailableError when openvino is not installed.
    """

    name = "openvino"

    def __init__(self, threads: int = 0) -> None:
        if threads < 0:
            raise ValueError(f"threads={threads}: expected 0 (all cores) or a positive number")
        try:
            openvino = importlib.import_module("openvino")
        except ImportError as error:
            raise BackendUnavailableError(
                f".xml networks need the package openvino, which cannot be imported here ({error}); "
                "pip install openvino, or use the network's .onnx") from error
        self.threads = threads or len(os.sched_getaffinity(0))
        self.version = str(openvino.__version__)
        self._core = openvino.Core()

    def load(self, path: Path) -> OpenVinoNetwork:
        return OpenVinoNetwork(self._core, self.version, path, self.threads)


def _lengths(shape: Any) -> list[int | None]:
    if shape.rank.is_dynamic:
        return []
    return [None if length.is_dynamic else length.get_length() for length in shape]
