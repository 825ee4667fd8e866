"""Stand-ins for the modules tensorrt and pycuda.driver with the names of TensorRT 10.16's bindings and pycuda 2026.1.

Only names that these have are here, with their arguments: a name that they lack is an AttributeError in the tests. What
they do is as little as the toolkit can be run with; plans are ONNX files and run under onnxruntime.
"""

from __future__ import annotations

import enum
import threading
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import onnxruntime

__version__ = "10.16.1.11"
Kinds = {"tensor(float)": np.float32, "tensor(uint8)": np.uint8, "tensor(int32)": np.int32, "tensor(int64)": np.int64}

class State(threading.local):
    """What threads do not share: the depth of the stack of contexts."""

    current = 0


stack = State()
#: What tests read and set: a call that shall fail, device memory by address, what was freed where it cannot be.
state = SimpleNamespace(stack=stack, fail="", device={}, log=None, config=None, leaked=[])


def in_context(what: str) -> None:
    assert stack.current == 1, f"{what} is used outside the primary context"


class OnDevice:
    """What cannot be freed but with the context current; pycuda and TensorRT leak it then, or end the process."""

    def __del__(self) -> None:
        if stack.current != 1:
            state.leaked.append(type(self).__name__)


class Severity(enum.IntEnum):
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = range(5)


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING, INFO, VERBOSE = Severity

    def __init__(self) -> None:
        state.log = self


class IProgressMonitor:
    def __init__(self) -> None:
        pass


class BuilderFlag(enum.IntEnum):
    TF32 = 6


class NetworkDefinitionCreationFlag(enum.IntEnum):
    STRONGLY_TYPED = 1


class TensorIOMode(enum.Enum):
    NONE, INPUT, OUTPUT = range(3)


class TensorLocation(enum.IntEnum):
    DEVICE, HOST = range(2)


def nptype(kind: str) -> Any:
    return Kinds[kind]


class INetworkDefinition:
    model = b""


class ParserError:
    def desc(self) -> str:
        return "it is not a network"

    def node_name(self) -> str:
        return "conv.3"

    def node_operator(self) -> str:
        return "Conv"


class OnnxParser:
    def __init__(self, network: INetworkDefinition, logger: ILogger) -> None:
        self.network = network
        self.num_errors = 0

    def parse(self, model: bytes, path: str | None = None) -> bool:
        self.network.model = bytes(model)
        self.num_errors = int(state.fail == "parse")
        return state.fail != "parse"

    def get_error(self, index: int) -> ParserError:
        return ParserError()


class IOptimizationProfile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, Any, Any]] = {}

    def set_shape(self, input: str, min: Any, opt: Any, max: Any) -> None:
        self.shapes[input] = (min, opt, max)


class ITimingCache:
    def __init__(self, data: bytes) -> None:
        self.data = data

    def serialize(self) -> bytes:
        return self.data + b"more"


class IBuilderConfig:
    __slots__ = ("_cache", "_flags", "_profiles", "builder_optimization_level", "progress_monitor")

    progress_monitor: Any

    def __init__(self) -> None:
        self._flags = {BuilderFlag.TF32}
        self._profiles: list[IOptimizationProfile] = []
        state.config = self

    def clear_flag(self, flag: BuilderFlag) -> None:
        self._flags.remove(flag)

    def create_timing_cache(self, serialized_timing_cache: bytes) -> ITimingCache | None:
        if serialized_timing_cache == b"damaged":
            return None
        return ITimingCache(bytes(serialized_timing_cache))

    def set_timing_cache(self, cache: ITimingCache, ignore_mismatch: bool) -> bool:
        if cache.data == b"of another GPU":
            return False
        self._cache = cache
        return True

    def get_timing_cache(self) -> ITimingCache:
        return self._cache

    def add_optimization_profile(self, profile: IOptimizationProfile) -> int:
        self._profiles.append(profile)
        return -1 if state.fail == "profile" else len(self._profiles) - 1


class Builder(OnDevice):
    def __new__(cls, logger: ILogger) -> Builder:
        in_context("Builder")
        if state.fail == "builder":
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return super().__new__(cls)

    def create_network(self, flags: int = 0) -> INetworkDefinition:
        assert flags == 2
        return INetworkDefinition()

    def create_builder_config(self) -> IBuilderConfig:
        return IBuilderConfig()

    def create_optimization_profile(self) -> IOptimizationProfile:
        return IOptimizationProfile()

    def build_serialized_network(self, network: INetworkDefinition, config: IBuilderConfig) -> bytes | None:
        monitor = config.progress_monitor
        monitor.phase_start("Building", None, 2)
        monitor.phase_start("Timing", "Building", 1)
        assert monitor.step_complete("Timing", 0) is True
        monitor.phase_finish("Timing")
        monitor.phase_finish("Building")
        if state.fail == "build":
            state.log.log(Severity.ERROR, "no\nmemory")
            state.log.log(Severity.WARNING, "a warning")
            return None
        return network.model


