"""TensorRT inside onnxruntime: the second way to it, for machines without pycuda, or sizes nobody built engines for.

onnxruntime's provider builds an engine in this process when it first meets a shape, and keeps it in a folder, without
golden outputs of ours. So exact networks do not go there: they run in onnxruntime's CUDA provider, in float32 without
TF32, for which TensorRT's provider has no switch. Of float networks, what TensorRT does not take runs in the CUDA
provider, and nothing on the CPU. This has not run on a GPU yet.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Hashable
from pathlib import Path

import onnxruntime

from duoview.backends.engine_cache import check_private, default_folder
from duoview.backends.onnxruntime_cuda import CudaBackend
from duoview.errors import BackendUnavailableError
from duoview.golden import STATE_NETWORKS

TENSORRT_PROVIDER = "TensorrtExecutionProvider"
#: Exact networks of a profile, those of the texture layer among them.
EXACT = frozenset(("key_hyper", "key_context", "inter_hyper", "inter_context", "texture_features",
                   "texture_means", "texture_prior"))
#: The libraries that the provider opens, by the first of their names that there may be.
LIBRARIES = ("libnvinfer.so.10", "libnvonnxparser.so.10")


def _has_golden(path: Path) -> bool:
    """True for a network's file whose profile has golden vectors of it: one that is exact there, not everywhere."""
    manifest = path.with_name("profile.json")
    return manifest.is_file() and path.stem in json.loads(manifest.read_bytes())["golden"]


def missing_libraries(libraries: tuple[str, ...] = LIBRARIES) -> list[str]:
    """Those of TensorRT's libraries that cannot be opened. No runtime is made of them."""
    absent = []
    for library in libraries:
        try:
            ctypes.CDLL(library)
        except OSError:
            absent.append(library)
    return absent


def tensorrt_options(index: int, folder: Path, *, half: bool = False) -> dict[str, str]:
    """Options of TensorRT's provider: engines and timings are kept in ``folder``, which only this user may write."""
    return {
        "device_id": str(index),
        "trt_fp16_enable": str(int(half)),
        "trt_int8_enable": "0",
        "trt_engine_cache_enable": "1",
        "trt_engine_cache_path": str(folder),
        "trt_timing_cache_enable": "1",
        "trt_timing_cache_path": str(folder),
        "trt_builder_optimization_level": "3",
        # Two streams that meet a new size at once would measure each other's kernels.
        "trt_force_sequential_engine_build": "1",
    }


class OnnxRuntimeTensorRtBackend(CudaBackend):
    """Float networks through TensorRT's provider of onnxruntime, exact ones through its CUDA provider.

    Args:
        index: the GPU, counted as the CUDA driver does. folder: of engines; None for ``onnxruntime`` in the default
            folder of engines. half: TensorRT may compute in float16 where that is faster.

    Raises BackendUnavailableError naming what is missing: driver, GPU, provider, or TensorRT's libraries.
    """

    name = "onnxruntime-tensorrt"

    def __init__(self, index: int = 0, *, folder: Path | None = None, half: bool = False) -> None:
        super().__init__(index)  # the driver first: TensorRT without one ends the process
        if TENSORRT_PROVIDER not in onnxruntime.get_available_providers():
            raise BackendUnavailableError(
                f"device 'tensorrt' through onnxruntime: onnxruntime {onnxruntime.__version__} lacks "
                f"{TENSORRT_PROVIDER}; pip install duoview[gpu] in an environment without plain onnxruntime")
        absent = missing_libraries()
        if absent:
            raise BackendUnavailableError(
                f"device 'tensorrt' through onnxruntime: {', '.join(absent)} cannot be opened; pip install tensorrt, "
                "and put the folder of its libraries on LD_LIBRARY_PATH")
        self.folder, self.half = folder or default_folder() / "onnxruntime", half
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(self.folder)
        if not os.access(self.folder, os.W_OK):
            raise BackendUnavailableError(f"{self.folder}: engines cannot be kept there; give another folder")

    @property
    def identity(self) -> Hashable | None:
        """What its networks depend on beside their files."""
        if type(self) is not OnnxRuntimeTensorRtBackend:
            return None
        return (OnnxRuntimeTensorRtBackend, self.index, self.folder.resolve(), self.half)

    def providers(self, path: Path) -> list[tuple[str, dict[str, str]]]:
        """TensorRT before CUDA; for an exact network CUDA alone."""
        cuda = super().providers(path)
        if path.stem in EXACT or (path.stem in STATE_NETWORKS and _has_golden(path)):
            return cuda
        return [(TENSORRT_PROVIDER, tensorrt_options(self.index, self.folder, half=self.half)), *cuda]
