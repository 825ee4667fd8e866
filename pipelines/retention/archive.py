"""One recording as retention sees it: which of its segments are there, what each is worth, and how one is removed.

The index of segments (`SegmentIndex`) is the recorder's and is only read here. What was removed stands in a file beside
it, ``NAME.removed.jsonl``: a segment is noted there, and only then is its file removed. Whatever a pass dies of, each
segment that is listed and not noted has its file; a file that is left of one that was noted goes with the next pass.

Texture goes by writing the segment anew without it beside the old file, which it then replaces in one step; after that
it is noted in ``NAME.texture.jsonl``. A pass that dies on the way leaves the old file or the new one, both whole.

Notes about segments that the recorder has left out of its index say nothing any more: both files are written anew
without them. In memory is what the index lists, events that are not older than it, and the latest.
"""

from __future__ import annotations

import enum
import errno
import os
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from duoview.errors import Error
from duoview.pipelines.segment_file import sync_path
from duoview.pipelines.segment_index import SEGMENTS, Segment, entry_of, index_path, removed_path

from .journal import JournalReader, JournalWriter, noted_numbers
from .texture import texture_of, write_without_texture

_CUT = ".cut"  # behind the name of a segment's file, while it is written anew
MARGIN = 5_000_000  # microseconds around an event that belong to it
_USELESS = 1024  # notes about segments that are not listed any more, for which the notes are written anew
_LATEST = 4096  # events that are remembered however old they are: those of what is not listed yet are among them


class Kind(enum.Enum):
    """What a recording holds."""

    CAMERA = "camera"  # the camera's packets, as they came
    CLIPS = "clips"  # the same, around events only
    MACHINE = "machine"  # the machine layer


class Tier(enum.Enum):
    """What a segment is worth, from the least on: in this order they go when the disk is full."""

    TEXTURE = "texture"  # of the machine layer while nothing happened; the segment stays
    TEXTURE_OF_EVENTS = "texture_of_events"  # the same around an event
    CONTINUOUS = "continuous"  # a camera's packets while nothing happened
    MOTION = "motion"  # while something moved
    EVENTS = "events"  # around an event of objects
    MACHINE_ONLY = "machine_only"  # the machine layer while nothing happened
    MACHINE_OF_EVENTS = "machine_of_events"  # the machine layer of an event: goes by its own age, or never


@dataclass(frozen=True, slots=True)
class Stored:
    """A segment that is there, or, in a tier of texture, the texture of one. bytes: that it takes on the disk."""

    archive: Archive
    segment: Segment
    tier: Tier
    bytes: int

    @property
    def end(self) -> int:
        """When its last frame came, in microseconds since 1970."""
        return self.segment.utc + round(self.segment.seconds * 1e6)


