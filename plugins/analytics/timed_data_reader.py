"""Records out of timed data: JSON or KLV, in a file of anybody's that may hold more than ours."""

from __future__ import annotations

import json
import os
from collections import deque
from collections.abc import Callable
from fractions import Fraction
from types import TracebackType
from typing import Any, Self

import av

from duoview.errors import ContainerError, ContainerFormatError
from duoview.plugins.containers.failure import FAILURES, translate

from .key_length_value import DOCUMENT, DUOVIEW_KEY, UAS_KEY, read_sets

_UNIVERSAL = UAS_KEY[:4]


class TimedDataReader:
    """The records of a file's first data stream, an iterator of times in seconds of the file and records, in order.

    A packet whose record cannot be read is an error of that packet only: `next` raises it, and called again goes on
    with the next packet; or `damaged` is told of it, and a loop goes on by itself. KLV sets under keys of others are
    passed over by their lengths, whatever is in them.

    Attributes:
        skipped: packets so far that held KLV of others and no record.
    """

    def __init__(self, path: str | os.PathLike[str], *,
                 damaged: Callable[[ContainerError], object] | None = None) -> None:
        """Raises ContainerError for a file that cannot be opened, ContainerFormatError for one without timed data."""
        self._name = str(path)
        self._damaged = damaged
        self.skipped = 0
        try:
            self._container = av.open(self._name)
        except FAILURES as error:
            raise translate(error, self._name, "read") from error
        streams = [stream for stream in self._container.streams if stream.type == "data"]
        if not streams:
            self._container.close()
            raise ContainerFormatError(f"{self._name}: it has no stream of timed data", name=self._name)
        self._is_klv = streams[0].name == "klv"
        self._packets = self._container.demux(streams[0])
        self._coming: deque[tuple[Fraction, dict[str, Any]]] = deque()

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> tuple[Fraction, dict[str, Any]]:
        """The next record. Raises ContainerError for a packet whose record cannot be read, and where reading fails."""
        while not self._coming:
            try:
                packet = next(self._packets, None)
            except FAILURES as error:
                raise translate(error, self._name, "read") from error
            if packet is None:
                self.close()
                raise StopIteration
            if packet.size:  # that at the end has none
                try:
                    self._coming.extend(self._records(packet))
                except ContainerError as error:
                    if self._damaged is None:
                        raise
                    self._damaged(error)
        return self._coming.popleft()

    def _records(self, packet: av.Packet[Any]) -> list[tuple[Fraction, dict[str, Any]]]:
        data = bytes(packet)
        is_klv = self._is_klv or data.startswith(_UNIVERSAL)
        if is_klv and DUOVIEW_KEY not in data:
            self.skipped += 1
            return []
        if packet.pts is None or packet.time_base is None:
            raise ContainerError(f"{self._name}: a record without a time", name=self._name)
        time = Fraction(packet.pts) * Fraction(packet.time_base)
        what = f"{self._name}: the data at {time} s"
        texts = [data]
        if is_klv:
            try:
                sets = [one.items() for one in read_sets(data) if one.key == DUOVIEW_KEY]
            except ContainerError as error:
                raise ContainerError(f"{what}: {error}", name=self._name) from None
            texts = [one[DOCUMENT] for one in sets if DOCUMENT in one]
            self.skipped += not texts
        return [(time, self._record(text, what)) for text in texts]

    def _record(self, text: bytes, what: str) -> dict[str, Any]:
        try:
            content = json.loads(text)
        except ValueError as error:
            raise ContainerError(f"{what} is no JSON: {error}", name=self._name) from error
        if not isinstance(content, dict):
            raise ContainerError(f"{what} is no record: it is {type(content).__name__}, expected an object",
                                 name=self._name)
        return content

    def close(self) -> None:
        """Close the file, as the last record does too; no more records come."""
        self._packets = iter(())
        self._container.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def read_records(path: str | os.PathLike[str], *,
                 damaged: Callable[[ContainerError], object] | None = None) -> TimedDataReader:
    """The records of a file, JSON or KLV, each with its time; as `TimedDataReader`, which it opens."""
    return TimedDataReader(path, damaged=damaged)
