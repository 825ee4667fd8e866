"""Judges at work: what they find in a clip, kept for the source, and how well they find it again in what was coded."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version as distribution_version
from pathlib import Path

import av
import numpy as np
import onnxruntime

from bench.accuracy.clip import Clip
from bench.average_precision import AveragePrecision, Reference, agreement, average_precision
from bench.judges import FLOOR, JUDGES, open_judge
from duoview.boxes import suppress
from duoview.detections import Detections
from duoview.detectors import Detector, load

#: Score from which an object of the source is to be found again.
ABOVE = 0.45
#: What counts as one kind: a detector that calls a van a truck has still seen it.
GROUPS = {"person": "person", "car": "vehicle", "bus": "vehicle", "truck": "vehicle", "motorcycle": "vehicle",
          "vehicle": "vehicle"}
KINDS = ("person", "vehicle")
#: Objects of one kind in the source's frames, taken together, that are needed to judge by.
LEAST_OBJECTS = 5


@dataclass(frozen=True)
class Accuracy:
    """Agreement with the source's detections, and average precision of persons against ground truth where there is one.

    kinds: those that were judged; objects: how many of them the source's frames hold. Values are None where there was
    nothing to judge by, and `reason` says so.
    """

    ap50: float | None
    ap75: float | None
    ap50_95: float | None
    kinds: tuple[str, ...]
    objects: int
    real_ap50: float | None = None
    real_ap75: float | None = None
    real_ap50_95: float | None = None
    reason: str = ""


class Judge:
    """A detector that judges. decides: it was never trained on. version: of its weights and of what runs them."""

    def __init__(self, name: str, detector: Detector, version: str, *, decides: bool) -> None:
        self.name, self.version, self.decides = name, version, decides
        self._detector = detector

    def look(self, frames: Sequence[av.VideoFrame]) -> list[Detections]:
        """What it finds in every frame, by kinds."""
        iou = self._detector.description.iou or self._detector.description.family.iou
        return [grouped(self._detector([frame])[0], iou) for frame in frames]


def open_named(name: str, weights: Path | None, *, threads: int = 1) -> Judge:
    """A judge of bench/judges.py by its name, its file in the folder `weights`; or any detector by its own file.

    Another detector's description lies beside it (docs/detectors.md); it never decides. Raises ValueError for a name
    that is neither, and load()'s errors.
    """
    if name in JUDGES:
        if weights is None:
            raise ValueError(f"judge {name}: --weights, the folder of the networks, is needed")
        file, decides = weights / JUDGES[name].file, JUDGES[name].decides
        detector = open_judge(name, weights, threads=threads)
    else:
        file, decides = Path(name), False
        if not file.is_file():
            raise ValueError(f"judge {name!r}: expected one of {', '.join(JUDGES)}, or the file of a detector")
        detector = load(file, threads=threads, confidence=FLOOR)
    digest = hashlib.sha256()
    for part in (file, *(file.with_suffix(suffix) for suffix in (".bin", ".toml"))):
        if part.is_file():
            digest.update(part.read_bytes())
    version = f"{digest.hexdigest()[:12]}, {_runtime(file)}, from {FLOOR}, {detector.description!r}"
    return Judge(file.stem if name not in JUDGES else name, detector,
                 hashlib.sha256(version.encode()).hexdigest()[:16], decides=decides)


def grouped(detections: Detections, iou: float) -> Detections:
    """Persons and vehicles of a detector that knows either, as two classes; another detector's as they are.

    What it saw twice, as a car and as a truck, counts once: suppression goes over the kinds again.
    """
    if not set(detections.names) & set(GROUPS):
        return detections
    kinds = [GROUPS.get(detections.names[index], "") for index in detections.classes]
    mask = np.array([kind != "" for kind in kinds], np.bool_)
    kept = detections.keep(mask)
    classes = np.array([KINDS.index(kind) for kind in kinds if kind], np.int32)
    merged = replace(kept, classes=classes, names=KINDS)
    return merged.keep(suppress(merged.boxes, merged.scores, merged.classes, iou=iou))


class SourceFindings:
    """What judges find in the uncoded clips: computed once, kept in a folder, by digests of clip and judge."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def of(self, clip: Clip, judge: Judge) -> list[Detections]:
        """The detections of every frame."""
        key = hashlib.sha256(f"{clip.sha256} {judge.version}".encode()).hexdigest()[:32]
        path = self._folder / f"{key}.jsonl"
        if path.is_file():
            found = [Detections.from_json(line) for line in path.read_text(encoding="utf-8").splitlines()]
            if len(found) == len(clip.frames):
                return found
        found = judge.look(clip.frames)
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(path.name + ".new")
        fresh.write_text("".join(item.to_json() + "\n" for item in found), encoding="utf-8")
        fresh.replace(path)
        return found


def accuracy(found: Sequence[Detections], source: Sequence[Detections], truth: Sequence[Reference] | None) -> Accuracy:
    """How well what was found in coded pictures agrees with the source's detections, and with the truth."""
    counts: dict[str, int] = {}
    for item in source:
        for index in item.above(ABOVE).classes:
            counts[item.names[index]] = counts.get(item.names[index], 0) + 1
    kinds = tuple(sorted(kind for kind, count in counts.items() if count >= LEAST_OBJECTS))
    real50, real75, real50_95 = _real(found, truth)
    if not kinds:
        seen = ", ".join(f"{count} of {kind}" for kind, count in sorted(counts.items())) or "nothing"
        return Accuracy(None, None, None, (), 0, real50, real75, real50_95,
                        f"the judge finds {seen} above {ABOVE} in the source, {LEAST_OBJECTS} are needed")
    result = agreement(found, source, above=ABOVE, classes=kinds)
    return Accuracy(result.ap50, result.ap75, result.ap50_95, kinds, sum(result.objects), real50, real75,
                    real50_95)


def _real(found: Sequence[Detections], truth: Sequence[Reference] | None) -> tuple[float | None, ...]:
    if truth is None or all(item.ignored.all() for item in truth):
        return None, None, None
    names = set(found[0].names) if found else set()
    if "person" not in names:
        return None, None, None
    result: AveragePrecision = average_precision(found, truth, classes=("person",))
    return result.ap50, result.ap75, result.ap50_95


def _runtime(file: Path) -> str:
    if file.suffix == ".xml":
        return f"openvino {distribution_version('openvino')}"
    return f"onnxruntime {onnxruntime.__version__}"
