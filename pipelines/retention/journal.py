"""Files of one JSON object a line that are added to, may be cut off in their last line, and are written anew at once.

A file that was written anew begins with a line that counts how often: ``{"journal": {"generation": 2}}``. By it readers
see that what they know does not count any more. Nothing else is ever changed in a line that is there.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Iterator
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
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.anew = False
        self._offset = 0
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
                if file.seek(0, os.SEEK_END) < self._offset or head != self._head:
                    self._offset = 0  # somebody began it anew
                file.seek(self._offset)
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
                if number or self._offset or generation_of(content) is None:
                    found.append(read(content))
            except (ValueError, TypeError, KeyError, RecursionError) as error:
                where = str(self.path)
                words = f"{where}: a damaged line: {line[:80]!r} ({type(error).__name__}: {error})"
                raise ContainerFormatError(words, name=where) from error
        self.anew = not self._offset
        self._offset += len(whole)
        self._head = head if self._offset else b""
        return found


class JournalWriter:
    """Adds lines; a line that a crash cut off is taken away first. One process writes at a time."""

    def __init__(self, path: Path) -> None:
        """Open or create. Raises OSError."""
        self.path = path
        self._file: BinaryIO = path.open("a+b", buffering=0)
        try:
            self._file.seek(0)
            data = self._file.read()
            self.size = data.rfind(b"\n") + 1
            if self.size < len(data):
                self._file.truncate(self.size)
            self._generation = generation_in(data[: self.size])
        except BaseException:
            self._file.close()
            raise

    def add(self, lines: Iterable[dict[str, Any]], *, sync: bool = False) -> None:
        """Add lines, all or none; `sync`: and see them onto the disk. Raises OSError."""
        rest = data = b"".join(_line(line) for line in lines)
        try:
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            if sync:
                os.fsync(self._file.fileno())
        except OSError:
            self._file.truncate(self.size)
            raise
        self.size += len(data)

    def rewrite(self, lines: Iterable[dict[str, Any]]) -> None:
        """Put these lines into the place of all. Raises OSError, and then all is as it was.

        A crash at any moment leaves the old file or the new one, both whole.
        """
        file, self.size = written_anew(self.path, map(_line, lines), self._generation + 1)
        self._generation += 1
        self._file.close()
        self._file = file
        sync_path(self.path.parent)

    def close(self) -> None:
        """Close the file. May be called more than once."""
        self._file.close()


def written_anew(
    path: Path, lines: Iterable[bytes], generation: int, *, claim: Callable[[BinaryIO], None] = lambda file: None
) -> tuple[BinaryIO, int]:
    """Write a journal of these lines beside the old one, see it onto the disk, and put it into its place.

    `claim` is given the new file before that. Returns the file, open to be added to, and its bytes; the caller sees the
    folder onto the disk. Raises OSError; the old file is in its place then.
    """
    part = path.with_name(path.name + NEW)
    try:
        with part.open("wb") as fresh:  # one that a crash left is overwritten
            fresh.write(_line({"journal": {"generation": generation}}))
            fresh.writelines(lines)
            fresh.flush()
            os.fsync(fresh.fileno())
            size = fresh.tell()
        file = part.open("a+b", buffering=0)
        try:
            claim(file)
            part.replace(path)
        except BaseException:
            file.close()
            raise
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    return file, size


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
