"""What calls TensorRT and pycuda, and all that does: everything about engines that a machine without a GPU cannot run.

No object of TensorRT is made before the driver was asked for a GPU: without one its runtime crashes the process. CUDA
is used on the device's primary context, which torch, onnxruntime and our kernels share; it is retained through pycuda,
made current for the time of a call and whenever something on the device is freed, in whatever thread that happens:
pycuda frees nothing of a context that is not current. ``pycuda.autoinit`` is never imported. Written for TensorRT 10
(its names were checked against the bindings of 10.16); no engine has been built with it by us yet.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import re
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from duoview.backends import nvidia
from duoview.backends.engine import EngineMachine, Ranges
from duoview.errors import BackendUnavailableError, EngineError

Array = NDArray[Any]
_INSTALL = "pip install duoview[gpu]"
_NEWEST_MAJOR = 10
#: CUDA that the oldest TensorRT 10 needs at least; newer ones say it in the names of their packages.
_OLDEST_CUDA = 11


@dataclass(frozen=True)
class Progress:
    """A phase of a build: its name, the phase that it is a part of (empty for none), steps done and in all."""

    phase: str
    parent: str
    done: int
    steps: int


@dataclass(frozen=True)
class Built:
    """A plan, and the timings of kernels that it was chosen by."""

    plan: bytes
    timing: bytes


class Execution(Protocol):
    """One stream's use of an engine; not for two threads at once."""

    def __call__(self, profile: int, inputs: Mapping[str, Array]) -> dict[str, Array]: ...

    def close(self) -> None: ...


class Engine(Protocol):
    """A plan that was read; its weights are there once for all executions."""

    def execution(self) -> Execution: ...


class Toolkit(Protocol):
    """Builds and opens engines on one machine."""

    machine: EngineMachine

    def build(self, model: bytes, profiles: Sequence[Ranges], timing: bytes, level: int,
              tell: Callable[[Progress], None]) -> Built: ...

    def open(self, plan: bytes) -> Engine: ...


def unavailable(index: int = 0) -> str:
    """Why TensorRT cannot be used here, as far as that shows without it; empty where it may be."""
    found = nvidia.driver(index=index)
    if found.problem:
        return f"NVIDIA driver: {found.problem}"
    for package in ("tensorrt", "pycuda.driver"):
        try:
            module = importlib.import_module(package)
        except (ImportError, OSError) as error:
            return f"{package.partition('.')[0]} cannot be imported ({error}); {_INSTALL}"
        if package == "tensorrt" and int(str(module.__version__).partition(".")[0]) != _NEWEST_MAJOR:
            return f"tensorrt {module.__version__} is there, expected {_NEWEST_MAJOR}.x; {_INSTALL}"
    needed = needed_cuda()
    if found.version < 1000 * needed:
        return (f"NVIDIA driver: it supports CUDA up to {found.version // 1000}.{found.version % 1000 // 10}, and this "
                f"tensorrt needs CUDA {needed}: the driver is too old")
    return ""


def needed_cuda() -> int:
    """Major version of CUDA that the installed tensorrt was made for, by the packages that its own one asks for."""
    try:
        wanted = importlib.metadata.requires("tensorrt") or []
    except importlib.metadata.PackageNotFoundError:
        return _OLDEST_CUDA
    found = [int(match[1]) for line in wanted if (match := re.match(r"tensorrt[-_]cu(\d\d)", line))]
    return min(found, default=_OLDEST_CUDA)


