"""Training of D_h, which shows human views: ``python -m duoview.models.human_decoder_command -i pictures --profile F``.

Trains a decoder for what the profile's own denoiser generates, and puts it into the profile; everything else of it
stays, but its hash. Train the denoiser first (``human_command``). The same command goes on from the checkpoint in
``--out``.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from duoview.detectors import load as load_detector
from duoview.models.conditional_denoiser import ConditionalDenoiser
from duoview.models.data import load
from duoview.models.human_command import MOST_EMPHASIS
from duoview.models.human_decoder import HumanDecoderShape
from duoview.models.human_material import TextureStates
from duoview.models.motion_tracker import MotionTracker
from duoview.models.perceptual import eyes_of
from duoview.models.train_human import HumanNetworks
from duoview.models.train_human_decoder import HumanDecoderTraining, train
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

_WEIGHTS = {"pixels": "of the mean absolute difference", "features": "of what networks see",
            "spectral": "of the distance of Fourier magnitudes",
            "adversarial": "of the discriminator: length of its gradient as a share of the others'; 0 trains none"}


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    default = HumanDecoderTraining()
    p = command_parser("human_decoder_command", __doc__)
    add_folders(p)
    add_run(p, profile=True, out="checkpoint and log")
    add_minutes(p, default.minutes)
    p.add_argument("--detector", type=Path, metavar="FILE", help="network that finds what captions tell of; without "
                   "one no human view of the training is told any")
    p.add_argument("--confidence", type=float, default=0.4, help="least score of what is told (default: 0.4)")
    p.add_argument("--batch", type=int, default=default.batch, help="crops a step (default: %(default)s)")
    p.add_argument("--crop", type=int, default=default.crop, help="side of a crop, a multiple of 64 (default: 128)")
    p.add_argument("--channels", default=",".join(map(str, default.channels)), metavar="A,B,C",
                   help="width at 1/8, 1/4 and 1/2 (default: %(default)s)")
    p.add_argument("--blocks", default=",".join(map(str, default.blocks)), metavar="A,B,C",
                   help="residual blocks there (default: %(default)s)")
    for name, what in _WEIGHTS.items():
        p.add_argument(f"--{name}", type=float, default=getattr(default, name), help=f"weight {what} (default: "
                       "%(default)s)")
    p.add_argument("--emphasis", type=float, default=1.0, help="how many times what the trained layers add to D's "
                   "picture is put into the profile: below 1 nearer, and a little less natural (default: 1)")
    p.add_argument("--yolox", type=Path, metavar="FILE", help="YOLOX network to look at pictures through")
    p.add_argument("--shufflenet", type=Path, metavar="FILE", help="weights of a ShuffleNetV2 backbone, likewise; one "
                   "of both is needed")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run("human_decoder_command", parser(), _run, arguments)


def options_of(given: argparse.Namespace) -> HumanDecoderTraining:
    """The options that were given. Raises ValueError for what cannot be."""
    check_minutes(given.minutes)
    check_crop(given.crop)
    if given.batch < 1:
        raise ValueError(f"--batch {given.batch}: expected 1 or more")
    for name in _WEIGHTS:
        if not 0 <= getattr(given, name) < math.inf:
            raise ValueError(f"--{name} {getattr(given, name)}: expected 0 or more")
    if not any(getattr(given, name) for name in ("pixels", "features", "spectral")):
        raise ValueError("--pixels 0 --features 0 --spectral 0: nothing keeps pictures near the source; expected one "
                         "of them above 0")
    if not 0 < given.emphasis <= MOST_EMPHASIS:
        raise ValueError(f"--emphasis {given.emphasis}: expected above 0 to {MOST_EMPHASIS:g}")
    channels, blocks = three("channels", given.channels), three("blocks", given.blocks)
    HumanDecoderShape.read({"channels": list(channels), "blocks": list(blocks)})
    if given.yolox is None and given.shufflenet is None:
        raise ValueError("no network to look at pictures through; expected --yolox or --shufflenet, or both")
    return HumanDecoderTraining(minutes=given.minutes, batch=given.batch, crop=given.crop,
                                channels=channels, blocks=blocks, device=given.device,
                                **{name: getattr(given, name) for name in _WEIGHTS})


def _run(given: argparse.Namespace) -> None:
    options = options_of(given)
    # Not above: the exporter imports this module's neighbours.
    from duoview.export.card import human_decoder_section
    from duoview.export.profile import add_human_decoder
    from duoview.export.restore import restore

    threads, told = begin(given)
    profile = Profile(given.profile)
    if profile.generation is None:
        raise ValueError(f"{given.profile}: its denoiser is none of all starts; train one first with "
                         "python -m duoview.models.human_command")
    find = (load_detector(given.detector, threads=threads, confidence=given.confidence)
            if given.detector is not None else None)
    eyes = eyes_of(given.yolox, given.shufflenet, torch.device(given.device))
    texture = TextureStates(profile) if profile.has_texture and "texture" in profile.generation.starts else None
    if texture is not None and texture.depth != len(profile.generation.levels) - 1:
        raise ValueError(f"{given.profile}: its texture goes {texture.depth} deep, its denoiser was trained for "
                         f"{len(profile.generation.levels) - 1}; train that again first with python -m "
                         "duoview.models.human_command")
    made = restore(given.profile)
    assert isinstance(made.denoiser, ConditionalDenoiser)  # that is what having a generation means
    material = load(given.folders, hold_clips=tuple(given.hold), crop=options.crop)
    decoder = train(material, made.still, made.inter, HumanNetworks.of(made.denoiser, made.captions),
                    made.residual_scale, texture, find, eyes, options, given.out, MotionTracker.of(profile))
    decoder = decoder.eval().cpu()
    decoder.emphasise(given.emphasis)
    digest = add_human_decoder(decoder, given.profile)
    tell_profile(given.profile, human_decoder_section(
        options, material, given.detector.stem if given.detector is not None else "", told, given.out,
        [one.stem for one in (given.yolox, given.shufflenet) if one], given.emphasis), digest)


if __name__ == "__main__":
    sys.exit(main())
