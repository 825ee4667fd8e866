"""How much of what networks see in the source they still see in coded pictures, and x265's bits for as much.

For validation while training: pictures that are held back, networks that may be trained against. What counts in the end
is judged by others (`bench.accuracy`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import pairwise

import av
import numpy as np
import torch
from av.codec.context import Flags
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from duoview.boxes import intersection_over_union
from duoview.detections import Detections
from duoview.models.data import Picture
from duoview.models.patch_clusters import spherical_means
from duoview.models.shufflenet import ShuffleNet

#: A detector: pictures (H, W, 3), uint8 RGB -> what it finds in each.
Judge = Callable[[Sequence[Picture]], Sequence[Detections]]
#: Scores of objects that have to be there on the other side, and of those that may answer for them.
SURE, POSSIBLE = 0.4, 0.3
#: Side of the pictures that a classifier sees, whatever their shape.
CLASSIFIED = 224


def through_yuv(picture: Picture) -> Picture:
    """A picture as it is after 4:2:0 chroma, which every codec here is given: (H, W, 3), both sides made even."""
    height, width = (side // 2 * 2 for side in picture.shape[:2])
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture[:height, :width]), format="rgb24")
    return _rgb(frame.reformat(format="yuv420p", dst_colorspace="ITU601"))


def _rgb(frame: av.VideoFrame) -> Picture:
    return frame.reformat(format="rgb24", src_colorspace="ITU601").to_ndarray().astype(np.uint8, copy=False)


def x265_intra(picture: Picture, crf: int, preset: str = "medium") -> tuple[Picture, int]:
    """A picture coded by x265 as one key frame, decoded again, and its bytes without parameter sets."""
    height, width = picture.shape[:2]
    encoder = av.CodecContext.create("libx265", "w")
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = width, height, "yuv420p", Fraction(1, 1)
    encoder.flags |= Flags.global_header
    encoder.options = {"preset": preset, "crf": str(crf),
                       "x265-params": "log-level=none:info=0:keyint=1:frame-threads=1:pools=none:no-wpp=1"}
    source = av.VideoFrame.from_ndarray(picture, format="rgb24").reformat(format="yuv420p", dst_colorspace="ITU601")
    source.pts = 0
    packets = [*encoder.encode(source), *encoder.encode(None)]
    decoder = av.CodecContext.create("hevc", "r")
    decoder.extradata = encoder.extradata
    frames = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    return _rgb(frames[0]), sum(packet.size for packet in packets)


def _matched(objects: Detections, others: Detections, overlap: float) -> tuple[int, int]:
    """(sure objects, those of them that one of the others of their class covers)."""
    sure, possible = objects.scores >= SURE, others.scores >= POSSIBLE
    if not sure.any() or not possible.any():
        return int(sure.sum()), 0
    same = objects.classes[sure][:, None] == others.classes[possible][None]
    near = intersection_over_union(objects.boxes[sure], others.boxes[possible]) >= overlap
    return int(sure.sum()), int((same & near).any(1).sum())


def agreement(found: Sequence[Detections], source: Sequence[Detections], overlap: float) -> float:
    """How far detections agree with those in the source: the mean of recall and precision, 0 to 1.

    overlap: intersection over union from which two boxes are the same. Where nothing is found in the coded pictures,
    precision is 0. Raises ValueError when the source holds no sure object.
    """
    wanted = [_matched(there, here, overlap) for here, there in zip(found, source, strict=True)]
    given = [_matched(here, there, overlap) for here, there in zip(found, source, strict=True)]
    objects, answers = sum(n for n, _ in wanted), sum(n for n, _ in given)
    if not objects:
        raise ValueError("agreement: no sure object in the source")
    recall = sum(n for _, n in wanted) / objects
    return (recall + (sum(n for _, n in given) / answers if answers else 0.0)) / 2


class PseudoClasses:
    """Classes without labels: which of the clusters of a backbone's last features a picture falls into.

    After the pseudo-labels of Caron et al. (ECCV 2018): K-means over training pictures, with a fixed seed.
    """

    def __init__(self, network: ShuffleNet, pictures: Sequence[Picture], clusters: int = 64, rounds: int = 20) -> None:
        self.network = network
        features = torch.cat([self._features(pictures[at:at + 16]) for at in range(0, len(pictures), 16)])
        self._mean, self._std = features.mean(0), features.std(0) + 1e-6
        points = F.normalize((features - self._mean) / self._std, dim=1)
        self._centres = spherical_means(points, clusters, rounds=rounds)

    @torch.no_grad()
    def _features(self, pictures: Sequence[Picture]) -> Tensor:
        seen = [F.interpolate(torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255,
                              (CLASSIFIED, CLASSIFIED), mode="bilinear", antialias=True) for picture in pictures]
        return self.network(torch.cat(seen))[-1].mean((2, 3))

    def look(self, pictures: Sequence[Picture]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Clusters (N,), and features (N, C) that are centred and of length 1."""
        points = F.normalize((self._features(pictures) - self._mean) / self._std, dim=1)
        return (points @ self._centres.T).argmax(1).numpy(), points.numpy()


