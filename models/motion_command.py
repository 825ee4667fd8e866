"""Motion compensation for a profile: ``python -m duoview.models.motion_command -i pictures --profile FOLDER``.

Fits the shift operators of the profile's encoder E to pictures and puts them into the profile, whose P frames have
motion compensation then. Everything else of it stays, but its hash.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from duoview.models.data import load
from duoview.models.motion_operators import PIXELS, fit_to
from duoview.models.training_command import add_folders, begin, check_crop, command_parser, run, tell_profile


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = command_parser("motion_command", __doc__)
    add_folders(p)
    p.add_argument("--profile", type=Path, required=True, metavar="FOLDER",
                   help="profile that gets the operators, and its model card a section")
    p.add_argument("--crops", type=int, default=160, help="crops to fit to (default: 160)")
    p.add_argument("--crop", type=int, default=192, help="side of a crop, a multiple of 64 (default: 192)")
    p.add_argument("--hold", nargs="*", default=[], metavar="NAME",
                   help="parts of the names of clips that are left out")
    p.add_argument("--sources", type=Path, metavar="FILE", help="text on the data and its licences, for the model card")
    p.add_argument("--threads", type=int, default=0, help="threads (default: all cores)")
    p.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run("motion_command", parser(), _run, arguments)


def _run(given: argparse.Namespace) -> None:
    check_crop(given.crop)
    # Not above: the exporter imports the commands' neighbours.
    from duoview.export.card import motion_section
    from duoview.export.profile import add_motion
    from duoview.export.restore import restore

    _, told = begin(given)
    encoder = restore(given.profile).still.encoder.eval().to(given.device)
    material = load(given.folders, hold_clips=tuple(given.hold), crop=given.crop + PIXELS)
    found = fit_to(encoder, material, given.crops, given.crop)
    digest = add_motion(found.weights, given.profile)
    if found.left is not None:
        print(f"held back: {100 * float(np.median(found.left)):.1f} % of the latent's energy is left in the median of "
              f"all shifts, {100 * float(found.left.max()):.1f} % at most")
    tell_profile(given.profile, motion_section(found, given.crops, given.crop, told), digest)


if __name__ == "__main__":
    sys.exit(main())
