"""The stage that trains the restoration network: on what our inner encoder leaves of videos, to please detectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from duoview.detections import Detections
from duoview.models.coded_pairs import CodedClip, Finder, Scene, Simplify, coded_clip, every
from duoview.models.feature_loss import DetectorEye
from duoview.models.loop import Loop
from duoview.models.regions import region_weights
from duoview.models.restoration import MAX_Q, Restoration
from duoview.profile import Profile

#: Crops begin at multiples of this, so that the network sees the codec's blocks where they are in whole pictures.
BLOCK = 16
#: A detector as a judge of whole pictures, (H, W, 3) uint8 RGB.
Judge = Callable[[Sequence[NDArray[np.uint8]]], Sequence[Detections]]
#: How far what a judge finds agrees with what it finds in the source, 0 to 1; ValueError where nothing is there.
Agreement = Callable[[Sequence[Detections], Sequence[Detections]], float]


@dataclass(frozen=True)
class RestorationTraining:
    """Options of the stage: wall time, batch, crop in pixels, learning rate, seed.

    qualities: least and greatest q; ``strays``: share of clips of any q, so that no stream is outside of what was seen.
    rates: frames per second that clips are brought to, 0 for their own. scales: of the coded pictures to the source's,
    None for the encoder's choice.
    clips: how many coded clips are drawn from at a time; ``renew``: steps after which one of them is replaced.
    codec, preset: of the inner encoder.
    picture, features, answers: weights of the three losses. outside: weight of pixels away from all objects.
    aimed: share of the crops that hold an object.
    """

    minutes: float = 120.0
    batch: int = 8
    crop: int = 192
    rate: float = 1.0e-3
    seed: int = 5
    qualities: tuple[int, int] = (8, 40)
    strays: float = 0.15
    rates: tuple[float, ...] = (10.0, 0.0)
    scales: tuple[float | None, ...] = (None, None, None, None, 0.6)
    clips: int = 32
    renew: int = 20
    codec: str = "hevc"
    preset: str = ""
    picture: float = 20.0
    features: float = 1.0
    answers: float = 0.25
    outside: float = 0.2
    aimed: float = 0.85
    device: str = "cpu"

    def __post_init__(self) -> None:
        if self.crop % BLOCK or self.crop <= 0:
            raise ValueError(f"crop={self.crop}: expected a multiple of {BLOCK}")


@dataclass(frozen=True)
class Batch:
    """Coded pictures and the two before each, their source, (B, 3, H, W) in [0, 1]; q (B,); weights (B, 1, H, W)."""

    picture: Tensor
    earlier: Tensor
    earliest: Tensor
    source: Tensor
    q: Tensor
    weight: Tensor


class ClipDrawer:
    """Draws coded clips from scenes: every source as often as any other, every q of the range, rate and scale."""

    def __init__(self, scenes: Sequence[Scene], options: RestorationTraining, finder: Finder,
                 simplify: Simplify | None, random: np.random.Generator, profile: Profile | None = None) -> None:
        self.options, self.finder, self.simplify, self.random = options, finder, simplify, random
        self.profile = profile
        self.sources: dict[str, list[Scene]] = {}
        for scene in scenes:
            self.sources.setdefault(scene.source, []).append(scene)

    def draw(self) -> CodedClip:
        """A new coded clip."""
        o, random = self.options, self.random
        names = sorted(self.sources)
        scenes = self.sources[names[random.integers(len(names))]]
        scene = scenes[random.integers(len(scenes))]
        chosen = every(scene, o.rates[random.integers(len(o.rates))])
        # Clips at the camera's own rate would be much longer than others: half of the frames, from anywhere.
        length = min(len(chosen), 64)
        first = int(random.integers(len(chosen) - length + 1))
        least, most = (0, MAX_Q) if random.random() < o.strays else o.qualities
        q = int(random.integers(least, most + 1))
        scale = o.scales[random.integers(len(o.scales))]
        return coded_clip(scene, chosen[first:first + length], q, self.finder, scale=scale, codec=o.codec,
                          preset=o.preset, simplify=self.simplify, profile=self.profile)


def place(clip: CodedClip, at: int, options: RestorationTraining, random: np.random.Generator) -> tuple[int, int]:
    """Top and left of a crop of a frame, on the codec's blocks; near an object where the frame has one."""
    sides = clip.source.shape[2:]
    boxes = clip.boxes[at]
    if len(boxes) and random.random() < options.aimed:
        x0, y0, x1, y1 = boxes[random.integers(len(boxes))].tolist()
        centre = [(y0 + y1) / 2, (x0 + x1) / 2]
    else:
        centre = [float(random.uniform(0, side)) for side in sides]
    corner = []
    for middle, side in zip(centre, sides, strict=True):
        wanted = middle + random.uniform(-0.3, 0.3) * options.crop - options.crop / 2
        corner.append(int(np.clip(round(wanted / BLOCK), 0, (side - options.crop) // BLOCK)) * BLOCK)
    return corner[0], corner[1]


def batches(drawer: ClipDrawer, options: RestorationTraining, random: np.random.Generator) -> Iterator[Batch]:
    """Endless batches. The clips that they are from are replaced one by one."""
    clips: list[CodedClip] = []
    step = 0
    while True:
        # At the beginning a clip a step, so that training need not wait for all of them.
        if len(clips) < options.clips:
            clips.append(drawer.draw())
        elif step % options.renew == 0:
            clips[random.integers(len(clips))] = drawer.draw()
        step += 1
        size = options.crop
        crops = np.empty((4, options.batch, 3, size, size), np.uint8)
        weights = np.empty((options.batch, 1, size, size), np.float32)
        levels = np.empty(options.batch, np.int64)
        for n in range(options.batch):
            clip = clips[random.integers(len(clips))]
            at = int(random.integers(len(clip.source)))
            top, left = place(clip, at, options, random)
            window = np.s_[:, top:top + size, left:left + size]
            for kind, picture in enumerate((clip.coded[at], *(clip.coded[one] for one in clip.before(at)),
                                            clip.source[at])):
                crops[kind, n] = picture[window]
            mask = region_weights(clip.boxes[at], clip.source.shape[2:], options.outside)
            weights[n, 0] = mask[top:top + size, left:left + size]
            levels[n] = clip.q
            if random.random() < 0.5:
                crops[:, n] = crops[:, n, :, :, ::-1].copy()
                weights[n] = weights[n, :, :, ::-1].copy()
        parts = [torch.from_numpy(part).float().div_(255).contiguous(memory_format=torch.channels_last)
                 .to(options.device) for part in crops]
        yield Batch(parts[0], parts[1], parts[2], parts[3], torch.from_numpy(levels).to(options.device),
                    torch.from_numpy(weights).to(options.device))


def losses(network: Restoration, eyes: Sequence[DetectorEye], batch: Batch) -> dict[str, Tensor]:
    """``picture``: weighted absolute error; ``features`` and ``answers``: means over the detectors."""
    kind = batch.picture.device.type
    with torch.autocast(kind, torch.bfloat16):
        restored = network(batch.picture, batch.earlier, batch.earliest, batch.q)
    picture = ((restored - batch.source).abs() * batch.weight).mean()
    features, answers = picture.new_zeros(()), picture.new_zeros(())
    for eye in eyes:
        with torch.autocast(kind, torch.bfloat16):
            with torch.no_grad():
                wanted = eye(batch.source)
            seen = eye(restored)
        one, other = eye.distances(seen, wanted)
        features, answers = features + one / len(eyes), answers + other / len(eyes)
    return {"picture": picture, "features": features, "answers": answers}


@torch.no_grad()
def restored_clip(network: Restoration, clip: CodedClip) -> NDArray[np.uint8]:
    """All frames of a clip (T, 3, H, W), restored as a decoder does."""
    device = next(network.parameters()).device
    height, width = clip.coded.shape[2:]
    below, right = -height % 8, -width % 8
    out = np.empty_like(clip.coded)
    q = torch.tensor([clip.q], device=device)
    for at in range(len(clip.coded)):
        given = [F.pad(torch.from_numpy(clip.coded[n][None]).to(device).float() / 255, (0, right, 0, below),
                       mode="replicate") for n in (at, *clip.before(at))]
        restored = network(given[0], given[1], given[2], q)[0, :, :height, :width]
        out[at] = (restored * 255 + 0.5).clamp(0, 255).to(torch.uint8).cpu().numpy()
    return out


class Validation:
    """Held-back clips at several q, at 10 frames a second, and what detectors make of them.

    Args:
        judges: detectors by name, whose agreement with their own view of the source is measured.
        agree: how; most likely AP75.
        frames: of each scene, at most.
    """

    def __init__(self, scenes: Sequence[Scene], eyes: Sequence[DetectorEye], judges: Mapping[str, Judge],
                 agree: Agreement, finder: Finder, *, qualities: Sequence[int] = (12, 22, 34), frames: int = 24,
                 codec: str = "hevc", preset: str = "", simplify: Simplify | None = None, outside: float = 0.2,
                 profile: Profile | None = None) -> None:
        self.eyes, self.judges, self.agree, self.outside = eyes, judges, agree, outside
        self.clips = [coded_clip(scene, every(scene, 10.0)[:frames], q, finder, codec=codec, preset=preset,
                                 simplify=simplify, profile=profile) for q in qualities for scene in scenes]
        self._wanted: dict[tuple[str, int], Sequence[Detections]] = {}
        self._before = self._measure([clip.coded for clip in self.clips])

    def __call__(self, network: Restoration) -> dict[str, float]:
        """What restored pictures are worth.

        Weighted PSNR in dB; distances of features and answers relative to those of unrestored pictures; the agreement
        of every judge at every q; and, as ``..._gain``, how much more that is than without restoration.
        """
        after = self._measure([restored_clip(network, clip) for clip in self.clips])
        shown: dict[str, float] = {}
        for name, value in after.items():
            if name in ("features", "answers"):
                shown[f"{name}_ratio"] = round(value / self._before[name], 4)
            else:
                shown[name] = round(value, 4)
                shown[f"{name}_gain"] = round(value - self._before[name], 4)
        return shown

    @torch.no_grad()
    def _measure(self, pictures: Sequence[NDArray[np.uint8]]) -> dict[str, float]:
        errors, features, answers = [], [], []
        agreements: dict[str, list[float]] = {}
        for clip, shown in zip(self.clips, pictures, strict=True):
            weights = np.stack([region_weights(boxes, shown.shape[2:], self.outside) for boxes in clip.boxes])
            square = ((shown.astype(np.float32) - clip.source) ** 2).mean(1)
            errors.append(10 * math.log10(255**2 / max(1e-9, float((square * weights).sum() / weights.sum()))))
            few = slice(1, None, 6)
            for eye in self.eyes:
                seen, wanted = (eye(torch.from_numpy(part[few]).to(eye.device).float() / 255)
                                for part in (shown, clip.source))
                one, other = eye.distances(seen, wanted)
                features.append(float(one))
                answers.append(float(other))
            for name, judge in self.judges.items():
                at = (name, id(clip.source))
                if at not in self._wanted:
                    self._wanted[at] = judge(_pictures(clip.source))
                try:
                    agreed = self.agree(judge(_pictures(shown)), self._wanted[at])
                except ValueError:  # this judge finds nothing in the source
                    continue
                agreements.setdefault(f"{name}_q{clip.q}", []).append(agreed)
        found = {"wpsnr": float(np.mean(errors))}
        if self.eyes:
            found |= {"features": float(np.mean(features)), "answers": float(np.mean(answers))}
        return found | {name: float(np.mean(values)) for name, values in agreements.items()}


def _pictures(clip: NDArray[np.uint8]) -> list[NDArray[np.uint8]]:
    return [np.ascontiguousarray(picture.transpose(1, 2, 0)) for picture in clip]


def train(scenes: Sequence[Scene], eyes: Sequence[DetectorEye], finder: Finder, validation: Validation | None,
          options: RestorationTraining, folder: Path, *, simplify: Simplify | None = None,
          profile: Profile | None = None, report_seconds: float = 600.0) -> Restoration:
    """Train from the checkpoint in ``folder``, where there is one; the averaged weights.

    profile: its saliency network guides the encoder of the coded clips; None for no guidance.
    """
    torch.manual_seed(options.seed)
    network = Restoration().to(options.device).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    loop = Loop("restoration", network, folder / "restoration.pt", minutes=options.minutes, rate=options.rate,
                report_seconds=report_seconds)
    random = np.random.default_rng([options.seed, loop.step])
    stream = batches(ClipDrawer(scenes, options, finder, simplify, random, profile), options, random)
    for _ in loop.rounds(lambda: validation(loop.average) if validation is not None else {}):
        found = losses(loop.network, eyes, next(stream))
        loop.update(options.picture * found["picture"] + options.features * found["features"]
                    + options.answers * found["answers"], **found)
    return loop.average
