"""``duoview train``: a profile from folders of images and videos (extra: ``train``)."""

from __future__ import annotations

import argparse
import math
import os
import platform
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path

#: Data sets whose clips are held back for validation by default when they are among the folders.
HELD_CLIPS = ("straigen_pedestrian", "abhishek_highway", "rfmanz_night_ir")

EPILOG = """\
Three stages follow one another: still codec, P frames, denoiser. Each saves a checkpoint to -work every five minutes.
A stage can be stopped at any time, and killed: the same command goes on from the checkpoints. With more minutes, also
after it has ended, it goes on at the learning rate that the longer schedule has by then. A stage whose minutes are
spent is measured again, no more.

The defaults take 2 h 20 min plus the reading of the folders, and give a first profile on two CPU cores. MODEL_CARD.md
of the bundled profile says what that one took. See docs/training.md.
"""


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(prog="duoview train", description=__doc__, epilog=EPILOG,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument(
        "-i",
        dest="folders",
        action="append",
        type=Path,
        required=True,
        metavar="FOLDER",
        help="folder of images and videos, searched below; may be given several times",
    )
    p.add_argument("-name", default="s", help="name of the profile (default: s)")
    p.add_argument(
        "-work",
        type=Path,
        default=Path("runs"),
        help="checkpoints and logs (default: runs); stages with a checkpoint there go on from it",
    )
    p.add_argument(
        "-minutes",
        default="55,45,40",
        metavar="A,B,C",
        help="wall time of the three stages over all their runs: still codec, P frames, denoiser (default: 55,45,40)",
    )
    p.add_argument(
        "-hold",
        default=",".join(HELD_CLIPS),
        metavar="A,B",
        help="clips held back: never trained on, measured for the log and the model card; parts of their file names, "
        "by commas. Of the pictures every tenth is held back, by a hash of its name (default: %(default)s)",
    )
    p.add_argument("-motion_crops", type=int, default=160, metavar="N",
                   help="crops of 128 pixels that the shift operators of motion compensation are fitted to, a minute "
                        "after the first stage; 0 for P frames without it (default: 160)")
    p.add_argument(
        "-shape",
        default="",
        metavar="NAME=CHANNELS,...",
        help="sizes of the networks other than those of profile s: latent, encoder, encoder_blocks, decoder, "
        "decoder_blocks, symbols, transform, hyper, parameters, inter_blocks, inter_fine",
    )
    p.add_argument("-sources", type=Path, help="text file on the data and its licences, copied into the model card")
    p.add_argument("-threads", type=int, default=0, help="threads (default: all cores)")
    p.add_argument("-device", default="cpu", help="torch device: cpu or cuda (default: cpu)")
    p.add_argument("-workers", type=int, default=0, help="processes that cut crops; 0 is right for CPU training")
    p.add_argument("output", type=Path, help="folder of the new profile")
    return p


def _minutes(text: str) -> list[float]:
    try:
        minutes = [float(part) for part in text.split(",")]
    except ValueError:
        minutes = []
    if len(minutes) != 3 or not all(0 <= m < math.inf for m in minutes):  # which is False for nan
        parser().error(f"-minutes {text}: expected three numbers, 0 or more, separated by commas")
    return minutes


def _sizes(text: str, known: Sequence[str]) -> dict[str, int]:
    """The sizes that ``-shape`` names."""
    sizes: dict[str, int] = {}
    for part in filter(None, text.split(",")):
        name, _, number = part.partition("=")
        if name not in known:
            parser().error(f"-shape {part}: expected one of {', '.join(known)}")
        if not number.isdecimal() or not (int(number) or name == "inter_fine"):
            parser().error(f"-shape {part}: expected {name}=NUMBER, a whole number of 1 or more")
        sizes[name] = int(number)
    return sizes


def main(arguments: list[str]) -> int:
    """Run the three stages and write the profile. Returns the exit code."""
    options = parser().parse_args(arguments)
    minutes = _minutes(options.minutes)
    try:
        import torch
    except ImportError as error:
        raise SystemExit(f"duoview train: torch: not installed ({error}); pip install 'duoview[train]'") from None
    from duoview.export.card import model_card, motion_section, put_section
    from duoview.export.profile import Networks, write
    from duoview.models import data, train_denoiser, train_inter, train_still
    from duoview.models.motion_operators import CROP, fit_material, fit_to
    from duoview.models.motion_tracker import MotionTracker
    from duoview.models.network import Shape, lagrangian
    from duoview.models.normalise import latent_weight, normalise_latent
    from duoview.motion_compensation import ShiftOperators

    # What can fail for want of a file or of large enough pictures fails now, not after hours.
    shape = Shape(**_sizes(options.shape, [field.name for field in fields(Shape)]))
    options.output.mkdir(parents=True, exist_ok=True)
    sources = (
        options.sources.read_text()
        if options.sources
        else "Folders: " + ", ".join(p.name for p in options.folders) + "."
    )
    threads = options.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    material = data.load(options.folders, hold_clips=tuple(h for h in options.hold.split(",") if h))
    if options.motion_crops:
        fit_material(material, options.motion_crops)
    still_options = train_still.StillTraining(minutes=minutes[0], device=options.device, workers=options.workers)
    inter_options = train_inter.InterTraining(minutes=minutes[1], device=options.device)
    denoiser_options = train_denoiser.DenoiserTraining(minutes=minutes[2], device=options.device,
                                                       workers=options.workers)
    still = train_still.train(material, shape, still_options, options.work).eval().cpu()
    normalise_latent(still, material)
    weight, fitted, motion = latent_weight(still, material), None, None
    if options.motion_crops:
        fitted = fit_to(still.encoder, material, options.motion_crops)
        motion = MotionTracker(ShiftOperators(fitted.weights), weight.numpy(), lagrangian(torch.arange(64)).numpy())
    inter = train_inter.train(material, still, inter_options, options.work, motion).eval().cpu()
    denoiser, scale = train_denoiser.train(material, still, inter, denoiser_options, options.work, motion)
    machine = f"{platform.machine()}, {threads} threads, torch {torch.__version__}"
    card = model_card(
        options.name, shape, material, sources, options.work, (still_options, inter_options, denoiser_options), machine
    )
    if fitted is not None:
        card = put_section(card, motion_section(fitted, options.motion_crops, CROP, ""))
    networks = Networks(still, inter, denoiser.eval().cpu(), scale.cpu(), weight,
                        motion=fitted.weights if fitted is not None else None)
    digest = write(networks, options.output, name=options.name, card=card)
    print(f"{options.output}: profile {options.name!r}, sha256 {digest}")
    return 0
