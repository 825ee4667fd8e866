"""Key frames of a profile trained on for squared error and rate: ``python -m duoview.models.key_command -i pictures``.

Everything but the key-frame codec stays as it is, and with it the latent space. What is beside it keeps working: P
frames begin where key frames end, and texture and the human view take what those leave. The same command goes on from
the checkpoint in ``--out``. Where ``--profile`` is another one than ``--start``, it is that of ``--start`` with the
trained networks in it: whatever was put into it since an earlier run is replaced.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Sequence
from dataclasses import replace

from duoview.models.data import load
from duoview.models.machine_command import TRAINED
from duoview.models.train_denoiser import residual_scale
from duoview.models.train_key import KeyTraining, train
from duoview.models.training_command import (
    add_folders,
    add_minutes,
    add_run,
    begin,
    check_crop,
    check_minutes,
    check_written,
    command_parser,
    run,
    write_trained,
)
from duoview.profile import Profile

#: Pixels of the sides of crops in which it is measured what key frames leave of the latent.
SCALED = 128


def parser() -> argparse.ArgumentParser:
    """Options of the command."""
    p = command_parser("key_command", __doc__)
    add_folders(p)
    add_run(p, profile=False, out="checkpoint and log")
    add_minutes(p, KeyTraining.minutes)
    p.add_argument("--start", default="s", help="profile whose weights training starts from (default: s)")
    p.add_argument("--batch", type=int, default=KeyTraining.batch, help="crops of a step (default: %(default)s)")
    p.add_argument("--crop", type=int, default=KeyTraining.crop,
                   help="side of a crop, a multiple of 64 (default: %(default)s)")
    p.add_argument("--rate", type=float, default=KeyTraining.rate, help="learning rate (default: %(default)s)")
    p.add_argument("--report", type=float, default=240.0, metavar="SECONDS",
                   help="how often at most it is measured (default: %(default)s)")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    return run("key_command", parser(), _run, arguments)


def _run(given: argparse.Namespace) -> None:
    check_crop(given.crop)
    if given.crop < SCALED:
        raise ValueError(f"--crop {given.crop}: expected {SCALED} or more")
    check_minutes(given.minutes)
    if given.batch < 2:
        raise ValueError(f"--batch {given.batch}: expected 2 or more")
    if not 0 < given.rate < math.inf:
        raise ValueError(f"--rate {given.rate}: expected above 0")
    check_written(given.profile)
    start = Profile(given.start)
    # The profile that is written may not be there yet.
    folder, given.profile = given.profile, None
    _, told = begin(given)
    # Not above: the exporter imports the networks, and they are imported with this module.
    from duoview.export.card import key_section
    from duoview.export.restore import restore

    networks = restore(start.folder)
    material = load(given.folders, hold_clips=tuple(given.hold), crop=given.crop)
    options = KeyTraining(minutes=given.minutes, batch=given.batch, crop=given.crop, rate=given.rate,
                          device=given.device)
    codec = train(material, networks.still, options, given.out, report_seconds=given.report).eval().cpu()
    if folder is None:
        return
    # What the human view adds to a decoded latent is scaled by how far that is off, which has changed.
    changed = replace(networks, still=codec, residual_scale=residual_scale(codec, material))
    write_trained(changed, TRAINED, start, folder, key_section(options, material, given.start, told, given.out))


if __name__ == "__main__":
    sys.exit(main())
