"""Files of one JSON object a line that are added to, may be cut off in their last line, and are written anew at once.

A file that was written anew begins with a line that counts how often: ``{"journal": {"generation": 2}}``. By it readers
see that what they know does not count any more. Nothing else is ever changed in a line that is there.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

from duoview.errors import ContainerFormatError
from duoview.pipelines.segment_file import sync_path

#: Behind the name of a journal, while it is written anew.
NEW = ".new"
_LARGEST_HEAD = 1 << 16  # bytes of a first line

LineT = TypeVar("LineT")


class JournalReader:
    """Reads what was added since the last look; a line that is not complete yet is left for the next.

    Attributes:
        anew: whether the last look began at the first line: what was read before does not count any more.
        seen: bytes of the file up to the last line that was read.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.anew = False
        self.seen = 0
        self._head = b""

    def new(self, read: Callable[[dict[str, Any]], LineT]) -> list[LineT]:
        """What `read` makes of the new lines; none where there is no file.

        A file that was written anew, or became shorter, is read from its beginning. Raises OSError, and
        ContainerFormatError for a line that is none or that `read` makes nothing of; then none of the lines counts as
        seen.
        """
        self.anew = False
        try:
            with self.path.open("rb") as file:
                head = file.readline(_LARGEST_HEAD)
                if file.seek(0, os.SEEK_END) < self.seen or head != self._head:
                    self.seen = 0  # somebody began it anew
                file.seek(self.seen)
                data = file.read()
        except FileNotFoundError:
            return []
        whole = data[: data.rfind(b"\n") + 1]
        found = []
        for number, line in enumerate(whole.splitlines()):
            try:
                content = json.loads(line)
                if not isinstance(content, dict):
                    raise ValueError("no object")
                if number or self.seen or generation_of(content) is None:
                    found.append(read(content))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                where = str(self.path)
                words = f"{where}: a damaged line: {line[:80]!r} ({type(error).__name__}: {error})"
                raise ContainerFormatError(words, name=where) from error
        self.anew = not self.seen
        self.seen += len(whole)
        self._head = head if self.seen else b""
        return found