class TensorRt:
    """TensorRT on one GPU.

    Raises BackendUnavailableError naming what is missing: driver, GPU, tensorrt or pycuda.
    """

    def __init__(self, index: int = 0) -> None:
        missing = unavailable(index)
        if missing:
            raise BackendUnavailableError(f"device 'tensorrt': {missing}; use device 'cpu', 'cuda' or 'auto'")
        self._trt: Any = importlib.import_module("tensorrt")
        self._cuda: Any = importlib.import_module("pycuda.driver")
        found = nvidia.driver(index=index)
        self.machine = EngineMachine(str(self._trt.__version__), found.version, found.name,
                                     "{}.{}".format(*found.capability), found.processors)
        with self.errors():
            self._cuda.init()
            self._retained = self._cuda.Device(index).retain_primary_context()
        self._logger = _logger(self._trt)
        self._runtime: Any = None

    @contextmanager
    def errors(self) -> Iterator[None]:
        """Errors of the CUDA driver as ours: a lost device, too little memory."""
        try:
            yield
        except self._cuda.Error as error:
            raise EngineError(f"device 'tensorrt': {type(error).__name__} of the CUDA driver: {error}") from error

    @contextmanager
    def current(self) -> Iterator[None]:
        """The primary context, current in this thread."""
        with self.errors():
            self._retained.push()
            try:
                yield
            finally:
                self._cuda.Context.pop()

    def failed(self, what: str) -> EngineError:
        """The error for a call that gave nothing, with what TensorRT logged about it."""
        said = "; ".join(self._logger.take()) or "it logged nothing"
        return EngineError(f"TensorRT {self.machine.tensorrt} {what}: {said}")

    @contextmanager
    def fresh(self) -> Iterator[None]:
        """The context current, and nothing in the log from before. An error keeps nothing of the device alive."""
        with self.current():
            self._logger.take()
            try:
                yield
            except BaseException as error:
                traceback.clear_frames(error.__traceback__)
                raise

    def _made(self, kind: Any) -> Any:
        """A builder or a runtime. Its constructor gives nothing where TensorRT cannot work with the driver."""
        try:
            return kind(self._logger)
        except TypeError as error:
            raise self.failed(f"gives no {kind.__name__} ({error}; is the driver too old for it?)") from error

    def build(self, model: bytes, profiles: Sequence[Ranges], timing: bytes, level: int,
              tell: Callable[[Progress], None]) -> Built:
        """Builds a plan of an ONNX file, strongly typed: each tensor has the type that the file says, and no other.

        So float32 networks stay float32 and those exported in float16 or 8 bits are built in these; TensorRT's older
        flags for them are deprecated and let it choose by speed. TF32 is off: exact networks would bear it, pictures
        would not be the CPU's.
        """
        with self.fresh():
            return self._build(model, profiles, timing, level, tell)

    def _build(self, model: bytes, profiles: Sequence[Ranges], timing: bytes, level: int,
               tell: Callable[[Progress], None]) -> Built:
        """Within a function of its own, so that what it made is freed while the context is current."""
        trt = self._trt
        builder = self._made(trt.Builder)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse(model):
            said = "; ".join(f"{parser.get_error(n).node_operator()} {parser.get_error(n).node_name()}: "
                             f"{parser.get_error(n).desc()}" for n in range(parser.num_errors))
            raise EngineError(f"TensorRT {self.machine.tensorrt} cannot read the network: "
                              f"{said or 'no reason given'}")
        config = builder.create_builder_config()
        config.clear_flag(trt.BuilderFlag.TF32)
        config.builder_optimization_level = level
        monitor = _monitor(trt, tell)
        config.progress_monitor = monitor
        cache = config.create_timing_cache(timing)
        if cache is None or not config.set_timing_cache(cache, False):
            cache = config.create_timing_cache(b"")  # damaged, or of another machine: begin anew
            config.set_timing_cache(cache, False)
        for ranges in profiles:
            profile = builder.create_optimization_profile()
            for one in ranges:
                profile.set_shape(one.name, one.low, one.best, one.high)
            if config.add_optimization_profile(profile) < 0:
                raise self.failed(f"does not take the shapes {', '.join(map(str, ranges))}")
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise self.failed("built no engine")
        return Built(bytes(plan), bytes(config.get_timing_cache().serialize()))

    def open(self, plan: bytes) -> TensorRtEngine:
        """Reads a plan. Raises EngineError."""
        with self.fresh():
            if self._runtime is None:
                self._runtime = self._made(self._trt.Runtime)
            engine = self._runtime.deserialize_cuda_engine(plan)
        if engine is None:
            raise self.failed("cannot read this engine")
        return TensorRtEngine(self, engine)


class TensorRtEngine:
    """An ICudaEngine and the toolkit that it belongs to."""

    def __init__(self, toolkit: TensorRt, engine: Any) -> None:
        self.toolkit, self.engine = toolkit, engine

    def execution(self) -> TensorRtExecution:
        """A new context and stream."""
        return TensorRtExecution(self.toolkit, self.engine)

    def __del__(self) -> None:
        with suppress(Exception), self.toolkit.current():  # at the end of the process there may be no driver any more
            self.engine = None


