"""What judges measure: one dataclass for the accuracy of a coded clip, and the names of its numbers."""

from __future__ import annotations

from dataclasses import dataclass

#: The tasks that judges have.
TASKS = ("detection", "landmarks", "segmentation", "classification")


@dataclass(frozen=True)
class Accuracy:
    """How well a judge does on coded pictures; None where there was nothing to judge by, and `reason` says so.

    ap50, ap75, ap50_95: average precision of agreement with the detections in the source. hota: of its tracks with the
    source's. nme: mean distance of landmarks to those in the source, in distances between the eyes. miou: mean
    intersection over union with the source's segmentation. top1: share of pictures with the class that the source has.
    real_*: against ground truth. kinds: the classes that were judged; objects: how many of them the source holds.
    """

    ap50: float | None = None
    ap75: float | None = None
    ap50_95: float | None = None
    kinds: tuple[str, ...] = ()
    objects: int = 0
    real_ap50: float | None = None
    real_ap75: float | None = None
    real_ap50_95: float | None = None
    reason: str = ""
    hota: float | None = None
    real_hota: float | None = None
    nme: float | None = None
    real_nme: float | None = None
    miou: float | None = None
    top1: float | None = None

    @property
    def landmarks(self) -> float | None:
        """1 - nme, at least 0: rises with rate as the others do."""
        return None if self.nme is None else max(0.0, 1 - self.nme)

    @property
    def real_landmarks(self) -> float | None:
        """1 - real_nme, at least 0."""
        return None if self.real_nme is None else max(0.0, 1 - self.real_nme)

    def value(self, metric: str) -> float | None:
        """One of METRICS. Raises ValueError for a name that is none."""
        if metric not in METRICS:
            raise ValueError(f"metric {metric!r}: expected one of {', '.join(METRICS)}")
        found: float | None = getattr(self, metric)
        return found


@dataclass(frozen=True)
class Metric:
    """A number from 0 to 1 that more is better of. title: in tables. task: of the judges that give it."""

    title: str
    task: str


METRICS = {
    "ap50": Metric("AP50", "detection"),
    "ap75": Metric("AP75", "detection"),
    "ap50_95": Metric("AP50:95", "detection"),
    "real_ap50": Metric("real AP50", "detection"),
    "real_ap75": Metric("real AP75", "detection"),
    "real_ap50_95": Metric("real AP50:95", "detection"),
    "hota": Metric("HOTA", "detection"),
    "real_hota": Metric("real HOTA", "detection"),
    "landmarks": Metric("1 - NME", "landmarks"),
    "real_landmarks": Metric("1 - real NME", "landmarks"),
    "miou": Metric("mIoU", "segmentation"),
    "top1": Metric("top-1", "classification"),
}
#: What a judge of each task is asked for first.
HEADLINE = {"detection": "ap75", "landmarks": "real_landmarks", "segmentation": "miou", "classification": "top1"}
