"""What has been measured already: one line of JSON for every size and every verdict, only ever added to."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from bench.accuracy.metric import Accuracy


@dataclass(frozen=True)
class Size:
    """Bytes of a coded clip, asked for on the way to the points that are judged."""

    clip_sha256: str
    codec: str
    version: str
    quality: int
    bytes: int


@dataclass(frozen=True)
class Verdict:
    """One judge on one clip coded by one codec at one quality; on the source itself where the codec is ``source``.

    frames: or pictures, of which width and height are the largest. codec: the label, variant included; base: its name
    without. key, latency, scale: the variant. bytes: of the file in NUT, or those that count; seconds: CPU time of all
    threads for the whole clip. task: of the judge. pixels: of all frames together, 0 where nobody wrote that down.
    """

    clip: str
    clip_sha256: str
    width: int
    height: int
    frames: int
    rate: str
    codec: str
    base: str
    ours: bool
    key: str
    latency: str
    scale: float
    version: str
    quality: int
    bytes: int
    encode_seconds: float
    decode_seconds: float
    judge: str
    judge_version: str
    decides: bool
    accuracy: Accuracy
    task: str = "detection"
    pixels: int = 0

    @property
    def bytes_per_frame(self) -> float:
        """Of the whole file, headers included."""
        return self.bytes / self.frames

    @property
    def bits_per_pixel(self) -> float | None:
        """None where it is not known how many pixels there are."""
        return 8 * self.bytes / self.pixels if self.pixels else None


SizeKey = tuple[str, str, str, int]
VerdictKey = tuple[str, str, str, int, str]


class Ledger:
    """The file of results. One run has it at a time; what it holds is skipped by the next.

    A last line that a killed run left unfinished is dropped. Raises ValueError for any other line that cannot be read,
    BlockingIOError when another run has the file.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._sizes: dict[SizeKey, Size] = {}
        self._verdicts: dict[VerdictKey, Verdict] = {}
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._read()
        except BlockingIOError:
            self._file.close()
            raise BlockingIOError(11, f"{path}: another run is writing it") from None
        except ValueError:
            self._file.close()
            raise

    def size(self, clip_sha256: str, codec: str, version: str, quality: int) -> int | None:
        """Bytes of a coded clip, None where it was not coded yet."""
        known = self._sizes.get((clip_sha256, codec, version, quality))
        return known.bytes if known else None

    def verdict(self, clip_sha256: str, codec: str, version: str, quality: int, judge_version: str) -> Verdict | None:
        """A verdict, None where there is none of these versions."""
        return self._verdicts.get((clip_sha256, codec, version, quality, judge_version))

    def add(self, item: Size | Verdict) -> None:
        """Write one down; it is in the file when this returns."""
        kind = "size" if isinstance(item, Size) else "verdict"
        line = json.dumps({"kind": kind, **asdict(item)}, ensure_ascii=False, allow_nan=False)
        self._file.write(line.encode() + b"\n")
        self._file.flush()
        self._keep(item)

    def __iter__(self) -> Iterator[Verdict]:
        return iter(self._verdicts.values())

    def close(self) -> None:
        """Let other runs have the file."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def _keep(self, item: Size | Verdict) -> None:
        if isinstance(item, Size):
            self._sizes[item.clip_sha256, item.codec, item.version, item.quality] = item
        else:
            key = (item.clip_sha256, item.codec, item.version, item.quality, item.judge_version)
            self._verdicts[key] = item

    def _read(self) -> None:
        self._file.seek(0)
        content = self._file.read()
        whole = content.rfind(b"\n") + 1
        if whole != len(content):
            print(f"{self.path}: the last line was cut off and is dropped")
            os.ftruncate(self._file.fileno(), whole)
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                self._keep(_parsed(json.loads(line)))
            except (ValueError, TypeError, KeyError, AttributeError) as error:
                raise ValueError(f"{self.path}, line {number}: no result of this program ({error}); "
                                 "move the file away to begin anew") from None
        self._file.seek(0, os.SEEK_END)


def _parsed(content: dict[str, Any]) -> Size | Verdict:
    kind = content.pop("kind")
    if kind == "size":
        return Size(**content)
    if kind != "verdict":
        raise ValueError(f"kind {kind!r}")
    given = content.pop("accuracy")
    # Lines written before a metric existed lack it; their judges' versions keep them apart where that matters.
    if not set(given) <= {field.name for field in fields(Accuracy)}:
        raise ValueError(f"accuracy of {', '.join(given)}")
    return Verdict(**content, accuracy=Accuracy(**{**given, "kinds": tuple(given["kinds"])}))
