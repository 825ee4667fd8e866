"""Training of the restoration network on videos that our inner codec coded: measured, and put into a profile.

``python -m duoview.models.restoration_command -h``; the same command goes on from the checkpoint in ``--out``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from duoview.boxes import intersection_over_union
from duoview.detections import Detections
from duoview.detectors import Description, FastestDet, YoloX, load
from duoview.inner.settings import CODEC_NAMES, InnerSettings
from duoview.models.coded_pairs import Scene, read_folder
from duoview.models.feature_loss import DetectorEye
from duoview.models.train_restoration import RestorationTraining, Validation, train
from duoview.models.training_command import (
    add_minutes,
    add_run,
    begin,
    check_minutes,
    command_parser,
    run,
    tell_profile,
)
from duoview.profile import Profile

#: Input of the detectors to pictures of 640x360, as they see those: YOLOX-nano, FastestDet.
_YOLOX_SCALE, _FASTESTDET_SCALE = (0.65, 0.65), (352 / 360, 0.55)
#: What counts as an object of the source, and as the same one.
_SURE, _SAME = 0.45, 0.75


def found_again(found: Sequence[Detections], source: Sequence[Detections]) -> float:
    """Share of the objects of the source that are found with at least 0.75 of intersection over union.

    ValueError when the source has none.
    """
    total = again = 0
    for now, wanted in zip(found, source, strict=True):
        boxes = wanted.boxes[wanted.scores >= _SURE]
        total += len(boxes)
        if len(boxes) and len(now.boxes):
            again += int((intersection_over_union(boxes, now.boxes[now.scores >= _SURE / 2]).max(1, initial=0)
                          >= _SAME).sum())
    if not total:
        raise ValueError("no object in the source")
    return again / total


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = command_parser("restoration_command", __doc__)
    p.add_argument("--videos", type=Path, required=True, metavar="FOLDER", help="videos to train on")
    p.add_argument("--yolox", type=Path, required=True, metavar="FILE", help="YOLOX-nano, 416x416")
    p.add_argument("--fastestdet", type=Path, required=True, metavar="FILE", help="FastestDet, 352x352")
    add_run(p, profile=False, out="checkpoint and log")
    add_minutes(p, RestorationTraining.minutes)
    p.add_argument("--batch", type=int, default=RestorationTraining.batch, help="crops a step (default: %(default)s)")
    p.add_argument("--crop", type=int, default=RestorationTraining.crop, help="side in pixels (default: %(default)s)")
    p.add_argument("--qualities", nargs=2, type=int, default=RestorationTraining.qualities, metavar=("LOW", "HIGH"),
                   help="q of the coded videos (default: 8 40)")
    p.add_argument("--codec", choices=tuple(CODEC_NAMES), default=RestorationTraining.codec,
                   help="inside (default: %(default)s)")
    p.add_argument("--preset", default="", help="of its encoder (default: the one of the inner codec)")
    p.add_argument("--guide", default="s", help="profile whose saliency network guides the encoder (default: s)")
    p.add_argument("--report", type=float, default=600.0, help="seconds from one measurement to the next")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure; returns the exit code."""
    return run("restoration_command", parser(), _run, arguments)


def _run(given: argparse.Namespace) -> None:
    check_minutes(given.minutes)
    threads, told = begin(given)
    device = torch.device(given.device)
    # What can fail for want of a file fails now, not after hours.
    guide = Profile(given.guide)
    if not guide.has("saliency"):
        raise ValueError(f"--guide {given.guide}: the profile has no saliency network, expected one that guides")
    if not InnerSettings(codec=given.codec, preset=given.preset).takes_regions:
        raise ValueError(f"--codec {given.codec}: its encoder takes no regions and would not be guided, expected h264 "
                         "or hevc")
    options = RestorationTraining(minutes=given.minutes, batch=given.batch, crop=given.crop, codec=given.codec,
                                  preset=given.preset, qualities=tuple(given.qualities), device=given.device)
    eyes = [DetectorEye(given.yolox, YoloX(), _YOLOX_SCALE, device=device),
            DetectorEye(given.fastestdet, FastestDet(), _FASTESTDET_SCALE, device=device)]
    yolox = Description(YoloX(), iou=0.65)
    judges = {"yolox": load(given.yolox, description=yolox, threads=threads, confidence=0.05),
              "fastestdet": load(given.fastestdet, description=Description(FastestDet(), iou=0.6), threads=threads,
                                 confidence=0.05)}
    finder = load(given.yolox, description=yolox, threads=threads, confidence=0.25)
    scenes, held = read_folder(given.videos, held=given.hold, least=given.crop)
    print(f"{len(scenes)} scenes to train on, {len(held)} held back", flush=True)
    validation = None
    if held:
        low, high = options.qualities
        validation = Validation(_one_of_each(held), eyes, judges, found_again, finder, profile=guide,
                                qualities=[round(q) for q in np.linspace(low, high, 3)], codec=given.codec,
                                preset=given.preset)
    network = train(scenes, eyes, finder, validation, options, given.out, profile=guide, report_seconds=given.report)
    if validation is not None:
        print("held back: " + ", ".join(f"{key} {value}" for key, value in validation(network).items()))
    if given.profile is not None:
        # Not above: the exporter imports the networks, and they are imported with this module.
        from duoview.export.card import restoration_section
        from duoview.export.profile import add_restoration

        digest = add_restoration(network.cpu().eval(), given.profile)
        tell_profile(given.profile, restoration_section(options, scenes, held, list(judges), guide.name, told,
                                                        given.out), digest)


def _one_of_each(scenes: Sequence[Scene]) -> list[Scene]:
    """The middle scene of every video, so that measuring stays short."""
    sources: dict[str, list[Scene]] = {}
    for scene in scenes:
        sources.setdefault(scene.source, []).append(scene)
    return [of[len(of) // 2] for of in sources.values()]


if __name__ == "__main__":
    sys.exit(main())
