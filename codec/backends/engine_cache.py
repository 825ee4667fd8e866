"""The folder of built engines: found by what they are for, replaced as a whole, built one at a time.

A file appears under its name only when it is complete: it is written beside, synced, and renamed. Readers need no lock.
Builders have one lock for the folder, also between processes: TensorRT chooses kernels by their times, and two builds
on one GPU at once would measure each other.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path

from duoview.backends.engine import MAGIC, EngineHeader, EngineMachine, read_header, read_plan
from duoview.errors import EngineError, EngineFileError

SUFFIX = ".engine"
_VARIABLE = "DUOVIEW_ENGINES"
#: What `write` leaves when the process is killed: names that tempfile made of ours.
_LEFTOVER = re.compile(r"\.(?:[a-z0-9_]+-[0-9a-f]{32}\.engine|timing-.+\.cache)\.[a-z0-9_]{8}")


@dataclass(frozen=True)
class CachedEngine:
    """A file of the folder; `header` is None where `problem` says why it cannot be used by anybody.

    ours: it is a file that begins as engines of duoview do.
    """

    path: Path
    header: EngineHeader | None
    problem: str
    ours: bool = True


@dataclass(frozen=True)
class Pruned:
    """Files that were removed, and files with our suffix that are not ours and stay, each with the reason."""

    removed: tuple[tuple[Path, str], ...]
    kept: tuple[tuple[Path, str], ...]


def default_folder() -> Path:
    """``$DUOVIEW_ENGINES``, else ``duoview/engines`` in the user's cache folder. Raises EngineError without either."""
    given = os.environ.get(_VARIABLE)
    if given:
        return Path(given)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "duoview" / "engines"
    except RuntimeError:
        raise EngineError(f"user {os.geteuid()} has no home folder to keep engines in; set {_VARIABLE}") from None


def check_private(path: Path) -> None:
    """Raises EngineError where others than the user (and root) could have written a file or put it into its folder.

    Plans are code: whoever can write one can do all that the process that runs it can.
    """
    for place in (path.parent, path):
        try:
            found = place.stat()
        except OSError as error:
            raise EngineFileError(f"{place}: cannot be read ({error.strerror})") from None
        if found.st_uid not in (os.geteuid(), 0):
            raise EngineError(f"{place}: belongs to user {found.st_uid}, expected {os.geteuid()}, who runs this: "
                              "engines are code")
        if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
            raise EngineError(f"{place}: can be written by others (mode {stat.S_IMODE(found.st_mode):o}): engines are "
                              f"code; chmod go-w {place}")


def _is_file(path: Path) -> bool:
    """True for a file itself, not for a link to one, nor for one that another process removed meanwhile."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _is_ours(path: Path) -> bool:
    if not _is_file(path):
        return False
    try:
        with path.open("rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except OSError:
        return False


def mismatch(built: EngineMachine, here: EngineMachine) -> str:
    """In words, how the machine that an engine was built on differs from this one; empty where it does not."""
    return ", ".join(f"{one.name} {getattr(built, one.name)} (here {getattr(here, one.name)})"
                     for one in fields(EngineMachine) if getattr(built, one.name) != getattr(here, one.name))


class EngineCache:
    """Engines in one folder, which is made when the first one is stored."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder if folder is not None else default_folder()

    def entries(self) -> list[CachedEngine]:
        """Every file with the suffix of engines, by name, with its header; plans are not read.

        Raises EngineError where the folder cannot be read; one that does not exist has none.
        """
        found = []
        for path in self._paths():
            if not path.name.endswith(SUFFIX):
                continue
            try:
                if not _is_file(path):
                    raise EngineFileError(f"{path}: not a file")
                found.append(CachedEngine(path, read_header(path), ""))
            except EngineFileError as error:
                found.append(CachedEngine(path, None, str(error), _is_ours(path)))
        return found

    def _paths(self) -> list[Path]:
        try:
            return sorted(self.folder.iterdir())
        except FileNotFoundError:
            return []
        except OSError as error:
            raise EngineError(f"{self.folder}: cannot be read ({error.strerror}); give another folder with "
                              f"-cache or {_VARIABLE}") from None

    def read(self, path: Path) -> tuple[EngineHeader, bytes]:
        """Header and plan of an engine that only the user can have written. Raises EngineError."""
        check_private(path)
        return read_plan(path)

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
    def build_lock(self, waiting: Callable[[], None] = lambda: None) -> Iterator[int]:
        """Held while building; `waiting` is called once where another process has it.

        Gives the descriptor that holds it. The lock ends when that is closed everywhere: a process that got it too
        holds on after this one.
        """
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
            yield file.fileno()  # closing the file lets go of the lock

    def timing_name(self, machine: EngineMachine) -> str:
        """Name of the file with TensorRT's timings of kernels on a machine."""
        words = f"{machine.device}-{machine.capability}-{machine.tensorrt}-{machine.cuda}-{machine.processors}"
        return "timing-" + "".join(c if c.isalnum() or c in ".-" else "_" for c in words) + ".cache"

    def timing(self, machine: EngineMachine) -> bytes:
        """Those timings; empty where there are none yet."""
        path = self.folder / self.timing_name(machine)
        return path.read_bytes() if path.is_file() else b""

    def prune(self, unwanted: Callable[[CachedEngine], str], waiting: Callable[[], None] = lambda: None) -> Pruned:
        """Removes engines of ours for which `unwanted` gives a reason, and what broken builds of ours left.

        Nothing else that lies in the folder is touched. `waiting` as for `build_lock`. Raises EngineError.
        """
        removed = []
        with self.build_lock(waiting):
            entries = self.entries()
            found = [(one.path, unwanted(one)) for one in entries if one.ours]
            found += [(path, "left by a build that was broken off") for path in self._paths()
                      if _LEFTOVER.fullmatch(path.name) and _is_file(path)]
            for path, why in found:
                if why:
                    try:
                        path.unlink(missing_ok=True)
                    except OSError as error:
                        raise EngineError(f"{path}: cannot be removed ({error.strerror})") from None
                    removed.append((path, why))
        return Pruned(tuple(removed), tuple((one.path, one.problem) for one in entries if not one.ours))
