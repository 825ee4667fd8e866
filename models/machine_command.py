"""The command that trains the neural codec of a profile on for machines, key frames or P frames."""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from duoview.errors import Error
from duoview.models import train_machine_inter
from duoview.models.data import Material, crops
from duoview.models.data import load as load_material
from duoview.models.inter_from_key import inter_from_key
from duoview.models.machine_setup import DETECTORS, Setup, add_options, know
from duoview.models.motion_tracker import MotionTracker
from duoview.models.train_denoiser import residual_scale
from duoview.models.train_machine import MachineTraining, machine_lagrangian, train
from duoview.models.train_machine_inter import MachineInterTraining
from duoview.models.training_command import check_written, write_trained

if TYPE_CHECKING:
    from duoview.export.profile import Networks

#: The networks of a profile that the two stages train.
TRAINED = ("key_analysis", "key_hyper", "key_context", "key_synthesis")
TRAINED_INTER = ("inter_analysis", "inter_hyper", "inter_context", "inter_synthesis")


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(prog="python -m duoview.models.machine_command",
                                description="Train the neural codec of a profile on, for what detectors and "
                                            "classifiers see: key frames first, then P frames on top of them. The "
                                            "checkpoint goes to --out; the same command goes on from it.")
    p.add_argument("--frames", choices=("key", "p"), default="key", help="which frames' codec (default: key)")
    p.add_argument("--begin", choices=("profile", "key"), default="profile",
                   help="what P frames begin with: those of --start, or the transforms of its key frames, applied to "
                        "changes; the way to P frames that can say what is new where something moves "
                        "(default: profile)")
    add_options(p)
    p.add_argument("--minutes", type=float, default=MachineTraining.minutes,
                   help="wall time of training over all runs (default: %(default)s)")
    p.add_argument("--report", type=float, default=420.0, help="seconds from one measurement to the next")
    p.add_argument("--profile", type=Path, metavar="FOLDER",
                   help="profile that is written at the end: that of --start with the trained networks in it")
    p.add_argument("--sources", type=Path, help="text file on the data and its licences, for the model card")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Train and measure. Returns the exit code: 0, or 2 with a message for what cannot be used."""
    given = parser().parse_args(arguments)
    try:
        _run(given)
    except (Error, ValueError, OSError) as error:
        print(f"machine_command: {error}", file=sys.stderr)
        return 2
    return 0


def _run(given: argparse.Namespace) -> None:
    check_written(given.profile)
    setup = Setup.of(given, given.minutes)
    told = given.sources.read_text() if given.sources else ""
    # Not above: the exporter imports the networks, and they are imported with this module.
    from duoview.export.card import machine_inter_section, machine_section
    from duoview.export.restore import restore

    networks, start = restore(setup.start.folder), setup.start
    held = DETECTORS[given.held_detector].title if given.held_detector else ""
    if given.frames == "p":
        options = setup.inter_options
        material = load_material(given.folders, hold_clips=tuple(given.hold), crop=options.crop)
        if setup.clustered:
            know(setup.eyes[:1], [islice(crops(material, options.batch, options.crop, 9), 30)],
                 given.out / "clusters_inter.pt")
        if given.begin == "key":
            networks = begin_with_key(networks)
        inter = train_machine_inter.train(material, networks.still, networks.inter, setup.eyes[0],
                                          setup.labellers[0].label, options, given.out,
                                          judges=setup.detectors.opened(setup.threads),
                                          report_seconds=given.report,
                                          motion=MotionTracker.of(start)).eval().cpu()
        worth = machine_lagrangian(torch.arange(64), options.lagrangian)
        # On this scale from now on, which is that of squared error times what the distances are worth.
        networks = replace(networks, inter=inter, lagrangian=worth * (given.worth or MachineInterTraining.worth))
        if given.profile is not None:
            write_trained(networks, TRAINED_INTER, start, given.profile,
                          machine_inter_section(options, material, given.start, str(setup.labellers[0]), told,
                                                given.out, held=held))
        return
    looks = setup.looks()
    setup.find_clusters(looks)
    validation = setup.validation(looks)
    if validation is not None:
        for name, points in validation.peer.points.items():
            print(f"x265 intra, {name}: " + ", ".join(f"{value:.3f} at {rate:.3f}" for rate, value in points))
    codec = train(looks.train, setup.eyes, networks.still, setup.options, given.out, validation=validation,
                  report_seconds=given.report).eval().cpu()
    if given.profile is None:
        return
    # What the human view adds to a decoded latent is scaled by how far that is off, which has changed.
    scale = residual_scale(codec, Material([look.picture for look in looks.train]))
    write_trained(replace(networks, still=codec, residual_scale=scale), TRAINED, start, given.profile,
                  machine_section(setup.options, looks, given.start, [str(one) for one in setup.labellers], told,
                                  given.out, held=held))


def begin_with_key(networks: Networks) -> Networks:
    """The networks of a profile with P frames that begin with its key frames, and the sizes that go with them."""
    inter, shape = inter_from_key(networks.still.key, networks.still.shape)
    still = copy.deepcopy(networks.still)
    still.shape = shape
    return replace(networks, still=still, inter=inter)


if __name__ == "__main__":
    sys.exit(main())
