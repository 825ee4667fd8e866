"""Continuous recording: packets of a live source into segments, cut at key frames. Nothing is decoded."""

from __future__ import annotations

import contextlib
import math
from pathlib import Path
from types import TracebackType
from typing import Self

from duoview.errors import ContainerFormatError, LimitError
from duoview.plugins.containers.failure import FAILURES

from .errors import media_error
from .live_packet import LivePacket
from .segment_file import Content, RecordedFile, SegmentFile, content_of, format_of
from .segment_index import Segment, SegmentIndex, read_segments


class Recorder:
    """Writes what it is given; passive, without a thread of its own.

    A segment begins with a key frame: the first one, one that comes when the segment has its length, and the first
    after a reconnect or another gap. Files carry a temporary name while they are written, see SegmentIndex.

    Attributes:
        skipped: packets that came while no key frame had come yet.
    """

    def __init__(
        self, folder: str | Path, name: str, *, seconds: float = 60.0, format: str = "mkv", sync: bool = True
    ) -> None:
        """Record under a name into a folder that exists; what an earlier run left there is listed first.

        Args:
            folder: where segments and their index lie.
            name: of the recording: letters, digits, '_', '-', '.'.
            seconds: length after which a segment ends with the next key frame.
            format: mkv, mp4 (fragmented), mov (the same, for sound that MP4 does not take), ts, nut.
            sync: see each segment onto the disk before it is listed.

        Raises LimitError, ContainerError, OSError.
        """
        if not (math.isfinite(seconds) and seconds > 0):
            raise LimitError(f"recording {name!r}: seconds={seconds:g}: expected more than 0")
        self._check_format(format)
        self._seconds, self._format, self._sync = seconds, format, sync
        self._index = SegmentIndex(Path(folder), name, sync=sync, look=self._look)
        self._file: RecordedFile | None = None
        self._first: LivePacket | None = None
        self._gap = self._first_gap = self._unlisted = False
        self.skipped = 0

    @property
    def segments(self) -> tuple[Segment, ...]:
        """All complete segments of the recording, those of earlier runs too, read from the index."""
        return tuple(read_segments(self._index.folder, self._index.name))

    def write(self, packet: LivePacket) -> Segment | None:
        """Record a packet; return the segment that became complete by it, if one did.

        Raises MediaError where the file cannot be written (a full disk): what is in it is kept and listed as far as the
        disk lets us, and recording goes on with the next key frame.
        """
        done = None
        other = self._other_connection(packet)
        begins = self.begins_with(packet)
        self._gap = self._gap or packet.capture.discontinuity or other
        if self._file is not None and (begins or other):
            done = self.cut()  # of another connection the streams may be others: nothing of it belongs into this file
        if self._file is None:
            if not packet.is_video_key:
                self.skipped += 1
                return done
            self._begin(packet)
        file = self._file
        assert file is not None
        try:
            file.write(packet)
        except FAILURES as error:
            self._give_up(file)
            raise media_error(str(file.path), "cannot record", error) from error
        return done

    def begins_with(self, packet: LivePacket) -> bool:
        """Whether `write` would begin a segment with this packet."""
        if not packet.is_video_key:
            return False
        gap = self._gap or packet.capture.discontinuity or self._other_connection(packet)
        return self._file is None or gap or self._full(packet)

    def cut(self) -> Segment | None:
        """End the segment here; return it, or None where none was begun. Raises MediaError."""
        file, first = self._file, self._first
        if file is None or first is None:
            return None
        self._file = None
        try:
            file.close(sync=self._sync)
            return self._index.add(
                file.path,
                file.content,
                utc=first.capture.utc_us,
                start=first.seconds,
                connection=first.capture.connection,
                gap=self._first_gap,
            )
        except FAILURES as error:
            self._give_up(file)
            raise media_error(str(file.path), "cannot record", error) from error

    def tidy(self) -> bool:
        """Write a long list anew without the segments that retention removed; see SegmentIndex.compact."""
        return self._index.compact()

    def mark_gap(self) -> None:
        """Packets were left out here on purpose: the next segment does not follow the one before."""
        self._gap = True

    def close(self) -> Segment | None:
        """End the last segment and let go of the folder. May be called more than once. Raises MediaError."""
        try:
            return self.cut()
        finally:
            self._index.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.close()

    # What another kind of file overrides.

    def _check_format(self, format: str) -> None:
        format_of(format)

    def _look(self, path: Path) -> Content:
        """What can be read of a file that a crash left. Raises OSError for one that cannot be opened."""
        return content_of(path)

    def _create(self, path: Path, packet: LivePacket) -> RecordedFile:
        """The file that begins with this packet."""
        return SegmentFile(path, self._format, packet.layout)

    def _other_connection(self, packet: LivePacket) -> bool:
        return self._first is not None and packet.capture.connection != self._first.capture.connection

    def _full(self, packet: LivePacket) -> bool:
        return self._first is not None and packet.seconds - self._first.seconds >= self._seconds

    def _begin(self, packet: LivePacket) -> None:
        path = self._index.path
        try:
            if self._unlisted:
                self._recover()
            path = self._index.part_path(packet.capture.utc_us, self._format)
            self._file = self._create(path, packet)
        except ContainerFormatError:
            raise
        except FAILURES as error:
            raise media_error(str(path), "cannot record", error) from error
        self._first, self._first_gap, self._gap = packet, self._gap, False

    def _give_up(self, file: RecordedFile) -> None:
        self._file, self._gap = None, True
        # The end may not fit either; the file is readable without it.
        with contextlib.suppress(*FAILURES):
            file.close(sync=False)
        self._unlisted = True
        # Perhaps not even the index can be written; the next segment tries again before it begins, and the next run.
        with contextlib.suppress(*FAILURES):
            self._recover()

    def _recover(self) -> None:
        self._index.recover()
        self._unlisted = False
