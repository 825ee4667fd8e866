"""TensorRT on an NVIDIA GPU: networks run as engines that ``duoview engines build`` made for a picture size.

Nothing is built here: a network without an engine for this GPU, TensorRT and size is an error that names the command.
Before an engine is used for the first time in a process, it is compared with what the CPU gave when it was built.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Hashable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from duoview.backends.engine import KINDS, EngineHeader, Shape
from duoview.backends.engine_cache import EngineCache, mismatch
from duoview.backends.engine_shapes import BUILDABLE
from duoview.backends.onnxruntime_cpu import CpuBackend
from duoview.backends.signature import Signature, TensorSpec
from duoview.backends.tensorrt_toolkit import Engine, Execution, TensorRt, Toolkit
from duoview.errors import EngineError, EngineFileError, EngineMismatchError

Array = NDArray[Any]
_BUILD = "duoview engines build -size WIDTHxHEIGHT"


def as_declared(outputs: Mapping[str, Array], declared: Sequence[tuple[str, str]], name: str) -> list[Array]:
    """An engine's outputs in the order and types of the ONNX file: TensorRT has no int16, engines give int32.

    Raises EngineError where one is missing.
    """
    missing = [output for output, _ in declared if output not in outputs]
    if missing:
        raise EngineError(f"{name}: its engine has no output {', '.join(missing)}; build it anew")
    return [np.asarray(outputs[output]).astype(KINDS[kind], copy=False) for output, kind in declared]


def check_engine(engine: Engine, header: EngineHeader, where: str) -> None:
    """Golden inference. Raises EngineError unless the engine gives what the CPU gave, at the engine's own shapes."""
    golden = header.golden
    try:
        cases = golden.inputs()
    except (KeyError, TypeError, ValueError) as error:
        raise EngineFileError(f"{where}: damaged header: no golden inputs ({type(error).__name__}: {error})") from None
    execution = engine.execution()
    try:
        outputs = [as_declared(execution(0, inputs), golden.outputs, header.name) for inputs in cases]
    finally:
        execution.close()
    problem = golden.problem(outputs, header.identity.precision)
    if problem:
        raise EngineError(f"{where}: {problem}; it is not used (duoview engines prune removes it)")


class TensorRtBackend:
    """Runs engines of one folder on one GPU. All networks that it loads share what it has opened.

    Args:
        index: the GPU, counted as the CUDA driver does. cache: None for the default folder. toolkit: what calls
            TensorRT; None for TensorRT itself.

    Raises BackendUnavailableError naming what is missing: driver, GPU, tensorrt or pycuda.
    """

    name = "tensorrt"

    def __init__(self, index: int = 0, *, cache: EngineCache | None = None, toolkit: Toolkit | None = None) -> None:
        self._index = index if toolkit is None else None
        self.toolkit: Toolkit = toolkit if toolkit is not None else TensorRt(index)
        self.cache = cache if cache is not None else EngineCache()
        self._opened: dict[Path, Engine] = {}
        self._lock = threading.Lock()

    @property
    def identity(self) -> Hashable | None:
        """What its networks depend on beside their files; of a toolkit that was given nothing is known."""
        if type(self) is not TensorRtBackend or self._index is None:
            return None
        folder = self.cache.folder
        # An engine that is built later changes the folder: who opens then gets it too.
        return (TensorRtBackend, self._index, folder.resolve(), folder.stat().st_mtime_ns if folder.is_dir() else 0)

    def load(self, path: Path) -> TensorRtNetwork:
        """The network of an ONNX file.

        Raises EngineMismatchError where all its engines are for something else, EngineError where it has none,
        ProfileError for a file that holds no network.
        """
        signature = CpuBackend(1).load(path).signature
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
        known = self.cache.of_network(digest)
        usable = [(file, header) for file, header in known
                  if header.identity.machine == self.toolkit.machine]
        if not usable:
            here = self.toolkit.machine
            if known:
                file, header = known[0]
                raise EngineMismatchError(
                    f"{path.stem}: {file} was built with {mismatch(header.identity.machine, here)}; {_BUILD}")
            advice = _BUILD if path.stem in BUILDABLE else (
                "engines are made of a profile's networks alone; use device 'cuda' or 'cpu' for others")
            raise EngineError(f"{path.stem}: no engine of {path} (sha256 {digest[:12]}...) in {self.cache.folder} for "
                              f"{here.device}, TensorRT {here.tensorrt}; {advice}")
        return TensorRtNetwork(self, path.stem, signature, usable)

    def open(self, file: Path) -> Engine:
        """The engine of a file, compared with its golden outputs when it is opened. Raises EngineError."""
        with self._lock:
            if file not in self._opened:
                header, plan = self.cache.read(file)
                if header.identity.machine != self.toolkit.machine:
                    raise EngineMismatchError(f"{file} was built with "
                                              f"{mismatch(header.identity.machine, self.toolkit.machine)}; {_BUILD}")
                engine = self.toolkit.open(plan)
                check_engine(engine, header, str(file))
                self._opened[file] = engine
            return self._opened[file]


class TensorRtNetwork:
    """A network with engines for some shapes; each is opened at the first call with its shapes.

    An engine with the fixed shape of a call goes before one whose range holds it, of several the one built last. Calls
    from several threads come one after another.
    """

    def __init__(self, backend: TensorRtBackend, name: str, signature: Signature,
                 engines: list[tuple[Path, EngineHeader]]) -> None:
        self.backend, self.name, self._signature, self._engines = backend, name, signature, engines
        self._executions: dict[Path, Execution] = {}
        self._lock = threading.Lock()

    @property
    def signature(self) -> Signature:
        """Inputs and outputs as the ONNX file declares them, and its metadata."""
        return self._signature

    def __call__(self, **inputs: Array) -> list[Array]:
        """Raises EngineError where no engine takes inputs of these shapes, and where the GPU fails."""
        values = {name: np.asarray(value) for name, value in inputs.items()}
        self._check_types(values)
        file, profile = self._chosen({name: value.shape for name, value in values.items()})
        declared = [(spec.name, spec.dtype) for spec in self._signature.outputs]
        with self._lock:
            if file not in self._executions:
                self._executions[file] = self.backend.open(file).execution()
            return as_declared(self._executions[file](profile, values), declared, self.name)

    def verify(self) -> None:
        """Opens all its engines, which compares them with the CPU. Raises EngineError."""
        for file, _ in self._engines:
            self.backend.open(file)

    def _check_types(self, values: Mapping[str, Array]) -> None:
        specs: dict[str, TensorSpec] = {spec.name: spec for spec in self._signature.inputs}
        if specs.keys() != values.keys():
            raise ValueError(f"{self.name}: inputs {', '.join(sorted(values)) or 'none'}; expected "
                             f"{', '.join(specs)}")
        for name, value in values.items():
            wanted = np.dtype(KINDS[specs[name].dtype])
            if value.dtype != wanted:
                raise ValueError(f"{self.name}: input {name} is {value.dtype}, expected {wanted}")

    def _chosen(self, shapes: Mapping[str, Shape]) -> tuple[Path, int]:
        fits = [(-number, header.built, file) for file, header in self._engines
                if (number := header.identity.profile_for(shapes)) is not None]
        if not fits:
            given = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items())
            have = "; ".join(sorted({", ".join(map(str, header.identity.profiles[0])) for _, header in self._engines}))
            raise EngineError(f"{self.name}: no engine for {given}; there are engines for {have}; {_BUILD}")
        number, _, file = max(fits)
        return file, -number