class TensorRtExecution:
    """An execution context with a stream and device memory of its own, which grows with the shapes.

    Raises EngineError for an engine that takes or gives values in the memory of the host.
    """

    def __init__(self, toolkit: TensorRt, engine: Any) -> None:
        self._toolkit, self._engine, self._trt, self._cuda = toolkit, engine, toolkit._trt, toolkit._cuda
        self._context: Any = None
        self._stream: Any = None
        self._memory: dict[str, tuple[Any, int]] = {}
        names = [engine.get_tensor_name(n) for n in range(engine.num_io_tensors)]
        self._outputs = [name for name in names if engine.get_tensor_mode(name) == self._trt.TensorIOMode.OUTPUT]
        for name in names:
            if engine.get_tensor_location(name) != self._trt.TensorLocation.DEVICE:
                raise EngineError(f"TensorRT {toolkit.machine.tensorrt} wants {name} in the host's memory, as what "
                                  "sets shapes; networks of profiles have no such input or output")
        with toolkit.fresh():
            self._context = engine.create_execution_context()
            self._stream = self._cuda.Stream()
        if self._context is None:
            raise toolkit.failed("gives no execution context (is the GPU's memory full?)")

    def close(self) -> None:
        """Frees memory, stream and context, in any thread; the engine stays as long as others have it."""
        with suppress(Exception), self._toolkit.current():  # as above; a lost device has nothing left to free
            memory, self._memory = self._memory, {}
            while memory:
                memory.popitem()[1][0].free()
            self._context = self._stream = self._engine = None

    def __del__(self) -> None:
        self.close()

    def __call__(self, profile: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Outputs by name, in the plan's types. Raises EngineError for what TensorRT or the driver refuse."""
        with self._toolkit.fresh():
            return self._run(profile, inputs)

    def _run(self, profile: int, inputs: Mapping[str, Array]) -> dict[str, Array]:
        context, stream = self._context, self._stream
        if context.active_optimization_profile != profile:
            if not context.set_optimization_profile_async(profile, stream.handle):
                raise self._toolkit.failed(f"does not switch to shapes {profile}")
            stream.synchronize()
        kept = []  # the copies read host memory until the stream was waited for
        for name, value in inputs.items():
            contiguous = np.ascontiguousarray(value, dtype=self._trt.nptype(self._engine.get_tensor_dtype(name)))
            kept.append(contiguous)
            if not context.set_input_shape(name, tuple(contiguous.shape)):
                raise self._toolkit.failed(f"does not take {name} of shape {contiguous.shape}")
            pointer = self._bound(name, contiguous.nbytes)
            self._cuda.memcpy_htod_async(pointer, contiguous, stream)
        lacking = context.infer_shapes()
        if lacking:
            raise self._toolkit.failed(f"lacks shapes of {', '.join(lacking)}")
        found = {}
        for name in self._outputs:
            shape = tuple(context.get_tensor_shape(name))
            if min(shape, default=1) < 0:
                raise self._toolkit.failed(f"does not say the shape of {name} ({shape})")
            found[name] = np.empty(shape, self._trt.nptype(self._engine.get_tensor_dtype(name)))
            self._bound(name, found[name].nbytes)
        if not context.execute_async_v3(stream.handle):
            raise self._toolkit.failed("did not run")
        for name, value in found.items():
            self._cuda.memcpy_dtoh_async(value, self._memory[name][0], stream)
        stream.synchronize()
        return found

    def _bound(self, name: str, size: int) -> Any:
        """Device memory of at least `size` bytes for a tensor, told to the context."""
        pointer, held = self._memory.get(name, (None, 0))
        if pointer is None or held < size:
            if pointer is not None:
                del self._memory[name]
                pointer.free()
            pointer = self._cuda.mem_alloc(max(size, 1))
            self._memory[name] = (pointer, size)
        if not self._context.set_tensor_address(name, int(pointer)):
            raise self._toolkit.failed(f"does not take memory for {name}")
        return pointer


def _logger(trt: Any) -> Any:
    """A logger that keeps errors for our messages and drops the rest."""

    class Logger(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self._errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self._errors.append(" ".join(message.split()))

        def take(self) -> list[str]:
            """What was logged since the last time."""
            errors, self._errors = self._errors, []
            return errors

    return Logger()


def _monitor(trt: Any, tell: Callable[[Progress], None]) -> Any:
    """A progress monitor that passes phases on. TensorRT calls it from threads of its own."""

    class Monitor(trt.IProgressMonitor):
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)
            self._phases: dict[str, tuple[str, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = (parent_phase or "", num_steps)
            tell(Progress(phase_name, parent_phase or "", 0, num_steps))

        def step_complete(self, phase_name: str, step: int) -> bool:
            parent, steps = self._phases.get(phase_name, ("", 0))
            tell(Progress(phase_name, parent, step + 1, steps))
            return True

        def phase_finish(self, phase_name: str) -> None:
            parent, steps = self._phases.pop(phase_name, ("", 0))
            tell(Progress(phase_name, parent, steps, steps))

    return Monitor()
