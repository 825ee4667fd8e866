"""What every judge here is: it looks at frames, and says how well that agrees with what it saw in the source."""

from __future__ import annotations

import abc
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import av
import onnxruntime
from PIL import Image

from bench.accuracy.clip import Clip
from bench.accuracy.metric import HEADLINE, Accuracy
from bench.accuracy.tally import Tally

#: What a judge sees in one frame.
Finding = TypeVar("Finding")


class Judge(abc.ABC, Generic[Finding]):
    """A network that judges. decides: it was never trained on. version: of its weights and of what runs them."""

    task: ClassVar[str]

    def __init__(self, name: str, version: str, *, decides: bool) -> None:
        self.name, self.version, self.decides = name, version, decides

    @property
    def headline(self) -> str:
        """The metric that it is asked for first."""
        return HEADLINE[self.task]

    @abc.abstractmethod
    def look(self, frames: Sequence[av.VideoFrame], clip: Clip) -> list[Finding]:
        """What it sees in every frame; of a clip, which may know where to look."""

    @abc.abstractmethod
    def assessed(self, found: Sequence[Finding], source: Sequence[Finding], clip: Clip) -> tuple[Accuracy, Tally]:
        """How well what was seen in coded pictures agrees with what the source shows, and with the clip's truth; and
        what that rests on, frame by frame."""

    def accuracy(self, found: Sequence[Finding], source: Sequence[Finding], clip: Clip) -> Accuracy:
        """The first of `assessed`."""
        return self.assessed(found, source, clip)[0]

    @abc.abstractmethod
    def count(self, finding: Finding) -> int:
        """How much there is to be seen in a frame; the one with most is shown."""

    @abc.abstractmethod
    def caption(self, finding: Finding) -> str:
        """In a few words."""

    @abc.abstractmethod
    def drawn(self, picture: Image.Image, finding: Finding) -> Image.Image:
        """The picture with what was seen in it."""

    @abc.abstractmethod
    def written(self, finding: Finding) -> str:
        """A finding as one line of text."""

    @abc.abstractmethod
    def read(self, line: str) -> Finding:
        """The same back."""


class SourceFindings:
    """What judges see in the uncoded clips: computed once, kept in a folder, by digests of clip and judge."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, clip: Clip, judge: Judge[Any]) -> list[Any]:
        """The finding of every frame."""
        key = hashlib.sha256(f"{clip.sha256} {judge.version}".encode()).hexdigest()[:32]
        path = self._folder / f"{key}.jsonl"
        if path.is_file():
            found = [judge.read(line) for line in path.read_text(encoding="utf-8").splitlines()]
            if len(found) == len(clip.frames):
                return found
        found = judge.look(clip.frames, clip)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text("".join(judge.written(item) + "\n" for item in found), encoding="utf-8")
        fresh.replace(path)
        return found


def version_of(files: Sequence[Path], *more: object) -> str:
    """A digest of files, those that exist, of onnxruntime's version and of whatever else decides what is seen."""
    digest = hashlib.sha256()
    for part in files:
        if part.is_file():
            digest.update(part.read_bytes())
    text = ", ".join([digest.hexdigest()[:12], f"onnxruntime {onnxruntime.__version__}", *map(str, more)])
    return hashlib.sha256(text.encode()).hexdigest()[:16]
