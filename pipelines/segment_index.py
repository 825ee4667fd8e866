"""The list of a recording's segments: numbers without gaps or repeats, whatever the recorder, or its machine, died of.

A segment is written under a temporary name, made durable, renamed, and only then listed. Whoever opens the index next
finds at most files that are not listed yet, and lists them. One JSON object a line; a line that was cut off is no line.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from duoview.errors import ContainerError, ContainerFormatError, LimitError

from .segment_file import Content, content_of, sync_path

PART = ".part"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.\-]*")
_LARGEST_LINE = 1 << 16  # bytes


@dataclass(frozen=True)
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
    """The index of one recording; one process holds it at a time."""

    def __init__(
        self, folder: Path, name: str, *, sync: bool = True, look: Callable[[Path], Content] = content_of
    ) -> None:
        """Open or create the index of the recording `name` in a folder that exists, and list what a crash left.

        `look` tells what can be read of a file.

        Raises ContainerError where another recorder holds it, ContainerFormatError where a line is damaged.
        """
        if not _NAME.fullmatch(name):
            raise LimitError(f"recording {name!r}: expected letters, digits, '_', '-' and '.', as in cam1")
        self.folder, self.name = folder, name
        self.path = index_path(folder, name)
        self._sync, self._look = sync, look
        self.last: Segment | None = None
        self._file = self.path.open("a+b", buffering=0)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise ContainerError(
                    f"{self.path}: another recorder writes here; record under another name", name=str(self.path)
                ) from error
            self._file.seek(0)
            data = self._file.readall()
            whole = data.rfind(b"\n") + 1
            if whole < len(data):
                self._file.truncate(whole)
            self._size = whole
            for segment in _parse(data[:whole], self.path):
                self.last = segment
            self.recover()
        except BaseException:
            self._file.close()
            raise

    @property
    def next(self) -> int:
        """The number of the next segment."""
        return self.last.number + 1 if self.last is not None else 1

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
        recovered = []
        for _, path in sorted(self._unlisted()):
            content = self._look(path)
            if not content.frames:
                path.unlink()
                continue
            recovered.append(self._list(path, content, _utc_of(path), None, None, None, recovered=True))
        return recovered

    def close(self) -> None:
        """Let go of the index. May be called more than once."""
        self._file.close()

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
        self.last = segment
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

    def _unlisted(self) -> Iterator[tuple[int, Path]]:
        """Files beyond the last number, and unfinished ones whatever their number."""
        name, part = re.escape(self.name), re.escape(PART)
        pattern = re.compile(rf"{name}-(\d{{8,}})-\d{{8}}T\d{{6}}\.\d{{3}}Z\.[a-z0-9]+({part})?")
        for path in self.folder.iterdir():
            match = pattern.fullmatch(path.name)
            if match and (match[2] or int(match[1]) >= self.next):
                yield int(match[1]), path


def index_path(folder: Path, name: str) -> Path:
    """Where the index of a recording lies."""
    return folder / f"{name}.segments.jsonl"


def read_segments(folder: Path, name: str) -> list[Segment]:
    """The listed segments of a recording, also while it is being written. Raises ContainerFormatError, OSError."""
    path = index_path(folder, name)
    data = path.read_bytes()
    return list(_parse(data[: data.rfind(b"\n") + 1], path))


def _parse(data: bytes, path: Path) -> Iterator[Segment]:
    for number, line in enumerate(data.splitlines(), 1):
        try:
            if len(line) > _LARGEST_LINE:
                raise ValueError(f"{len(line)} bytes")
            segment = Segment(**json.loads(line))
            if segment.number != number:
                raise ValueError(f"segment {segment.number}")
        except (ValueError, TypeError) as error:
            raise ContainerFormatError(
                f"{path}: line {number} is damaged ({error}); expected segment {number}. Move the index away to begin "
                "a new one: the files it listed are then listed again",
                name=str(path),
            ) from error
        yield segment


def _utc_of(path: Path) -> int:
    stamp = path.name.removesuffix(PART).rpartition("-")[2].rpartition(".")[0]
    moment = datetime.strptime(stamp, "%Y%m%dT%H%M%S.%fZ").replace(tzinfo=UTC)
    return round(moment.timestamp() * 1000) * 1000
