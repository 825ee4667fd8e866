"""The list of a recording's segments: numbers without gaps or repeats, whatever the recorder, or its machine, died of.

A segment is written under a temporary name, made durable, renamed, and only then listed. Whoever opens the index next
finds at most files that are not listed yet, and lists them; no number is given twice, even if the list is lost: what
it listed then gets new ones. One JSON object a line; a line that was cut off is no line.

What retention removed stands in a file beside it, ``NAME.removed.jsonl``, and in the list until that is written anew:
then one line, ``{"removed": [1, 40]}``, stands for all that were removed between two that are left.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from duoview.errors import ContainerError, ContainerFormatError, LimitError

from .retention.journal import generation_in, generation_of, noted_numbers, written_anew
from .segment_file import Content, content_of, sync_path

PART = ".part"
SEGMENTS = ".segments.jsonl"  # behind the name of a recording: its index
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_LARGEST_LINE = 1 << 16  # bytes
#: Lines from which on a list is looked through for those of removed segments.
_LONG = 4096


class HeldError(ContainerError):
    """Another recorder, perhaps of another process, records under this name."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One file of a recording.

    Attributes:
        number: 1 for the first, each one more than the one before it.
        file: its name, in the folder of the index.
        utc: microseconds since 1970-01-01 UTC when its first packet arrived.
        seconds: from its first frame to the end of its last.
        start: of its first packet on the source's line of time, in seconds; None where a crash lost it.
        packets: of all streams.
        frames: packets of the video stream.
        bytes: payload.
        connection: number of the connection it came by; None where a crash lost it.
        gap: something is missing between the segment before and this one. None where a crash lost that.
        recovered: it was found unfinished or unlisted, and may lack its last second.
        texture: bytes of texture, of access units; None where nobody counted them.
    """

    number: int
    file: str
    utc: int
    seconds: float
    start: float | None
    packets: int
    frames: int
    bytes: int
    connection: int | None
    gap: bool | None
    recovered: bool = False
    texture: int | None = None


class SegmentIndex:
    """The index of one recording; one process holds it at a time.

    Attributes:
        next: the number of the next segment.
    """

    def __init__(
        self, folder: Path, name: str, *, sync: bool = True, look: Callable[[Path], Content] = content_of
    ) -> None:
        """Open or create the index of the recording `name` in a folder that exists, and list what a crash left.

        `look` tells what can be read of a file.

        Raises HeldError where another recorder holds it, ContainerFormatError where a line is damaged.
        """
        if not _NAME.fullmatch(name):
            raise LimitError(f"recording {name!r}: expected letters, digits, '_', '-' and '.', as in cam1")
        self.folder, self.name = folder, name
        self.path = index_path(folder, name)
        self._sync, self._look = sync, look
        self.next = 1
        self._lines = 0
        self._file = self._claimed()
        try:
            self._file.seek(0)
            data = self._file.read()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                self._file.truncate(whole)
            self._size = whole
            self._generation = generation_in(data[:whole])
            listed = set()
            for entry, _ in _entries(data[:whole], self.path):
                self.next = entry.number + 1 if isinstance(entry, Segment) else entry.stop
                self._lines += 1
                listed |= {entry.file} if isinstance(entry, Segment) else set()
            self._long = _LONG
            if not self._lines:
                self._skip_numbers()
            self._recover(lambda number, file: file not in listed)
        except BaseException:
            self._file.close()
            raise

    def part_path(self, utc: int, ending: str) -> Path:
        """Where the next segment is written until it is complete."""
        moment = datetime.fromtimestamp(utc // 1000 / 1000, UTC)
        stamp = f"{moment:%Y%m%dT%H%M%S}.{moment.microsecond // 1000:03d}Z"
        return self.folder / f"{self.name}-{self.next:08d}-{stamp}.{ending}{PART}"

    def add(self, part: Path, content: Content, *, utc: int, start: float, connection: int, gap: bool) -> Segment:
        """Give a complete file its name and list it. Raises OSError; `recover` lists it later if that fails midway."""
        return self._list(part, content, utc, start, connection, gap, recovered=False)

    def recover(self) -> list[Segment]:
        """List the files that no one listed: unfinished ones, and one that was finished a moment before a crash.

        A file without a single readable frame holds nothing, and is removed; its number is given to the next. Raises
        OSError where a file cannot be opened (permissions, too many open files): then nobody knows what it holds.
        """
        return self._recover(lambda number, file: number >= self.next)

    def _recover(self, unlisted: Callable[[int, str], bool]) -> list[Segment]:
        recovered = []
        files = [(number, path) for number, path in self._files()
                 if path.suffix == PART or unlisted(number, path.name)]
        for _, path in sorted(files):
            content = self._look(path)
            if not content.frames:
                path.unlink()
                continue
            recovered.append(self._list(path, content, _utc_of(path), None, None, None, recovered=True))
        return recovered

    def _skip_numbers(self) -> None:
        """Of a list that is begun: leave out the numbers that were given before, should an older list have been lost.

        Notes of retention name segments by them. A first file that a crash left unlisted is no lost list.
        """
        last = max((number for number, path in self._files() if path.suffix != PART), default=0)
        noted = max(noted_numbers(removed_path(self.folder, self.name)), default=0)
        if last > 1 or noted:
            self._append(_removed_line(range(1, max(last, noted) + 1)))
            self.next, self._lines = max(last, noted) + 1, 1

    def compact(self) -> bool:
        """Where the list has grown long, write it anew without the segments that were removed; whether it was.

        A segment is left out once it is noted as removed and its file is gone. A crash at any moment leaves the old
        list or the new one, both whole. Raises OSError, ContainerFormatError; the list is as it was then, and it is
        tried again when it has grown by some more.
        """
        if self._lines < self._long:
            return False
        self._long = self._lines + _LONG // 4
        removed = set(noted_numbers(removed_path(self.folder, self.name)))  # noted before their files go
        there = {entry.name for entry in os.scandir(self.folder)}
        lines: list[bytes] = []
        left_out: range | None = None
        self._file.seek(0)
        data, expected = self._file.read()[: self._size], 1
        for entry, line in _entries(data, self.path):
            expected = entry.number + 1 if isinstance(entry, Segment) else entry.stop
            if isinstance(entry, Segment) and (entry.number not in removed or entry.file in there):
                lines += [] if left_out is None else [_removed_line(left_out)]
                lines.append(line + b"\n")
                left_out = None
                continue
            gone = range(entry.number, entry.number + 1) if isinstance(entry, Segment) else entry
            left_out = gone if left_out is None else range(left_out.start, gone.stop)
        lines += [] if left_out is None else [_removed_line(left_out)]
        if len(data) != self._size or expected != self.next:
            raise OSError(errno.EIO, "read only in part; the list stays as it is", str(self.path))
        if len(lines) > self._lines // 2:
            self._long = 2 * self._lines
            return False
        file, self._size = written_anew(self.path, lines, self._generation + 1, claim=_lock)
        self._generation += 1
        self._file.close()
        self._file, self._lines, self._long = file, len(lines), max(_LONG, 2 * len(lines))
        sync_path(self.folder)
        return True

    def close(self) -> None:
        """Let go of the index. May be called more than once."""
        self._file.close()

    def _claimed(self) -> BinaryIO:
        """The file, open and locked. One that its holder wrote anew in the meantime is not the file any more."""
        while True:
            file = self.path.open("a+b", buffering=0)
            try:
                _lock(file)
                with contextlib.suppress(FileNotFoundError):  # moved away this very moment: another is made
                    if os.path.samestat(os.fstat(file.fileno()), self.path.stat()):
                        return file
            except BlockingIOError as error:
                file.close()
                raise HeldError(
                    f"{self.path}: another recorder writes here; record under another name", name=str(self.path)
                ) from error
            except BaseException:
                file.close()
                raise
            file.close()

    def _list(
        self,
        path: Path,
        content: Content,
        utc: int,
        start: float | None,
        connection: int | None,
        gap: bool | None,
        *,
        recovered: bool,
    ) -> Segment:
        number = self.next
        # A recovered file keeps its moment but takes the next number, should an empty one have been before it.
        ending = path.name.removesuffix(PART).rpartition("-")[2]
        final = self.folder / f"{self.name}-{number:08d}-{ending}"
        if final != path:
            path.replace(final)
        if self._sync:
            sync_path(self.folder)
        segment = Segment(
            number,
            final.name,
            utc,
            round(content.seconds, 6),
            None if start is None else round(start, 6),
            content.packets,
            content.frames,
            content.bytes,
            connection,
            gap,
            recovered,
            content.texture,
        )
        self._append(json.dumps(asdict(segment)).encode() + b"\n")
        self.next, self._lines = number + 1, self._lines + 1
        return segment

    def _append(self, line: bytes) -> None:
        """Add a line, or nothing of it: half a line, or one that is written again later, would damage all after it."""
        self._file.truncate(self._size)
        try:
            rest = line
            while rest:
                rest = rest[self._file.write(rest) or 0 :]
            if self._sync:
                os.fsync(self._file.fileno())
        except BaseException:
            with contextlib.suppress(OSError):
                self._file.truncate(self._size)
            raise
        self._size += len(line)

    def _files(self) -> Iterator[tuple[int, Path]]:
        """The files of the recording with the numbers in their names, unfinished ones too."""
        name, part = re.escape(self.name), re.escape(PART)
        pattern = re.compile(rf"{name}-(\d{{8,}})-\d{{8}}T\d{{6}}\.\d{{3}}Z\.[a-z0-9]+({part})?")
        for path in self.folder.iterdir():
            match = pattern.fullmatch(path.name)
            if match:
                yield int(match[1]), path


def index_path(folder: Path, name: str) -> Path:
    """Where the index of a recording lies."""
    return folder / f"{name}{SEGMENTS}"


def removed_path(folder: Path, name: str) -> Path:
    """Where a recording's removed segments are noted."""
    return folder / f"{name}.removed.jsonl"


