"""Training of a profile's human view: ``python -m duoview.models.human_command -i pictures --profile FOLDER``.

Trains one denoiser for all starts of the human view, and the text encoder of its captions, on what the profile's own
networks code, and puts both into the profile; everything else of it stays, but its hash. From texture it can start
where the profile has a texture layer, captions it takes where a detector is given. The same command goes on from the
checkpoint in ``--out``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from duoview.detectors import load as load_detector
from duoview.models.data import load
from duoview.models.human_material import TextureStates
from duoview.models.motion_tracker import MotionTracker
from duoview.models.perceptual import eyes_of
from duoview.models.train_human import HumanNetworks, HumanTraining, train
from duoview.models.training_command import (
    add_folders,
    add_minutes,
    add_run,
    begin,
    check_crop,
    check_minutes,
    command_parser,
    run,
    tell_profile,
    three,
)
from duoview.profile import Profile

MOST_EMPHASIS = 4.0


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    default = HumanTraining()
    p = command_parser("human_command", __doc__)
    add_folders(p)
    add_run(p, profile=True, out="checkpoint and log")
    add_minutes(p, default.minutes)
    p.add_argument("--detector", type=Path, metavar="FILE", help="network that finds what captions tell of; without "
                   "one the denoiser takes none")
    p.add_argument("--confidence", type=float, default=0.4, help="least score of what is told (default: 0.4)")
    p.add_argument("--batch", type=int, default=default.batch, help="crops a step (default: 16)")
    p.add_argument("--crop", type=int, default=default.crop, help="side of a crop, a multiple of 64 (default: 128)")
    p.add_argument("--channels", default="192,288,384", metavar="A,B,C", help="width at 1/8, 1/16 and 1/32 "
                   "(default: 192,288,384)")
    p.add_argument("--blocks", default="3,3,4", metavar="A,B,C", help="residual blocks there (default: 3,3,4)")
    p.add_argument("--spectral", type=float, default=default.spectral, help="weight of the distance of Fourier "
                   "magnitudes (default: 60)")
    p.add_argument("--features", type=float, default=default.features, help="weight of what networks see of whole "
                   "samplings, where --yolox or --shufflenet gives any to look (default: 6)")
    p.add_argument("--spread", type=float, default=default.spread, help="how much samples are to differ from each "
                   "other, 0 to 1: 1 as truths do, less for nearer to what is likely (default: 1)")
    p.add_argument("--samplings-from", type=float, default=default.rollouts_from, metavar="SHARE", help="share of the "
                   "time from which on whole samplings are trained (default: 0.4)")
    p.add_argument("--samplings", type=float, default=default.samplings, metavar="SHARE", help="share of the steps "
                   "that are then theirs (default: 0.5)")
    p.add_argument("--emphasis", type=float, default=1.0, help="how many times what the trained layers add is put into "
                   "the profile: above 1 more natural, and a little less near (default: 1)")
    p.add_argument("--yolox", type=Path, metavar="FILE", help="YOLOX network to look at samplings through")
    p.add_argument("--shufflenet", type=Path, metavar="FILE", help="weights of a ShuffleNetV2 backbone, likewise")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run("human_command", parser(), _run, arguments)


def options_of(given: argparse.Namespace) -> HumanTraining:
    """The options that were given. Raises ValueError for what cannot be."""
    check_minutes(given.minutes)
    check_crop(given.crop)
    if given.batch < 1:
        raise ValueError(f"--batch {given.batch}: expected 1 or more")
    if not 0 <= given.spectral < math.inf:
        raise ValueError(f"--spectral {given.spectral}: expected 0 or more")
    if not 0 <= given.features < math.inf:
        raise ValueError(f"--features {given.features}: expected 0 or more")
    if not 0 <= given.spread <= 1:
        raise ValueError(f"--spread {given.spread}: expected 0 to 1")
    if not 0 < given.emphasis <= MOST_EMPHASIS:
        raise ValueError(f"--emphasis {given.emphasis}: expected above 0 to {MOST_EMPHASIS:g}")
    for name in ("samplings_from", "samplings"):
        if not 0 <= getattr(given, name) <= 1:
            raise ValueError(f"--{name.replace('_', '-')} {getattr(given, name)}: expected 0 to 1")
    return HumanTraining(minutes=given.minutes, batch=given.batch, crop=given.crop, spectral=given.spectral,
                         features=given.features, spread=given.spread, rollouts_from=given.samplings_from,
                         samplings=given.samplings,
                         channels=three("channels", given.channels), blocks=three("blocks", given.blocks),
                         device=given.device)


def emphasise(networks: HumanNetworks, times: float) -> None:
    """Have the denoiser add so many times what it was trained to add to what is known.

    What is best by a distance lies nearer to the mean than pictures do; a little beyond it they are more like pictures
    at hardly more distance.
    """
    with torch.no_grad():
        for weight in networks.denoiser.leave.parameters():
            weight.mul_(times)


def _run(given: argparse.Namespace) -> None:
    options = options_of(given)
    # Not above: the exporter imports this module's neighbours.
    from duoview.export.card import human_section
    from duoview.export.profile import add_human
    from duoview.export.restore import restore

    threads, told = begin(given)
    profile = Profile(given.profile)
    find = (load_detector(given.detector, threads=threads, confidence=given.confidence)
            if given.detector is not None else None)
    eyes = eyes_of(given.yolox, given.shufflenet, torch.device(given.device))
    texture = TextureStates(profile) if profile.has_texture else None
    made = restore(given.profile)
    material = load(given.folders, hold_clips=tuple(given.hold), crop=options.crop)
    networks = train(material, made.still, made.inter, made.residual_scale, texture, find, options, given.out, eyes,
                     MotionTracker.of(profile))
    networks = networks.eval().cpu()
    emphasise(networks, given.emphasis)
    digest = add_human(networks.denoiser, networks.captions, given.profile)
    tell_profile(given.profile, human_section(options, networks.denoiser.shape, material,
                                              given.detector.stem if given.detector is not None else "", told,
                                              given.out, [one.stem for one in (given.yolox, given.shufflenet) if one],
                                             given.emphasis), digest)


if __name__ == "__main__":
    sys.exit(main())
