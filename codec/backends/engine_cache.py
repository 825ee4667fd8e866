"""The folder of built engines: found by what they are for, replaced as a whole, built one at a time.

A file appears under its name only when it is complete: it is written beside, synced, and renamed. Readers need no lock.
Builders have one lock for the folder, also between processes: TensorRT chooses kernels by their times, and two builds
on one GPU at once would measure each other.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from duoview.backends.engine import EngineHeader, EngineMachine, read_header
from duoview.errors import EngineError, EngineFileError

SUFFIX = ".engine"
_VARIABLE = "DUOVIEW_ENGINES"


@dataclass(frozen=True)
class CachedEngine:
    """A file of the folder; `header` is None where `problem` says why it cannot be used by anybody."""

    path: Path
    header: EngineHeader | None
    problem: str


def default_folder() -> Path:
    """``$DUOVIEW_ENGINES``, else ``duoview/engines`` in the user's cache folder."""
    given = os.environ.get(_VARIABLE)
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "duoview" / "engines"


def mismatch(built: EngineMachine, here: EngineMachine) -> str:
    """In words, how the machine that an engine was built on differs from this one; empty where it does not."""
    return ", ".join(f"{one.name} {getattr(built, one.name)} (here {getattr(here, one.name)})"
                     for one in fields(EngineMachine) if getattr(built, one.name) != getattr(here, one.name))


class EngineCache:
    """Engines in one folder, which is made when the first one is stored."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_folder()

    def entries(self) -> list[CachedEngine]:
        """Every engine file, by name, with its header; plans are not read."""
        if not self.folder.is_dir():
            return []
        found = []
        for path in sorted(self.folder.glob(f"*{SUFFIX}")):
            try:
                found.append(CachedEngine(path, read_header(path), ""))
            except EngineFileError as error:
                found.append(CachedEngine(path, None, str(error)))
        return found

    def of_network(self, sha256: str) -> list[tuple[Path, EngineHeader]]:
        """Engines made of the ONNX file with this digest, for whatever machine."""
        return [(one.path, one.header) for one in self.entries()
                if one.header is not None and one.header.identity.network == sha256]

    def path(self, header: EngineHeader) -> Path:
        """Where an engine with this header belongs."""
        return self.folder / header.file_name

    def write(self, name: str, data: bytes) -> Path:
        """Puts a file into the folder: complete, or not at all. Raises EngineError where that fails."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            handle, temporary = tempfile.mkstemp(dir=self.folder, prefix=f".{name}.")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
                Path(temporary).replace(self.folder / name)
            except BaseException:
                Path(temporary).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise EngineError(f"{self.folder / name}: cannot be written ({error.strerror})") from None
        return self.folder / name

    @contextmanager
    def build_lock(self, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Held while building; `waiting` is called once where another process has it. Ends with the process."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            file = (self.folder / ".build.lock").open("a")
        except OSError as error:
            raise EngineError(f"{self.folder}: cannot be written ({error.strerror}); give another folder with "
                              f"-cache or {_VARIABLE}") from None
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                waiting()
                fcntl.flock(file, fcntl.LOCK_EX)
            yield  # closing the file lets go of the lock

    def timing_name(self, machine: EngineMachine) -> str:
        """Name of the file with TensorRT's timings of kernels on a machine."""
        words = f"{machine.device}-{machine.capability}-{machine.tensorrt}-{machine.driver}"
        return "timing-" + "".join(c if c.isalnum() or c in ".-" else "_" for c in words) + ".cache"

    def timing(self, machine: EngineMachine) -> bytes:
        """Those timings; empty where there are none yet."""
        path = self.folder / self.timing_name(machine)
        return path.read_bytes() if path.is_file() else b""

    def prune(self, unwanted: Callable[[CachedEngine], str]) -> list[tuple[Path, str]]:
        """Removes engines for which `unwanted` gives a reason, and what broken builds left; returns both by path."""
        removed = []
        with self.build_lock():
            for one in self.entries():
                why = unwanted(one)
                if why:
                    one.path.unlink(missing_ok=True)
                    removed.append((one.path, why))
            for path in self.folder.glob(".*.*"):
                if path.name != ".build.lock":
                    path.unlink(missing_ok=True)
                    removed.append((path, "left by a build that was broken off"))
        return removed