def read_segments(folder: Path, name: str) -> list[Segment]:
    """The listed segments of a recording, also while it is being written. Raises ContainerFormatError, OSError.

    Those that retention removed are among them until the list is written anew, see `present_segments`.
    """
    path = index_path(folder, name)
    data = path.read_bytes()
    entries = _entries(data[: data.rfind(b"\n") + 1], path)
    return [entry for entry, _ in entries if isinstance(entry, Segment)]


def entry_of(line: dict[str, Any]) -> Segment | range:
    """What a line of an index tells: a segment, or the numbers of some that were removed.

    Raises ValueError, TypeError, KeyError.
    """
    if "removed" not in line:
        return Segment(**line)
    first, last = line["removed"]
    if not (isinstance(first, int) and isinstance(last, int) and 1 <= first <= last):
        raise ValueError(f"removed {line['removed']}")
    return range(first, last + 1)


def _entries(data: bytes, path: Path) -> Iterator[tuple[Segment | range, bytes]]:
    """What the lines of an index tell, each with its line; the numbers of one follow on those of the line before."""
    expected = 1
    for number, line in enumerate(data.splitlines(), 1):
        try:
            if len(line) > _LARGEST_LINE:
                raise ValueError(f"{len(line)} bytes")
            content = json.loads(line)
            if number == 1 and isinstance(content, dict) and generation_of(content) is not None:
                continue
            entry = entry_of(content)
            if (entry.number if isinstance(entry, Segment) else entry.start) != expected:
                raise ValueError(str(content)[:80])
            expected = entry.number + 1 if isinstance(entry, Segment) else entry.stop
        except (ValueError, TypeError, KeyError) as error:
            raise ContainerFormatError(
                f"{path}: line {number} is damaged ({error}); expected segment {expected}. Move the index away to "
                "begin a new one: the files it listed are then listed again, with higher numbers",
                name=str(path),
            ) from error
        yield entry, line


def _removed_line(numbers: range) -> bytes:
    return json.dumps({"removed": [numbers.start, numbers.stop - 1]}).encode() + b"\n"


def _lock(file: BinaryIO) -> None:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _utc_of(path: Path) -> int:
    stamp = path.name.removesuffix(PART).rpartition("-")[2].rpartition(".")[0]
    moment = datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000) * 1000