class ICudaEngine(OnDevice):
    def __init__(self, plan: bytes) -> None:
        self._contexts = 0
        graph = onnx.load_from_string(plan).graph
        self._inputs = [value.name for value in graph.input]
        self._session = onnxruntime.InferenceSession(plan, providers=["CPUExecutionProvider"])
        self._tensors = [*self._session.get_inputs(), *self._session.get_outputs()]

    @property
    def num_io_tensors(self) -> int:
        return len(self._tensors)

    def get_tensor_name(self, index: int) -> str:
        return self._tensors[index].name

    def get_tensor_mode(self, name: str) -> TensorIOMode:
        return TensorIOMode.INPUT if name in self._inputs else TensorIOMode.OUTPUT

    def get_tensor_dtype(self, name: str) -> str:
        return next(one.type for one in self._tensors if one.name == name)

    def get_tensor_location(self, name: str) -> TensorLocation:
        return TensorLocation.HOST if state.fail == "host" else TensorLocation.DEVICE

    def create_execution_context(self) -> IExecutionContext | None:
        in_context("create_execution_context")
        return None if state.fail == "context" else IExecutionContext(self)


class IExecutionContext(OnDevice):
    def __init__(self, engine: ICudaEngine) -> None:
        self._engine = engine
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._addresses: dict[str, int] = {}
        self._profile = -1 if engine._contexts else 0  # only an engine's first context has a profile
        engine._contexts += 1

    @property
    def active_optimization_profile(self) -> int:
        return self._profile

    def set_optimization_profile_async(self, profile_index: int, stream_handle: int) -> bool:
        in_context("set_optimization_profile_async")
        self._profile = profile_index
        return state.fail != "switch"

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        in_context("set_input_shape")
        assert self._profile >= 0, "no optimisation profile was chosen"
        self._shapes[name] = shape
        return state.fail != "shape"

    def set_tensor_address(self, name: str, memory: int) -> bool:
        in_context("set_tensor_address")
        self._addresses[name] = memory
        return state.fail != "address"

    def infer_shapes(self) -> list[str]:
        return ["q"] if state.fail == "infer" else []

    def _run(self) -> dict[str, np.ndarray]:
        inputs = {name: np.frombuffer(state.device[self._addresses[name]], nptype(self._engine.get_tensor_dtype(name)),
                                      int(np.prod(shape))).reshape(shape) for name, shape in self._shapes.items()
                  if name in self._addresses}
        names = [one.name for one in self._engine._session.get_outputs()]
        return dict(zip(names, self._engine._session.run(None, inputs), strict=True))

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        shape = self._run()[name].shape
        return (-1, *shape[1:]) if state.fail == "unknown shape" else shape

    def execute_async_v3(self, stream_handle: int) -> bool:
        in_context("execute_async_v3")
        for name, value in self._run().items():
            put(self._addresses[name], value)
        return state.fail != "run"


class Runtime:
    def __init__(self, logger: ILogger) -> None:
        in_context("Runtime")
        if state.fail == "runtime":
            raise TypeError("pybind11::init(): factory function returned nullptr")

    def deserialize_cuda_engine(self, serialized_engine: bytes) -> ICudaEngine | None:
        in_context("deserialize_cuda_engine")
        return None if state.fail == "open" else ICudaEngine(bytes(serialized_engine))


class Error(Exception):
    pass


class LogicError(Error):
    pass


class Context:
    def push(self) -> None:
        stack.current += 1

    @staticmethod
    def pop() -> None:
        stack.current -= 1


class Device:
    def __init__(self, ordinal: int) -> None:
        pass

    def retain_primary_context(self) -> Context:
        return Context()


class Stream(OnDevice):
    handle = 77

    def __init__(self) -> None:
        in_context("Stream")

    def synchronize(self) -> None:
        in_context("Stream.synchronize")
        if state.fail == "lost":
            raise LogicError("cuStreamSynchronize failed: an illegal memory access was encountered")


class DeviceAllocation(OnDevice):
    def __init__(self, size: int) -> None:
        self._address = 4096 * (max((address // 4096 for address in state.device), default=0) + 1)
        state.device[self._address] = bytearray(size)

    def __int__(self) -> int:
        return self._address

    def free(self) -> None:
        in_context("free")
        del state.device[self._address]


def mem_alloc(bytes: int) -> DeviceAllocation:
    in_context("mem_alloc")
    return DeviceAllocation(bytes)


def put(address: int, value: np.ndarray) -> None:
    """Writes into device memory, never past its end."""
    assert value.nbytes <= len(state.device[address]), f"{value.nbytes} bytes for {len(state.device[address])}"
    state.device[address][: value.nbytes] = value.tobytes()


def memcpy_htod_async(dest: DeviceAllocation, src: Any, stream: Stream) -> None:
    in_context("memcpy_htod_async")
    put(int(dest), src)


def memcpy_dtoh_async(dest: Any, src: DeviceAllocation, stream: Stream) -> None:
    in_context("memcpy_dtoh_async")
    dest[...] = np.frombuffer(state.device[int(src)], dest.dtype, dest.size).reshape(dest.shape)


def init() -> None:
    pass
