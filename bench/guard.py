"""How surely `dv_guard` finds objects that were planted in, or removed from, generated pictures; and its false alarms.

    python -m bench.guard --model picodet_s_416_coco.onnx --clips FOLDER [--objects 240] [--out FILE]

Frames of every clip are coded (machine layer only) and both views decoded. Removed: an object that the detector finds
at .5 or more in the machine view, and of which the human view has a counterpart, is filled in the human view from the
edges of its box. Planted: an object found at .5 or more in the human view of another frame is pasted, with some of what
is around it, where neither view has an object: half of them where they stood in that frame of the same clip, where such
an object could be; half anywhere, where the detector often makes something else of them, or nothing. Each is found
when the guard tells of a difference of the right kind that overlaps it by half.

What else the guard tells of in those pictures, and did not before, is all counted: `touching`, of the right kind, which
overlaps the object by less: a part of it, or a neighbour that lost some of its own picture with it. The rest are false
alarms: `wrong_kind`, an object invented where one was removed, or lost where one was planted; and `elsewhere`, where
nothing was done.

False alarms in whole pictures, two ways. `control`: the human view is the machine view with other brightness and noise,
in which nothing is lost or invented. `untouched`: the human view as it is; what the guard tells of there may be right,
since a generated picture does lose objects: without the truth nobody can say.
"""

from __future__ import annotations

import argparse
import itertools
import random
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import av
import numpy as np
from numpy.typing import NDArray

from bench.pictures import rgb_frame
from bench.result import RESULTS, measured, write
from duoview import Decoder, Encoder, Graph, Profile
from duoview.boxes import intersection_over_union
from duoview.detections import Detections
from duoview.detectors import Detector, load
from duoview.plugins.filters.dv_guard import Guard
from duoview.verdict import Change, Difference, Kind, Tolerance

Rgb = NDArray[np.uint8]
#: What was found in the machine view and in a human view, and how far these pictures are apart.
Seen = tuple[Detections, Detections, Change]
_LEAST = 0.05  # score from which objects are kept, so that one run serves every tolerance
_AROUND = 0.15  # of an object's size: what is pasted or filled with it
_OVERLAP = 0.5  # of a difference and the object it is about


@dataclass(frozen=True)
class Settings:
    """What decides the numbers. tolerance: the stage's own."""

    model: str
    clips: tuple[str, ...]
    frames_per_clip: int
    objects: int
    width: int
    q: int
    steps: int
    seed: int
    tolerance: Tolerance


@dataclass(frozen=True)
class Pair:
    """Both views of a frame, and what was found in them."""

    clip: str
    machine: Rgb
    human: Rgb
    coded: Detections
    shown: Detections

    @property
    def seen(self) -> Seen:
        return self.coded, self.shown, Change.between(rgb_frame(self.machine), rgb_frame(self.human))


@dataclass(frozen=True)
class Trial:
    """One object, planted or removed: its score and height where it was taken from, and what was found afterwards."""

    kind: Kind
    label: str
    score: float
    height: float
    before: Seen
    after: Seen
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class Alarms:
    """Differences told of, objects that were judged for them, pictures, and pictures with a difference."""

    differences: int
    objects: int
    pictures: int
    pictures_with: int
    share_of_objects: float


@dataclass(frozen=True)
class Rates:
    """How many were found of how many, and the other new differences of those frames.

    wrong_kind and elsewhere are false alarms; judged: objects that the guard looked for a counterpart of in those
    frames; false_share: false alarms for each.
    """

    found: int
    of: int
    share: float
    touching: int
    wrong_kind: int
    elsewhere: int
    judged: int
    false_share: float


@dataclass(frozen=True)
class Results:
    """With the stage's own tolerance, and with others beside it."""

    removed: Rates
    planted_in_place: Rates
    planted_anywhere: Rates
    all: Rates
    planted_that_the_detector_is_sure_of: Rates
    control: Alarms
    untouched: Alarms
    by_tolerance: dict[str, dict[str, float]]
    seconds: float