#: What was measured at one setting: (bits per pixel, value) by name; pictures and photographs have rates of their own.
Measured = dict[str, tuple[float, float]]


@dataclass(frozen=True)
class Curve:
    """A codec's points (bits per pixel, value) by name of what was measured, from few bits to many."""

    points: Mapping[str, tuple[tuple[float, float], ...]]

    @classmethod
    def of(cls, settings: Sequence[Measured]) -> Curve:
        """The curve of settings that follow one another from few bits to many."""
        return cls({name: tuple(one[name] for one in settings) for name in settings[0]})

    def rate_at(self, name: str, value: float) -> float | None:
        """The rate at which ``name`` first reaches ``value``, between two points on a log scale; None outside."""
        for (low_rate, low), (high_rate, high) in pairwise(self.points[name]):
            if low <= value <= high and high > low:
                part = (value - low) / (high - low)
                return math.exp(math.log(low_rate) * (1 - part) + math.log(high_rate) * part)
        return None


def rate_change(ours: Curve, theirs: Curve, name: str) -> float | None:
    """Mean change of rate at equal values, -.2 for a fifth less; None where no point of ours can be compared."""
    logs = []
    for rate, value in ours.points[name]:
        other = theirs.rate_at(name, value)
        if other is not None:
            logs.append(math.log(rate / other))
    return math.exp(sum(logs) / len(logs)) - 1 if logs else None


class AgreementValidation:
    """Held-back pictures before detectors and a classifier's backbone, as they are and coded.

    Args:
        pictures: for the detectors; photographs: for the classes.
        judges: detectors by name. classes: None leaves classification out.
        factors: x265's constant rate factors for the curve that ours is compared with.
    Raises ValueError as `agreement` does, when a judge sees nothing in the source.
    """

    def __init__(self, pictures: Sequence[Picture], photographs: Sequence[Picture], judges: Mapping[str, Judge],
                 classes: PseudoClasses | None, factors: Sequence[int] = (26, 30, 34, 38, 42, 46, 51)) -> None:
        self.pictures = [through_yuv(picture) for picture in pictures]
        self.photographs = [through_yuv(picture) for picture in photographs] if classes is not None else []
        self.judges, self.classes = judges, classes
        self._source = {name: judge(self.pictures) for name, judge in judges.items()}
        self._classes = classes.look(self.photographs) if classes is not None else None
        self.peer = Curve.of([self.measure(partial(_peer, crf=crf)) for crf in sorted(factors, reverse=True)])

    def measure(self, code: Callable[[Picture], tuple[Picture, float]]) -> Measured:
        """What networks still see of pictures through ``code``, which gives a decoded picture and its bits."""
        decoded, rate = _through(code, self.pictures)
        shown: Measured = {}
        for name, judge in self.judges.items():
            found = judge(decoded)
            for overlap in (0.5, 0.75):
                shown[f"{name}{round(100 * overlap)}"] = rate, agreement(found, self._source[name], overlap)
        errors = [max(1e-6, float(np.square(one.astype(np.float32) - other).mean()))
                  for one, other in zip(decoded, self.pictures, strict=True)]
        shown["psnr"] = rate, float(np.mean([10 * math.log10(255**2 / error) for error in errors]))
        if self.classes is not None and self._classes is not None:
            decoded, rate = _through(code, self.photographs)
            clusters, features = self.classes.look(decoded)
            shown["clusters"] = rate, float((clusters == self._classes[0]).mean())
            shown["cosine"] = rate, float((features * self._classes[1]).sum(1).mean())
        return shown

    def against_peer(self, ours: Curve) -> dict[str, float]:
        """Mean change of rate against x265 intra at equal values, by name; what cannot be compared is left out."""
        changes = {name: rate_change(ours, self.peer, name) for name in ours.points}
        return {name: round(change, 4) for name, change in changes.items() if change is not None}


def _through(code: Callable[[Picture], tuple[Picture, float]], pictures: Sequence[Picture]
             ) -> tuple[list[Picture], float]:
    """Decoded pictures, and their mean bits per pixel."""
    coded = [code(picture) for picture in pictures]
    rates = [bits / (picture.shape[0] * picture.shape[1]) for (_, bits), picture in zip(coded, pictures, strict=True)]
    return [picture for picture, _ in coded], float(np.mean(rates))


def _peer(picture: Picture, crf: int) -> tuple[Picture, float]:
    decoded, size = x265_intra(picture, crf)
    return decoded, 8.0 * size