class Archive:
    """A recording and the events of its camera.

    Attributes: read: whether the last `refresh` succeeded: only then does it know all that there is.
    """

    def __init__(self, folder: Path, name: str, kind: Kind, *, events: Path | None = None) -> None:
        """`events`: the journal of the camera's events, as `EventJournal` writes it."""
        self.folder, self.name, self.kind = folder, name, kind
        self.read = False
        self._index = JournalReader(index_path(folder, name))
        self._notes = JournalReader(removed_path(folder, name))
        self._events = JournalReader(events) if events is not None else None
        self._segments: dict[int, Segment] = {}
        self._sizes: dict[int, int] = {}
        self._removed: set[int] = set()  # noted, and perhaps listed still
        self._useless: set[int] = set()  # those of them that the index does not list any more
        self._cut = JournalReader(texture_path(folder, name))
        self._textures: dict[int, int] = {}  # bytes by number, where somebody looked
        self._spans: dict[tuple[Any, ...], tuple[int, int, bool]] = {}  # begin, end, and whether it is only motion
        self._begun = False
        self._writer: JournalWriter | None = None
        self._cut_writer: JournalWriter | None = None

    def refresh(self) -> None:
        """Read what is new, and finish what an earlier pass left undone. Raises OSError, ContainerFormatError."""
        self.read = False
        # The notes first: what they name was listed before, while a segment may be listed and noted in between.
        fresh = set(self._notes.new(lambda note: int(note["number"])))
        self._removed = fresh if self._notes.anew else self._removed | fresh
        entries = self._index.new(_entry)
        if self._index.anew:
            self._segments, fresh = {}, self._removed  # what was removed is read again
            self._useless = _within(self._removed, [entry for entry in entries if isinstance(entry, range)])
        self._segments.update((entry.number, entry) for entry in entries if isinstance(entry, Segment))
        if not self._begun:
            self._finish_earlier_pass()
            self._begun = True
        for number in fresh:
            self._segments.pop(number, None)
        for number, _ in self._cut.new(_texture_note):
            if number in self._segments:
                self._textures[number] = 0
        if self._events is not None:
            spans = self._events.new(_span)
            self._spans = {} if self._events.anew else self._spans
            for key, span in spans:
                self._spans.pop(key, None)
                self._spans[key] = span  # as the latest
            self._forget_spans()
        self.read = True

    @property
    def oldest(self) -> int | None:
        """When its oldest segment begins, in microseconds since 1970; None where it has none, or was not read."""
        return min((one.utc for one in self._segments.values()), default=None)

    def _forget_spans(self) -> None:
        """Events older than all segments say nothing about those.

        The latest in the journal are kept in any case, for the segment that is not listed yet: where a clock was set
        back, it is older than all that are. No event's time says anything about others: one may be in the future.
        """
        begin, old = self.oldest, max(0, len(self._spans) - _LATEST)
        if old:
            self._spans = {key: span for number, (key, span) in enumerate(self._spans.items())
                           if number >= old or (begin is not None and span[1] + MARGIN >= begin)}

    def compact(self) -> bool:
        """Where there are many notes about segments that the index has left out, write the others anew; whether it did.

        A crash at any moment leaves old files or new ones, all whole. Raises OSError, ContainerFormatError.
        """
        useless = self._useless
        if len(useless) < _USELESS:
            return False
        for path in (texture_path(self.folder, self.name), removed_path(self.folder, self.name)):
            if not path.exists():
                continue
            writer = self._note_writer() if path == removed_path(self.folder, self.name) else self._texture_writer()
            reader = JournalReader(path)
            notes = reader.new(lambda note: (int(note["number"]), note))
            if not writer.rewrite((note for number, note in notes if number not in useless), seen=reader.seen):
                return False
        self._removed -= useless
        self._useless = set()
        return True

    def _finish_earlier_pass(self) -> None:
        there = {entry.name for entry in os.scandir(self.folder)}
        gone = []
        for segment in self._segments.values():
            if segment.file + _CUT in there:
                (self.folder / (segment.file + _CUT)).unlink(missing_ok=True)  # a pass died while it wrote it
        for number, segment in list(self._segments.items()):
            if number in self._removed:
                if segment.file in there:
                    (self.folder / segment.file).unlink(missing_ok=True)
                del self._segments[number]
            elif segment.file not in there:
                gone.append(segment)  # removed by hand, or a pass on a full disk died before its note was written
        if gone:
            self._note(gone, "missing")

    def stored(self) -> list[Stored]:
        """The segments that are there, oldest first."""
        motion, objects = self._intervals(motion=True), self._intervals(motion=False)
        found = []
        for one in self._segments.values():
            tier, size, texture = self._tier(one, motion, objects), self._size(one), self._texture(one)
            found.append(Stored(self, one, tier, max(0, size - texture)))
            if texture:
                of_event = tier is Tier.MACHINE_OF_EVENTS
                found.append(Stored(self, one, Tier.TEXTURE_OF_EVENTS if of_event else Tier.TEXTURE, texture))
        return found

    def drop_texture(self, segment: Segment) -> int:
        """Write a segment anew without its texture; returns the bytes that its file is smaller by.

        0 for a segment that is gone or has none. Raises OSError, and duoview.Error for one that is damaged, which then
        keeps its texture as long as this process lives; the segment stays as it was.
        """
        if segment.number not in self._segments or not self._texture(segment):
            return 0
        path, part = self.folder / segment.file, self.folder / (segment.file + _CUT)
        try:
            before = path.stat().st_size
        except FileNotFoundError:
            self._textures[segment.number] = 0
            return 0
        try:
            size = write_without_texture(path, part)
        except Error as error:
            if getattr(error, "errno", None) is None:  # not the system's fault, which may pass
                self._textures[segment.number] = 0
            raise
        after = part.stat().st_size
        part.replace(path)
        sync_path(self.folder)
        self._textures[segment.number] = 0
        self._sizes.pop(segment.number, None)
        self._texture_writer().add([{"number": segment.number, "bytes": size}], sync=True)
        return before - after

    def remove(self, segments: Sequence[Segment], why: str) -> int:
        """Note and remove segments; returns the bytes of their files. Raises OSError."""
        size = sum(self._size(segment) for segment in segments)
        try:
            self._note(segments, why)
        except OSError as error:
            if error.errno != errno.ENOSPC or not segments:
                raise
            # Not even the note fits: the first file goes before its note. Dying here leaves a segment without a file,
            # which the next process notes as missing.
            (self.folder / segments[0].file).unlink(missing_ok=True)
            self._note(segments, why)
        for segment in segments:
            (self.folder / segment.file).unlink(missing_ok=True)
        return size

    def size_of(self, segment: Segment) -> int:
        """Bytes that the file of a segment takes on the disk, texture included; 0 for one that is gone."""
        return self._size(segment)

    def close(self) -> None:
        """Let go of the notes. May be called more than once."""
        writers = self._writer, self._cut_writer
        self._writer = self._cut_writer = None
        for writer in writers:
            if writer is not None:
                writer.close()

    def _note(self, segments: Iterable[Segment], why: str) -> None:
        numbers = [segment.number for segment in segments]
        self._note_writer().add(({"number": number, "why": why} for number in numbers), sync=True)
        for number in numbers:
            self._segments.pop(number, None)
            self._sizes.pop(number, None)
            self._textures.pop(number, None)
        self._removed.update(numbers)

    def _note_writer(self) -> JournalWriter:
        if self._writer is None:
            self._writer = JournalWriter(removed_path(self.folder, self.name))
        return self._writer

    def _texture_writer(self) -> JournalWriter:
        if self._cut_writer is None:
            self._cut_writer = JournalWriter(texture_path(self.folder, self.name))
        return self._cut_writer

    def _size(self, segment: Segment) -> int:
        size = self._sizes.get(segment.number)
        if size is None:
            try:
                found = (self.folder / segment.file).stat()
                size = max(found.st_size, found.st_blocks * 512)
            except FileNotFoundError:
                size = 0
            self._sizes[segment.number] = size
        return size

    def _texture(self, segment: Segment) -> int:
        if self.kind is not Kind.MACHINE:
            return 0
        if segment.number not in self._textures:
            known = segment.texture
            self._textures[segment.number] = texture_of(self.folder / segment.file) if known is None else known
        return self._textures[segment.number]

    def _intervals(self, *, motion: bool) -> list[tuple[int, int]]:
        """Begin and end of the events of one sort, without overlaps, in order."""
        merged: list[tuple[int, int]] = []
        for begin, end, only_motion in sorted(self._spans.values()):
            if only_motion != motion:
                continue
            begin, end = begin - MARGIN, end + MARGIN
            if merged and begin <= merged[-1][1]:
                merged[-1] = merged[-1][0], max(merged[-1][1], end)
            else:
                merged.append((begin, end))
        return merged

    def _tier(self, segment: Segment, motion: list[tuple[int, int]], objects: list[tuple[int, int]]) -> Tier:
        end = segment.utc + round(segment.seconds * 1e6)
        of_objects = _overlaps(objects, segment.utc, end)
        if self.kind is Kind.MACHINE:
            event = of_objects or _overlaps(motion, segment.utc, end)
            return Tier.MACHINE_OF_EVENTS if event else Tier.MACHINE_ONLY
        if self.kind is Kind.CLIPS or of_objects:
            return Tier.EVENTS
        return Tier.MOTION if _overlaps(motion, segment.utc, end) else Tier.CONTINUOUS