def pairs(clips: Sequence[Path], detector: Detector, settings: Settings) -> Iterator[Pair]:
    """Frames of the clips, coded and decoded."""
    for path in clips:
        frames = sampled(path, settings.frames_per_clip, settings.width)
        encoder = Encoder(frames[0].width, frames[0].height, rate=2, q=settings.q, gop=1, threads=1)
        units = [packet for frame in frames for packet in encoder.encode(frame)]
        views = []
        for decoder in (Decoder(view="machine", threads=1), Decoder(view="human", steps=settings.steps, threads=1)):
            decoded = [frame for unit in units for frame in decoder.decode(unit)] + list(decoder.decode(None))
            views.append([frame.to_ndarray(format="rgb24") for frame in decoded])
        for machine, human in zip(*views, strict=True):
            coded, shown = detector([rgb_frame(machine), rgb_frame(human)])
            yield Pair(path.stem, machine, human, coded, shown)


def sampled(path: Path, count: int, width: int) -> list[av.VideoFrame]:
    """So many frames of a clip, evenly, scaled."""
    with av.open(str(path)) as container:
        total = sum(1 for packet in container.demux(video=0) if packet.size)
    wanted = {round((number + 0.5) * total / count) for number in range(count)}
    with av.open(str(path)) as container:
        chosen = [frame for index, frame in enumerate(container.decode(video=0)) if index in wanted]
    scaled = list(Graph.parse(f"scale={width}:-2:flags=area,format=yuv420p").process(chosen))
    for pts, frame in enumerate(scaled):
        frame.pts = pts * (frame.time_base.denominator // frame.time_base.numerator // 2)  # two a second
    return scaled


def widened(box: Sequence[float], width: int, height: int) -> tuple[int, int, int, int]:
    """A box with what is around it, in whole pixels within a picture."""
    x0, y0, x1, y1 = box
    across, down = _AROUND * (x1 - x0), _AROUND * (y1 - y0)
    return (max(0, round(x0 - across)), max(0, round(y0 - down)), min(width, round(x1 + across)),
            min(height, round(y1 + down)))


def without(picture: Rgb, box: Sequence[float]) -> Rgb:
    """The picture with a box filled from its edges: a Coons patch, through which nothing of the object is seen."""
    height, width = picture.shape[:2]
    x0, y0, x1, y1 = widened(box, width, height)
    result = picture.copy()
    patch = picture[y0:y1, x0:x1].astype(np.float64)
    inside = (y0 > 0, y1 < height, x0 > 0, x1 < width)  # an edge of the picture tells nothing of what is behind it
    edges = [patch[0], patch[-1], patch[:, 0], patch[:, -1]]
    known = [edge.mean(axis=0) for edge, there in zip(edges, inside, strict=True) if there]
    usual = np.mean(known or [picture.mean(axis=(0, 1))], axis=0)
    top, bottom, left, right = (edge if there else np.broadcast_to(usual, edge.shape)
                                for edge, there in zip(edges, inside, strict=True))
    down, across = (np.linspace(0, 1, size)[:, None] for size in patch.shape[:2])
    vertical = top[None] * (1 - down)[..., None] + bottom[None] * down[..., None]
    horizontal = left[:, None] * (1 - across)[None] + right[:, None] * across[None]
    nearness = np.minimum(down, 1 - down)[..., None], np.minimum(across, 1 - across)[None]
    weight = (nearness[1] + 1e-6) / (nearness[0] + nearness[1] + 2e-6)
    result[y0:y1, x0:x1] = np.clip(vertical * weight + horizontal * (1 - weight), 0, 255)
    return result


def planted(picture: Rgb, crop: Rgb, left: int, top: int) -> Rgb:
    """The picture with a crop pasted into it; the outer rows fade into what was there."""
    result = picture.copy()
    height, width = crop.shape[:2]
    rim = max(1, round(_AROUND * min(height, width) / 2))
    fade = np.minimum.outer(*(np.minimum(np.arange(1, size + 1), np.arange(size, 0, -1)) for size in (height, width)))
    share = np.clip(fade / rim, 0, 1)[..., None]
    under = picture[top:top + height, left:left + width]
    result[top:top + height, left:left + width] = np.rint(crop * share + under * (1 - share)).astype(np.uint8)
    return result


def looked_at(pair: Pair, human: Rgb, detector: Detector) -> Seen:
    """What is seen of a frame whose human view is another picture."""
    (shown,) = detector([rgb_frame(human)])
    return pair.coded, shown, Change.between(rgb_frame(pair.machine), rgb_frame(human))


def removals(found: Sequence[Pair], detector: Detector, tolerance: Tolerance, count: int, chance: random.Random
             ) -> Iterator[Trial]:
    """Objects of the machine view that the human view shows too, taken out of that."""
    places = []
    for pair in found:
        lost = {one.object.box for one in tolerance.differences(pair.coded, pair.shown) if one.kind is Kind.LOST}
        places += [(pair, one) for one in pair.coded.above(tolerance.certain) if one.box not in lost]
    chance.shuffle(places)
    for pair, one in places[:count]:
        after = looked_at(pair, without(pair.human, one.box), detector)
        yield Trial(Kind.LOST, one.name, one.score, one.height, pair.seen, after, one.box)


def plantings(found: Sequence[Pair], detector: Detector, tolerance: Tolerance, count: int, chance: random.Random,
              *, in_place: bool) -> Iterator[Trial]:
    """Objects of other frames' human views, pasted where neither view has any; `in_place`: where they stood."""
    objects = [(pair, one) for pair in found for one in pair.shown.above(tolerance.certain)]
    places = [(source, one, target) for source, one in objects for target in found
              if source is not target and (not in_place or source.clip == target.clip)]
    chance.shuffle(places)
    made = 0
    for source, one, target in places:
        if made == count:
            return
        x0, y0, x1, y1 = widened(one.box, source.human.shape[1], source.human.shape[0])
        crop = source.human[y0:y1, x0:x1]
        room = target.human.shape[1] - crop.shape[1], target.human.shape[0] - crop.shape[0]
        if min(room) < 0:
            continue
        left, top = (x0, y0) if in_place else (chance.randint(0, room[0]), chance.randint(0, room[1]))
        box = one.box[0] - x0 + left, one.box[1] - y0 + top, one.box[2] - x0 + left, one.box[3] - y0 + top
        taken = np.concatenate([target.coded.above(0.1).boxes, target.shown.above(0.1).boxes])
        around = np.array([[left, top, left + crop.shape[1], top + crop.shape[0]]], np.float32)
        if len(taken) and intersection_over_union(around, taken).max() > 0:
            continue
        made += 1
        after = looked_at(target, planted(target.human, crop, left, top), detector)
        yield Trial(Kind.INVENTED, one.name, one.score, one.height, target.seen, after, box)


def overlaps(one: Difference, box: Sequence[float]) -> float:
    """Overlap of a difference and a box."""
    return float(intersection_over_union(np.array([one.object.box]), np.array([box]))[0, 0])


def rates(trials: Sequence[Trial], tolerance: Tolerance) -> Rates:
    """How many objects were found, and what else was told of."""
    found = touching = wrong_kind = elsewhere = judged = 0
    for trial in trials:
        before = tolerance.differences(*trial.before)
        told = tolerance.differences(*trial.after)
        new = [one for one in told if not any(
            one.kind is other.kind and overlaps(one, other.object.box) >= _OVERLAP for other in before)]
        found += any(one.kind is trial.kind and overlaps(one, trial.box) >= _OVERLAP for one in told)
        touching += sum(one.kind is trial.kind and 0 < overlaps(one, trial.box) < _OVERLAP for one in new)
        wrong_kind += sum(one.kind is not trial.kind and overlaps(one, trial.box) > 0 for one in new)
        elsewhere += sum(overlaps(one, trial.box) == 0 for one in new)
        judged += len(trial.before[0].above(tolerance.certain)) + len(trial.after[1].above(tolerance.invented))
    return Rates(found, len(trials), found / max(1, len(trials)), touching, wrong_kind, elsewhere, judged,
                 (wrong_kind + elsewhere) / max(1, judged))


def alarms(pictures: Sequence[Seen], tolerance: Tolerance) -> Alarms:
    """What is told of pairs in which nothing was done."""
    told = [len(tolerance.differences(*seen)) for seen in pictures]
    objects = sum(len(coded.above(tolerance.certain)) + len(shown.above(tolerance.invented))
                  for coded, shown, _ in pictures)
    return Alarms(sum(told), objects, len(told), sum(one > 0 for one in told), sum(told) / max(1, objects))


def controls(found: Sequence[Pair], detector: Detector, seed: int) -> list[Seen]:
    """Machine views, and the same a little brighter, with noise."""
    made = []
    rng = np.random.default_rng(seed)
    for pair in found:
        noisy = pair.machine * 1.03 + 3 + rng.normal(0, 4, pair.machine.shape)
        made.append(looked_at(pair, np.clip(noisy, 0, 255).astype(np.uint8), detector))
    return made


def measure(clips: Sequence[Path], detector: Detector, settings: Settings,
            tell: Callable[[str], Any] = print) -> Results:
    """All of it."""
    began = time.perf_counter()
    tolerance = settings.tolerance
    found = list(pairs(clips, detector, settings))
    tell(f"{len(found)} frames, {sum(len(pair.coded.above(tolerance.certain)) for pair in found)} objects in the "
         f"machine view, {sum(len(pair.shown.above(tolerance.certain)) for pair in found)} in the human view; "
         f"{time.perf_counter() - began:.0f} s")
    chance = random.Random(settings.seed)
    removed = list(removals(found, detector, tolerance, settings.objects // 2, chance))
    in_place, anywhere = (list(plantings(found, detector, tolerance, settings.objects // 4, chance, in_place=place))
                          for place in (True, False))
    put = [*in_place, *anywhere]
    control, untouched = controls(found, detector, settings.seed), [pair.seen for pair in found]
    seen = [trial for trial in put if _is_sure_of(trial, tolerance)]
    table = {}
    for invented, hinted, iou, classes in itertools.product((0.3, 0.35, 0.5), (0.1, 1.0), (0.3, 0.5), (True, False)):
        other = replace(tolerance, invented=invented, hinted=hinted, iou=iou, classes=classes)
        table[f"invented={invented:g}:hinted={hinted:g}:iou={iou:g}:agnostic={int(not classes)}"] = {
            "removed": rates(removed, other).share, "planted_in_place": rates(in_place, other).share,
            "planted_anywhere": rates(anywhere, other).share,
            "control": alarms(control, other).share_of_objects,
            "untouched": alarms(untouched, other).share_of_objects}
    return Results(rates(removed, tolerance), rates(in_place, tolerance), rates(anywhere, tolerance),
                   rates([*removed, *put], tolerance), rates(seen, tolerance), alarms(control, tolerance),
                   alarms(untouched, tolerance), table, time.perf_counter() - began)


def _is_sure_of(trial: Trial, tolerance: Tolerance) -> bool:
    sure = trial.after[1].above(tolerance.certain)
    return bool((intersection_over_union(sure.boxes, np.array([trial.box])) >= _OVERLAP).any())


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.guard", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, type=Path, help="a network that dv_guard reads")
    parser.add_argument("--clips", required=True, type=Path, nargs="+", help="clips, or folders of them")
    parser.add_argument("--frames", type=int, default=8, help="of each clip")
    parser.add_argument("--objects", type=int, default=240, help="planted and removed, together")
    parser.add_argument("--width", type=int, default=640)
    parser.add_argument("--q", type=int, default=40)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--out", type=Path, default=RESULTS / "guard.json")
    options = parser.parse_args(arguments)
    clips = [path for given in options.clips for path in (sorted(given.glob("*.mp4")) if given.is_dir() else [given])]
    if not clips:
        parser.error("--clips: no .mp4 there")
    detector = load(options.model, confidence=_LEAST, threads=1)
    tolerance = Guard(str(options.model), threads=1).tolerance
    settings = Settings(options.model.name, tuple(path.name for path in clips), options.frames, options.objects,
                        options.width, options.q, options.steps, options.seed, tolerance)
    results = measure(clips, detector, settings)
    for name in ("removed", "planted_in_place", "planted_anywhere", "all", "planted_that_the_detector_is_sure_of",
                 "control", "untouched"):
        print(f"{name}: {getattr(results, name)}")
    write(options.out, measured("dv_guard: objects planted in and removed from generated pictures", Profile("s"),
                                settings, results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
