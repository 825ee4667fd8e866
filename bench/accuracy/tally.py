"""What a verdict rests on, frame by frame: accuracy of any choice of the frames, without a network that looks again."""

from __future__ import annotations

import abc
import hashlib
import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from bench.accuracy.ledger import Verdict
from bench.average_precision import COCO_THRESHOLDS, Matched
from duoview.literals import stored_arrays

Array = NDArray[np.float64]
Weights = NDArray[np.int32]
_THRESHOLDS = {"ap50": (0.5,), "ap75": (0.75,), "ap50_95": COCO_THRESHOLDS}
_SIDES = ("agreement", "real")
_MATCHED = ("frames", "right", "counted", "objects")
#: Objects of one kind in the source's frames, taken together, that are needed to judge by.
LEAST_OBJECTS = 5
#: Share of all the source's pixels that a class needs to be judged: a rare one would be noise of equal weight.
LEAST_SHARE = 0.005


class Tally(abc.ABC):
    """A judge's findings in coded frames beside what was to be found, as numbers of every frame."""

    @abc.abstractmethod
    def values(self, metric: str, weights: Weights) -> Array | None:
        """Accuracy of every choice of frames, (D,); NaN for one that holds nothing to judge by. None for a metric that
        does not come from frames one by one. weights (D, F): how often each frame is in a choice."""

    @abc.abstractmethod
    def arrays(self) -> dict[str, NDArray[Any]]:
        """As it is kept in a file."""

    @classmethod
    @abc.abstractmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        """The same back."""

    def value(self, metric: str, frames: int) -> float | None:
        """Accuracy of all `frames`, each once."""
        found = self.values(metric, np.ones((1, frames), np.int32))
        return None if found is None or np.isnan(found[0]) else float(found[0])


@dataclass(frozen=True, eq=False)
class MeanTally(Tally):
    """Accuracy that is a mean over frames, and 0 where that is negative. rows: (F,) by metric."""

    rows: dict[str, Array]

    def values(self, metric: str, weights: Weights) -> Array | None:
        if metric not in self.rows:
            return None
        return np.maximum(0.0, weights @ self.rows[metric] / weights.sum(axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return dict(self.rows)

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        return cls(dict(arrays))


@dataclass(frozen=True, eq=False)
class OverlapTally(Tally):
    """Mean intersection over union. shared, ours, theirs (F, C) int64: pixels of every class that both, the coded frame
    and the source have; judged (C,) bool: which classes the clip is judged by."""

    shared: NDArray[np.int64]
    ours: NDArray[np.int64]
    theirs: NDArray[np.int64]
    judged: NDArray[np.bool_]

    def values(self, metric: str, weights: Weights) -> Array | None:
        if metric != "miou":
            return None
        shared, ours, theirs = (weights @ part for part in (self.shared, self.ours, self.theirs))
        counts = self.judged & (theirs >= np.maximum(1, LEAST_SHARE * theirs.sum(axis=1, keepdims=True)))
        each = np.where(counts, shared / np.maximum(1, ours + theirs - shared), 0)
        number = counts.sum(axis=1)
        return np.where(number > 0, each.sum(axis=1) / np.maximum(1, number), np.nan)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {"shared": self.shared, "ours": self.ours, "theirs": self.theirs, "judged": self.judged}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        return cls(**arrays)


@dataclass(frozen=True, eq=False)
class PrecisionTally(Tally):
    """Average precision at COCO's thresholds. agreement, real: matches by the kinds that the clip is judged by, with
    the source's detections and with the truth."""

    agreement: dict[str, Matched]
    real: dict[str, Matched]

    def values(self, metric: str, weights: Weights) -> Array | None:
        thresholds = _THRESHOLDS.get(metric.removeprefix("real_"))
        if thresholds is None:
            return None
        total, number = np.zeros(len(weights)), np.zeros(len(weights), np.int64)
        for item in (self.real if metric.startswith("real_") else self.agreement).values():
            counts = weights @ item.objects >= LEAST_OBJECTS
            area = np.mean([item.areas(COCO_THRESHOLDS.index(value), weights) for value in thresholds], axis=0)
            total += np.where(counts, area, 0)
            number += counts
        return np.where(number > 0, total / np.maximum(1, number), np.nan)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {f"{side}/{kind}/{name}": getattr(item, name) for side in _SIDES
                for kind, item in getattr(self, side).items() for name in _MATCHED}

    @classmethod
    def of(cls, arrays: Mapping[str, NDArray[Any]]) -> Self:
        sides: dict[str, dict[str, Matched]] = {side: {} for side in _SIDES}
        for key in arrays:
            side, _, rest = key.partition("/")
            kind = rest.rpartition("/")[0]
            if kind not in sides[side]:
                sides[side][kind] = Matched(**{name: arrays[f"{side}/{kind}/{name}"] for name in _MATCHED})
        return cls(**sides)


_KINDS: dict[str, type[Tally]] = {"detection": PrecisionTally, "landmarks": MeanTally, "segmentation": OverlapTally,
                                  "classification": MeanTally}


class UnreadablePointError(ValueError):
    """A file of `Tallies` is damaged, or of another clip."""


@dataclass(frozen=True, eq=False)
class Point:
    """One verdict, frame by frame. bytes (F,): that count, as `Coded.sizes`. block: frames that are drawn together."""

    bytes: Array
    block: int
    tally: Tally


class Tallies:
    """The points of verdicts in a folder, a file each, written before its verdict is."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, verdict: Verdict, point: Point) -> None:
        """Write one; it is in the file when this returns."""
        file = io.BytesIO()
        np.savez_compressed(file, allow_pickle=False, bytes=point.bytes, block=np.array(point.block),
                            **{f"tally/{name}": array for name, array in point.tally.arrays().items()})
        path = self._path(verdict)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_bytes(file.getvalue())
        fresh.replace(path)

    def of(self, verdict: Verdict) -> Point | None:
        """That of a verdict; None for one that was written before points were kept.

        Raises UnreadablePointError for a file that cannot be read or is of another number of frames.
        """
        path = self._path(verdict)
        if not path.is_file():
            return None
        try:
            arrays = stored_arrays(path)
            inside = {name.removeprefix("tally/"): array for name, array in arrays.items() if name.startswith("tally/")}
            point = Point(arrays["bytes"], int(arrays["block"]), _KINDS[verdict.task].of(inside))
        except (ValueError, KeyError, TypeError) as error:
            raise UnreadablePointError(f"{path}: no verdict of this program frame by frame ({error}); move the ledger "
                                       "and this folder away to begin anew") from None
        if point.bytes.shape != (verdict.frames,):
            raise UnreadablePointError(f"{path}: {len(point.bytes)} frames, the verdict is on {verdict.frames}; move "
                                       "the ledger and this folder away to begin anew")
        return point

    def _path(self, verdict: Verdict) -> Path:
        key = (verdict.clip_sha256, verdict.codec, verdict.version, str(verdict.quality), verdict.judge_version)
        return self._folder / f"{hashlib.sha256(chr(0).join(key).encode()).hexdigest()[:32]}.npz"
