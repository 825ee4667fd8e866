"""Tracks of what a judge detects, and HOTA of them (Luiten et al., 2021) as TrackEval computes it.

Detections become tracks by ByteTrack (Zhang et al., 2022) of the package `trackers`, one tracker for every kind of
object. Both packages come with the extra ``bench``.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as distribution_version
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from bench.accuracy.detection import ABOVE, grouped_truth
from bench.average_precision import Reference
from duoview.boxes import intersection_over_union
from duoview.detections import Detections

#: Score from which a box may go on with a track that is there; ABOVE begins one. ByteTrack's own low score.
LOW = 0.1
#: Overlap from which a track that follows an ignored object is left out, as in MOTChallenge.
LEAST_OVERLAP = 0.5


@dataclass(frozen=True, eq=False)
class Tracked:
    """Objects of one kind in one frame: boxes (N, 4) in pixels, ids (N,), each once."""

    boxes: NDArray[Any]
    ids: NDArray[np.int64]


def packages() -> str:
    """Names and versions of what decides the numbers. Raises ModuleNotFoundError that says what is missing."""
    try:
        return ", ".join(f"{name} {distribution_version(name)}" for name in ("trackers", "trackeval"))
    except PackageNotFoundError as error:
        raise ModuleNotFoundError(f"tracking needs the package {error.name}: install the extra bench") from None


def tracks(found: Sequence[Detections], kind: str, rate: float) -> list[Tracked]:
    """Tracks of one kind of object through the frames. rate: frames per second."""
    from supervision import Detections as Boxes
    from trackers import ByteTrackTracker

    tracker = ByteTrackTracker(frame_rate=rate, track_activation_threshold=ABOVE, high_conf_det_threshold=ABOVE)
    made = []
    for item in found:
        kept = item.of(kind).above(LOW)
        seen = tracker.update(Boxes(xyxy=kept.boxes.astype(np.float64), confidence=kept.scores.astype(np.float64),
                                    class_id=np.zeros(len(kept), np.int64)))
        ids = np.array(seen.tracker_id if seen.tracker_id is not None else [], np.int64)
        made.append(Tracked(np.asarray(seen.xyxy, np.float64).reshape(-1, 4)[ids >= 0], ids[ids >= 0]))
    return made


def hota_of_tracks(found: Sequence[Detections], source: Sequence[Detections], rate: float, kinds: Sequence[str]
                   ) -> float | None:
    """HOTA of the tracks in coded pictures against those in the source; None where the source has none."""
    pairs = [(tracks(found, kind, rate), tracks(source, kind, rate)) for kind in kinds]
    return hota([pair for pair in pairs if any(len(item.ids) for item in pair[1])])


def hota_of_truth(found: Sequence[Detections], truth: Sequence[Reference] | None, rate: float) -> float | None:
    """HOTA of the tracks against ground truth; None where nobody wrote down who is who."""
    if truth is None or not found or not any(item.ids for item in truth):
        return None
    wanted = [grouped_truth(item) for item in truth]
    present = {name for item in wanted for name, out in zip(item.names, item.ignored, strict=True) if not out}
    pairs = []
    for kind in sorted(present & set(found[0].names)):
        made = [_without_ignored(item, reference, kind)
                for item, reference in zip(tracks(found, kind, rate), wanted, strict=True)]
        pairs.append((made, [_of_truth(item, kind) for item in wanted]))
    return hota(pairs)


def hota(pairs: Sequence[tuple[Sequence[Tracked], Sequence[Tracked]]]) -> float | None:
    """HOTA, mean over its 19 thresholds, of (tracks, wanted tracks) of every kind; kinds are put together as TrackEval
    does sequences, by what was found in each. None without any pair."""
    if not pairs:
        return None
    # TrackEval prints about data sets that it could read if it had more packages: none of them is read here.
    with contextlib.redirect_stdout(io.StringIO()):
        from trackeval.metrics import HOTA
    measure: Any = HOTA()
    results = {str(number): measure.eval_sequence(_sequence(*pair)) for number, pair in enumerate(pairs)}
    return float(np.mean(measure.combine_sequences(results)["HOTA"]))


def _sequence(found: Sequence[Tracked], wanted: Sequence[Tracked]) -> dict[str, Any]:
    """As TrackEval wants it: ids from 0 without gaps, and the overlap of all with all, frame by frame."""
    if len(found) != len(wanted):
        raise ValueError(f"tracks of {len(found)} frames, wanted ones of {len(wanted)}")
    data: dict[str, Any] = {"similarity_scores": [
        intersection_over_union(there.boxes, here.boxes) for here, there in zip(found, wanted, strict=True)]}
    for name, side in (("tracker", found), ("gt", wanted)):
        known = np.unique(np.concatenate([item.ids for item in side])) if side else np.zeros(0, np.int64)
        data[f"{name}_ids"] = [np.searchsorted(known, item.ids) for item in side]
        data[f"num_{name}_ids"] = len(known)
        data[f"num_{name}_dets"] = sum(len(item.ids) for item in side)
    return data


def _of_truth(reference: Reference, kind: str) -> Tracked:
    kept = np.array([name == kind for name in reference.names], np.bool_) & ~np.asarray(reference.ignored, np.bool_)
    return Tracked(np.asarray(reference.boxes, np.float64)[kept], np.array(reference.ids, np.int64)[kept])


def _without_ignored(found: Tracked, reference: Reference, kind: str) -> Tracked:
    """The objects of a frame but those that are best explained by something to be ignored."""
    ours = np.array([name == kind for name in reference.names], np.bool_)
    boxes, ignored = np.asarray(reference.boxes)[ours], np.asarray(reference.ignored, np.bool_)[ours]
    if not ignored.any() or not len(found.ids):
        return found
    overlap = intersection_over_union(found.boxes, boxes)
    overlap = np.where(overlap >= LEAST_OVERLAP, overlap, 0)
    rows, columns = linear_sum_assignment(-overlap)
    out = rows[(overlap[rows, columns] > 0) & ignored[columns]]
    kept = np.setdiff1d(np.arange(len(found.ids)), out)
    return Tracked(found.boxes[kept], found.ids[kept])
