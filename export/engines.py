"""Building engines: one child process for each, so that a crash of TensorRT is a line about one network.

The child (``duoview.export.engine_child``) builds, opens what it built, and compares it with the CPU; only a file that
has passed all that is renamed into the cache. What it tells meanwhile comes as lines of JSON on its stdout.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import onnx

from duoview.backends import CpuBackend
from duoview.backends.engine import EngineIdentity, EngineMachine, read_plan
from duoview.backends.engine_cache import EngineCache
from duoview.backends.engine_shapes import BUILDABLE, profiles
from duoview.backends.tensorrt_toolkit import Progress
from duoview.errors import EngineError, EngineFileError
from duoview.export.engine_graph import engine_graph, precision_of
from duoview.golden import STATE_NETWORKS
from duoview.profile import Profile

#: Of the builder, beside the level; part of every identity.
FLAGS = ("strongly typed", "no TF32")
#: `-P`: a folder named duoview where the command is given is not what is run.
CHILD = (sys.executable, "-P", "-m", "duoview.export.engine_child")
#: Lines of a failed child's stderr that are told.
_LAST_LINES = 5


@dataclass(frozen=True)
class Job:
    """What a child builds. index: the GPU. rows, columns: of 64 pixels. level: TensorRT's optimisation level, 0 to 5.

    sizes: the profile's, for the golden inputs of exact networks.
    """

    network: str
    file: str
    exact: bool
    sizes: tuple[tuple[str, int], ...]
    rows: int
    columns: int
    level: int
    index: int
    machine: EngineMachine
    timing: str
    output: str

    @classmethod
    def read(cls, text: str) -> Job:
        """From the JSON that the parent wrote."""
        fields: dict[str, Any] = json.loads(text)
        fields["sizes"] = tuple((str(name), int(n)) for name, n in fields["sizes"])
        fields["machine"] = EngineMachine(**fields["machine"])
        return cls(**fields)

    def graph(self) -> bytes:
        """The network as TensorRT is given it. Raises EngineError where it cannot be."""
        return engine_graph(onnx.load(self.file)).SerializeToString(deterministic=True)

    def identity(self) -> EngineIdentity:
        """Of the engine that this job makes. Raises EngineError for a network that no engine is made of."""
        path = Path(self.file)
        signature, precision = CpuBackend(1).load(path).signature, precision_of(onnx.load(self.file))
        # Those that make what is handed on are proven in 8 bits as well (``export.proof``).
        if self.exact and precision not in (("fp32", "int8") if self.network in STATE_NETWORKS else ("fp32",)):
            raise EngineError(f"{self.network}: computes in {precision}; exact networks have to be float32: those of a "
                              "profile that was exported with -state are with -signed as well")
        return EngineIdentity(
            hashlib.sha256(path.read_bytes()).hexdigest(), hashlib.sha256(self.graph()).hexdigest(), precision,
            profiles(self.network, signature, self.rows, self.columns, exact=self.exact), self.machine,
            (*FLAGS, f"level {self.level}"))


@dataclass(frozen=True)
class BuiltEngine:
    """A network's engine: its file, and whether it had been there before."""

    network: str
    path: Path
    cached: bool
    seconds: float


class EngineBuilder:
    """Builds engines of a profile's networks into a cache.

    Args:
        machine: what they are for: that of the toolkit that will run them. index: its GPU.
        tell: called with the network's name and every progress of its build. waiting: called where another process
            builds. child: the command that is run with the name of a job's file; None for ours.
    """

    def __init__(self, cache: EngineCache, machine: EngineMachine, *, index: int = 0, level: int = 3,
                 tell: Callable[[str, Progress], None] = lambda _name, _progress: None,
                 waiting: Callable[[], None] = lambda: None, child: Sequence[str] | None = None) -> None:
        if not 0 <= level <= 5:
            raise ValueError(f"level={level}: expected 0 to 5")
        self.cache, self.machine, self.index, self.level = cache, machine, index, level
        self._tell, self._waiting, self._child = tell, waiting, tuple(child if child is not None else CHILD)

    def build(self, profile: Profile, network: str, rows: int, columns: int) -> BuiltEngine:
        """The engine of one network for pictures of (64 rows) x (64 columns) pixels, out of the cache if it is there.

        Raises EngineError naming the network and what the child said last; the cache is then as it was.
        """
        exact = network in profile.manifest["golden"]
        sizes = tuple(sorted((name, int(n)) for name, n in (profile.manifest["sizes"] | {
            name: n for name, n in profile.manifest.get("texture", {}).items() if isinstance(n, int)}).items()))
        with self.cache.build_lock(self._waiting) as lock, tempfile.TemporaryDirectory() as folder:
            job = Job(network, str(profile.path(network)), exact, sizes, rows, columns, self.level, self.index,
                      self.machine, str(Path(folder, "timing")), str(Path(folder, "engine")))
            identity = job.identity()
            place = self.cache.folder / f"{network}-{identity.key}.engine"
            if place.is_file():
                header, _ = self.cache.read(place)  # a damaged one is an error, not built over: prune removes it
                if header.identity != identity:
                    raise EngineFileError(f"{place}: holds an engine for something else than its name says; remove it")
                return BuiltEngine(network, place, True, header.seconds)
            Path(job.timing).write_bytes(self.cache.timing(self.machine))
            Path(folder, "job").write_text(json.dumps(asdict(job)))
            self._run(network, Path(folder, "job"), lock)
            header, _ = read_plan(Path(job.output))
            if header.identity != identity:
                raise EngineError(f"{network}: the child built an engine for something else than it was told; "
                                  "the GPU or its driver changed meanwhile: build again")
            self.cache.write(place.name, Path(job.output).read_bytes())
            self.cache.write(self.cache.timing_name(self.machine), Path(job.timing).read_bytes())
        return BuiltEngine(network, place, False, header.seconds)

    def _run(self, network: str, job: Path, lock: int) -> None:
        """Runs the child, which holds the lock of builds too: until it ends, also where this process does before."""
        said = job.with_name("said")
        with said.open("w") as errors, subprocess.Popen(
                [*self._child, str(job)], stdout=subprocess.PIPE, stderr=errors, text=True, errors="replace",
                env=dict(os.environ), pass_fds=(lock,)) as child:
            try:
                assert child.stdout is not None
                for line in child.stdout:
                    progress = _progress(line)
                    if progress is not None:
                        self._tell(network, progress)
                code = child.wait()
            except BaseException:
                child.kill()  # the user stopped the command: no build may go on behind it
                raise
        if code == 0:
            return
        last = " | ".join(said.read_text(errors="replace").split("\n")[:-1][-_LAST_LINES:]) or "it said nothing"
        what = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"failed with code {code}"
        raise EngineError(f"{network}: the process that builds its engine {what}: {last}")


def _progress(line: str) -> Progress | None:
    """What a line of the child tells; None for what libraries print there."""
    try:
        fields = json.loads(line)
        return Progress(str(fields["phase"]), str(fields["parent"]), int(fields["done"]), int(fields["steps"]))
    except (ValueError, KeyError, TypeError):
        return None


def buildable(profile: Profile) -> list[str]:
    """Networks of a profile that engines are made of."""
    return [name for name in sorted(profile.manifest["networks"]) if name in BUILDABLE]
