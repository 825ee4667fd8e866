"""onnxruntime on the CPU: the default backend everywhere."""

from __future__ import annotations

import os
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from numpy.typing import NDArray

from duoview.backends.signature import Signature, TensorSpec
from duoview.errors import ProfileError

# onnxruntime 1.30 and later write files and phone home at import unless told not to; a user's own setting wins.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

import onnxruntime

Array = NDArray[Any]
#: Where onnxruntime's names of types are not numpy's.
_KINDS = {"float": "float32", "double": "float64"}
DEVICES = ("auto", "cpu", "cuda", "tensorrt")
#: How long a thread waits awake for the next operator of a network: to wake it takes longer than many operators. Two
#: streams of two threads on two cores gain as one does, four lose some 10 %; with 100 and more two lose already.
#: onnxruntime knows the setting from 1.26 on.
SPIN_MICROSECONDS, SPIN_VERSION = 30, (1, 26)
#: Graph optimisations of onnxruntime, each level with those before it.
OPTIMISATIONS = {
    "none": onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL,
    "basic": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC,
    "extended": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED,
    "layout": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_LAYOUT,
    "all": onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL,
}


class Network(Protocol):
    """A loaded network: named numpy arrays in, a list of numpy arrays out, in the order of the graph's outputs."""

    def __call__(self, **inputs: Array) -> list[Array]: ...


class Backend(Protocol):
    """Loads the networks of a profile for one device."""

    name: str

    def load(self, path: Path) -> Network: ...


@runtime_checkable
class IdentifiedBackend(Protocol):
    """A backend that says which others load the same networks as it does."""

    @property
    def identity(self) -> Hashable | None:
        """Equal for backends whose networks may stand for each other; None where networks are not shared."""


class CpuNetwork:
    """One onnxruntime session on the CPU. Raises ProfileError when the file holds no network that it can run."""

    def __init__(self, path: Path, options: onnxruntime.SessionOptions) -> None:
        try:
            self.session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no nearer base class in common
            raise ProfileError(f"{path}: onnxruntime {onnxruntime.__version__} cannot load this network ({error})"
                               ) from error
        self.path = path

    def __call__(self, **inputs: Array) -> list[Array]:
        """Raises ProfileError where the file has other inputs than those that are given."""
        try:
            outputs: list[Array] = self.session.run(None, inputs)
        except Exception:
            check_inputs(self.session, inputs, self.path)
            raise
        return outputs

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the file declares them, and its metadata."""
        return signature_of(self.session)


def check_inputs(session: onnxruntime.InferenceSession, given: Mapping[str, Array], path: Path) -> None:
    """Raises ProfileError unless a session's inputs have the names, types and ranks of what it is given, and no others.

    Fixed lengths count as well.
    """
    signature = signature_of(session)
    have = ", ".join(f"{name} {value.dtype} {value.shape}" for name, value in given.items()) or "nothing"
    wrong = "not the network that its name says, or made for another profile"
    if set(given) - {spec.name for spec in signature.inputs}:
        takes = "; ".join(map(str, signature.inputs)) or "nothing"
        raise ProfileError(f"{path}: takes {takes} and nothing else; it is given {have}: {wrong}")
    for spec in signature.inputs:
        value = given.get(spec.name)
        kind = _KINDS.get(spec.dtype, spec.dtype)
        if value is None or value.dtype.name != kind or value.ndim != len(spec.shape) or any(
                wanted not in (None, found) for wanted, found in zip(spec.shape, value.shape, strict=True)):
            raise ProfileError(f"{path}: takes {spec}; it is given {have}: {wrong}")


def signature_of(session: onnxruntime.InferenceSession) -> Signature:
    """Inputs, outputs and metadata of a session's file."""
    sides = [tuple(TensorSpec.of(item.name, item.shape, item.type.removeprefix("tensor(").removesuffix(")"))
                   for item in side) for side in (session.get_inputs(), session.get_outputs())]
    metadata = session.get_modelmeta().custom_metadata_map
    return Signature(sides[0], sides[1], tuple(sorted((str(k), str(v)) for k, v in metadata.items())))


def _version() -> tuple[int, int]:
    """Of onnxruntime, major and minor."""
    major, minor = onnxruntime.__version__.split(".")[:2]
    return int(major), int(minor)


class CpuBackend:
    """Makes sessions with a given number of threads.

    Args:
        threads: intra-op threads; 0 uses all cores this process may run on.
        optimise: a key of OPTIMISATIONS; less than all only to show that exact networks do not depend on them.
    """

    name = "cpu"

    def __init__(self, threads: int = 0, *, optimise: str = "all") -> None:
        if threads < 0:
            raise ValueError(f"threads={threads}: expected 0 (all cores) or a positive number")
        if optimise not in OPTIMISATIONS:
            raise ValueError(f"optimise={optimise!r}: expected one of {', '.join(OPTIMISATIONS)}")
        self.threads = threads or len(os.sched_getaffinity(0))
        self.optimise = optimise

    @property
    def identity(self) -> Hashable | None:
        """What its networks depend on beside their files. A class made of this one may load others: it shares none."""
        return (CpuBackend, self.threads, self.optimise) if type(self) is CpuBackend else None

    def load(self, path: Path) -> CpuNetwork:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.graph_optimization_level = OPTIMISATIONS[self.optimise]
        # Every network has a pool of its own; threads that spin between two networks would take the cores of the next,
        # and those that spin for long within one the cores of other streams.
        spin = SPIN_MICROSECONDS if _version() >= SPIN_VERSION else 0
        options.add_session_config_entry("session.intra_op.allow_spinning", str(int(spin > 0)))
        options.add_session_config_entry("session.intra_op.spin_duration_us", str(spin))
        options.add_session_config_entry("session.force_spinning_stop", "1")
        # Sizes change from stream to stream; a memory pattern per size would only hold on to memory.
        options.enable_mem_pattern = False
        # Looked through once, optimisations leave pairs of QuantizeLinear and DequantizeLinear behind transpositions
        # that others have moved: a twentieth of the time of P frames' synthesis in 8 bits.
        options.add_session_config_entry("session.graph_optimizations_loop_level", "2")
        return CpuNetwork(path, options)


def open_backend(device: str | Backend, threads: int = 0) -> Backend:
    """The backend for a device name; a Backend is taken as it is. Networks of equal ones are shared.

    Raises BackendUnavailableError when a named device cannot be had, ValueError for an unknown name.
    """
    if not isinstance(device, str):
        return device
    if device not in DEVICES:
        raise ValueError(f"device={device!r}: expected one of {', '.join(DEVICES)}")
    if device in ("auto", "cpu"):
        return CpuBackend(threads)
    if device == "cuda":
        from duoview.backends.onnxruntime_cuda import CudaBackend  # it needs this module

        return CudaBackend()
    from duoview.backends.tensorrt_cuda import TensorRtBackend

    return TensorRtBackend()