def _within(numbers: Iterable[int], ranges: Sequence[range]) -> set[int]:
    """Those of the numbers that are in one of the ranges, which rise."""
    found = set()
    for number in numbers:
        after = bisect_right(ranges, number, key=lambda one: one.start)
        if after and number in ranges[after - 1]:
            found.add(number)
    return found


def _overlaps(intervals: list[tuple[int, int]], begin: int, end: int) -> bool:
    after = bisect_right(intervals, (end, end))
    return after > 0 and intervals[after - 1][1] >= begin


def texture_path(folder: Path, name: str) -> Path:
    """Where it is noted which segments of a recording lost their texture, and what is left of them."""
    return folder / f"{name}.texture.jsonl"


def present_segments(folder: Path, name: str) -> list[Segment]:
    """The listed segments of a recording that were not removed, as they are now. Raises OSError, ContainerFormatError.

    Of one that lost its texture, `bytes` counts what is left.
    """
    removed = set(noted_numbers(removed_path(folder, name)))
    cut = dict(JournalReader(texture_path(folder, name)).new(_texture_note))
    entries = JournalReader(index_path(folder, name)).new(_entry)
    listed = [entry for entry in entries if isinstance(entry, Segment)]
    return [replace(one, bytes=cut[one.number], texture=0) if one.number in cut else one
            for one in listed if one.number not in removed]


def oldest_segment(folder: Path, camera: str, known: Sequence[Archive]) -> int | None:
    """When the oldest segment of a camera begins, in microseconds since 1970; None where it has none.

    Counted are all recordings that lie in the folder under its name, also those that nobody asks for any more; what
    archives know is not read again. Raises OSError, ContainerFormatError.
    """
    begins = [archive.oldest for archive in known]
    names = [path.name.removesuffix(SEGMENTS) for path in folder.iterdir() if path.name.endswith(SEGMENTS)]
    for name in {name for name in names if f"{name}.".startswith(f"{camera}.")} - {archive.name for archive in known}:
        begins += [one.utc for one in present_segments(folder, name)]
    return min((begin for begin in begins if begin is not None), default=None)


def _texture_note(line: dict[str, Any]) -> tuple[int, int]:
    return int(line["number"]), int(line["bytes"])


def _entry(line: dict[str, Any]) -> Segment | range:
    entry = entry_of(line)
    if isinstance(entry, Segment) and entry.file != Path(entry.file).name:
        raise ValueError(f"{entry.file!r} is no name of a file beside it")  # what is listed may be removed
    return entry


def _span(line: dict[str, Any]) -> tuple[tuple[Any, ...], tuple[int, int, bool]]:
    """Of an event: what tells it from others, and its begin, its end, and whether it is only motion."""
    begin, end = int(line["start_utc_us"]), int(line["end_utc_us"])
    return (line["trigger"], line["number"], begin), (begin, end, line["kind"] == "motion")
