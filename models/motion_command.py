"""Motion compensation for a profile: ``python -m duoview.models.motion_command -i pictures --profile FOLDER``.

Fits the shift operators of the profile's encoder E to pictures and puts them into the profile, whose P frames have
motion compensation then. Everything else of it stays, but its hash.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from duoview.errors import Error
from duoview.models.data import load
from duoview.models.motion_operators import PIXELS, fit_to
from duoview.profile import Profile


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = argparse.ArgumentParser(prog="duoview.models.motion_command", description=__doc__,
                                formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-i", dest="folders", action="append", type=Path, required=True, metavar="FOLDER",
                   help="folder of images and videos, searched below; may be given several times")
    p.add_argument("--profile", type=Path, required=True, help="the profile's folder")
    p.add_argument("--crops", type=int, default=160, help="crops to fit to (default: 160)")
    p.add_argument("--crop", type=int, default=192, help="side of a crop, a multiple of 64 (default: 192)")
    p.add_argument("--sources", type=Path, help="text on the data and its licences, for the model card")
    p.add_argument("--threads", type=int, default=0, help="threads (default: all cores)")
    p.add_argument("--device", default="cpu", help="torch device (default: cpu)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    given = parser().parse_args(arguments)
    try:
        _run(given)
    except (Error, ValueError, OSError) as error:
        print(f"motion_command: {error}", file=sys.stderr)
        return 1
    return 0


def _run(given: argparse.Namespace) -> None:
    if given.crop % 64 or given.crop < 64:
        raise ValueError(f"--crop {given.crop}: expected a multiple of 64")
    from duoview.export.card import motion_section, put_section
    from duoview.export.profile import add_motion
    from duoview.export.restore import restore

    torch.set_num_threads(given.threads or len(os.sched_getaffinity(0)))
    told = given.sources.read_text() if given.sources else ""
    Profile(given.profile)  # whole, before hours are spent
    encoder = restore(given.profile).still.encoder.eval().to(given.device)
    found = fit_to(encoder, load(given.folders, crop=given.crop + PIXELS), given.crops, given.crop)
    digest = add_motion(found.weights, given.profile)
    card = given.profile / "MODEL_CARD.md"
    card.write_text(put_section(card.read_text() if card.is_file() else "",
                                motion_section(found, given.crops, given.crop, told)))
    if found.left is not None:
        print(f"held back: {100 * float(np.median(found.left)):.1f} % of the latent's energy is left in the median of "
              f"all shifts, {100 * float(found.left.max()):.1f} % at most")
    print(f"{given.profile}: sha256 {digest}")


if __name__ == "__main__":
    sys.exit(main())