class JournalWriter:
    """Adds lines; a line that a crash cut off is taken away first. Processes that write one journal take turns."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises OSError."""
        self.path = path
        self._file, self._generation = self._opened()

    @property
    def size(self) -> int:
        """Bytes of the journal. Raises OSError."""
        return os.fstat(self._file.fileno()).st_size

    def add(self, lines: Iterable[dict[str, Any]], *, sync: bool = False) -> None:
        """Add lines, all or none; `sync`: and see them onto the disk. Raises OSError."""
        data = b"".join(_line(line) for line in lines)
        with self._turn():
            size = self.size
            try:
                _write(self._file, data)
                if sync:
                    os.fsync(self._file.fileno())
            except OSError:
                self._file.truncate(size)
                raise

    def rewrite(self, lines: Iterable[dict[str, Any]], *, seen: int | None = None) -> bool:
        """Put these lines into the place of all, or of the first `seen` bytes; whether it was done, as `put`.

        A crash at any moment leaves the old file or the new one, both whole. Raises OSError, and then all is as it was.
        """
        done = self.put(self.prepared(lines), seen=self.size if seen is None else seen)
        if done:
            sync_path(self.path.parent)
        return done

    def prepared(self, lines: Iterable[dict[str, Any]]) -> NewJournal:
        """A new file of these lines, seen onto the disk, for `put`. Raises OSError."""
        return NewJournal(self.path, map(_line, lines), self._generation + 1)

    def put(self, new: NewJournal, *, seen: int) -> bool:
        """Put a new file into the place of the old one, with what the old one has after its first `seen` bytes.

        False, and all is as it was, where somebody else wrote the journal anew in the meantime. Takes no longer than
        what was added since takes to be copied; `sync_path` of the folder is left to the caller. Raises OSError.
        """
        with self._turn():
            if new.generation != self._generation + 1 or self.size < seen:
                new.discard()
                return False
            try:
                self._file.seek(seen)
                added = self._file.read()
                if added:  # some of it may have been seen onto the disk where it was
                    _write(new.file, added)
                    os.fsync(new.file.fileno())
            except BaseException:
                new.discard()
                raise
            self._replace(new)
            return True

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()

    def _replace(self, new: NewJournal) -> None:
        file = new.take_place()
        self._file.close()
        self._file, self._generation = file, new.generation

    @contextmanager
    def _turn(self) -> Iterator[None]:
        """While entered, nobody else writes, and the file is the one that readers find."""
        fcntl.flock(self._file, fcntl.LOCK_EX)
        try:
            while not _in_place(self._file, self.path):  # another process wrote it anew, or somebody moved it away
                file, self._generation = self._opened()
                self._file.close()
                self._file = file
                fcntl.flock(self._file, fcntl.LOCK_EX)
            yield
        finally:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _opened(self) -> tuple[BinaryIO, int]:
        """The file, without a line that was cut off, and how often it was written anew."""
        file = self.path.open("a+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)  # else half a line is one that somebody is writing
            file.seek(0)
            data = file.read()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                file.truncate(whole)
            fcntl.flock(file, fcntl.LOCK_UN)
        except BaseException:
            file.close()
            raise
        return file, generation_in(data[:whole])


class NewJournal:
    """A journal written anew beside the old one, seen onto the disk, to be put into its place or discarded.

    It has the old one's mode from the beginning, and its owner where we may give it away.

    Attributes: file: open to be added to; generation: how often the journal was written anew.
    """

    def __init__(self, path: Path, lines: Iterable[bytes], generation: int) -> None:
        """Raises OSError; then nothing is left."""
        self.path, self.generation = path, generation
        self._part = path.with_name(path.name + NEW)
        before = path.stat()
        self.file = self._claimed()
        try:
            self.file.truncate(0)  # a crash may have left it
            with contextlib.suppress(PermissionError):
                os.fchown(self.file.fileno(), before.st_uid, before.st_gid)
            os.fchmod(self.file.fileno(), stat.S_IMODE(before.st_mode))
            _write(self.file, _line({"journal": {"generation": generation}}) + b"".join(lines))
            os.fsync(self.file.fileno())
        except BaseException:
            self.discard()
            raise

    def take_place(self) -> BinaryIO:
        """Replace the old file; the file, which is the caller's then. Raises OSError; the old one is in place then."""
        try:
            self._part.replace(self.path)
        except BaseException:
            self.discard()
            raise
        return self.file

    def _claimed(self) -> BinaryIO:
        part = os.open(self._part, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
        file: BinaryIO = os.fdopen(part, "a+b", buffering=0)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if not _in_place(file, self._part):
                raise BlockingIOError
        except BlockingIOError as error:
            file.close()
            raise BlockingIOError(errno.EAGAIN, "another process writes it anew", str(self.path)) from error
        except BaseException:
            file.close()
            raise
        return file

    def discard(self) -> None:
        """Remove it."""
        self.file.close()
        self._part.unlink(missing_ok=True)


def written_anew(
    path: Path, lines: Iterable[bytes], generation: int, *, claim: Callable[[BinaryIO], None] = lambda file: None
) -> tuple[BinaryIO, int]:
    """Write a journal of these lines beside the old one, see it onto the disk, and put it into its place.

    `claim` is given the new file before that. Returns the file, open to be added to, and its bytes; the caller sees the
    folder onto the disk. Raises OSError; the old file is in its place then.
    """
    new = NewJournal(path, lines, generation)
    try:
        claim(new.file)
        size = os.fstat(new.file.fileno()).st_size
    except BaseException:
        new.discard()
        raise
    return new.take_place(), size


def _in_place(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False


def _write(file: BinaryIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def generation_of(line: dict[str, Any]) -> int | None:
    """How often the journal was written anew, of its first line; None for a line that tells something else."""
    head = line.get("journal")
    return int(head["generation"]) if isinstance(head, dict) else None


def generation_in(data: bytes) -> int:
    """The same of a whole file; 0 for one that never was. Damaged lines are told of by who reads them."""
    try:
        content = json.loads(data[: data.find(b"\n") + 1] or b"{}")
        return (generation_of(content) or 0) if isinstance(content, dict) else 0
    except (ValueError, TypeError, KeyError, RecursionError):
        return 0


def noted_numbers(path: Path) -> Iterator[int]:
    """The numbers of a journal of notes about segments. Raises OSError, ContainerFormatError."""
    yield from JournalReader(path).new(lambda note: int(note["number"]))


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content, ensure_ascii=False).encode() + b"\n"
