"""What the commands that train a part of a profile share: options, messages, exit codes, and how a profile is told.

What is trained, and on what, stays with each command. Exit codes are 0; 2 with a message for what was given and cannot
be used; 1 with a message where the work failed, as on a full disk; 255 where it was stopped.
"""

from __future__ import annotations

import argparse
import math
import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from duoview.errors import Error
from duoview.profile import Profile

if TYPE_CHECKING:
    from duoview.export.profile import Networks

#: What is wrong with files that were given; any other error of the system is a failure of the work.
_NOT_USABLE = (Error, ValueError, FileNotFoundError, PermissionError, NotADirectoryError, IsADirectoryError)


def command_parser(module: str, description: str | None) -> argparse.ArgumentParser:
    """The parser of ``python -m duoview.models.MODULE``, without options."""
    return argparse.ArgumentParser(prog=f"python -m duoview.models.{module}", description=description,
                                   formatter_class=argparse.RawDescriptionHelpFormatter)


def add_folders(p: argparse.ArgumentParser) -> None:
    """``-i``: ``folders``, a list of paths, one at least."""
    p.add_argument("-i", dest="folders", action="append", type=Path, required=True, metavar="FOLDER",
                   help="folder of images and videos, searched below; may be given several times")


def add_minutes(p: argparse.ArgumentParser, default: float) -> None:
    """``--minutes`` of a command with one training; see `check_minutes`."""
    p.add_argument("--minutes", type=float, default=default,
                   help="wall time of training over all runs (default: %(default)s)")


def add_run(p: argparse.ArgumentParser, *, profile: bool, out: str) -> None:
    """What belongs to a run: ``profile``, ``out``, ``sources``, ``hold``, ``threads``, ``device``.

    profile: whether one must be given; where none is, only checkpoint and log are written. out: what else is there.
    """
    p.add_argument("--profile", type=Path, required=profile, metavar="FOLDER",
                   help="profile that gets what was trained, and its model card a section, at the end")
    p.add_argument("--out", type=Path, default=Path("runs"), metavar="FOLDER",
                   help=f"{out}; the same command goes on from there (default: runs)")
    p.add_argument("--sources", type=Path, metavar="FILE", help="text on the data and its licences, for the model card")
    p.add_argument("--hold", nargs="*", default=[], metavar="NAME",
                   help="parts of the names of clips that are held back from training")
    p.add_argument("--threads", type=int, default=0, help="threads (default: all cores)")
    p.add_argument("--device", default="cpu", help="torch device of the training (default: cpu)")


def check_minutes(minutes: float) -> None:
    """ValueError for a time that cannot be."""
    if not 0 <= minutes < math.inf:
        raise ValueError(f"--minutes {minutes}: expected 0 or more")


def check_crop(crop: int) -> None:
    """ValueError for crops that the codec's networks do not take as they are."""
    if crop % 64 or crop < 64:
        raise ValueError(f"--crop {crop}: expected a multiple of 64")


def three(name: str, text: str) -> tuple[int, int, int]:
    """The numbers of ``--name A,B,C``. Raises ValueError for anything but three whole ones above 0."""
    try:
        first, second, third = (int(part) for part in text.split(","))
    except ValueError:
        first = second = third = 0
    if min(first, second, third) < 1:
        raise ValueError(f"--{name} {text}: expected three whole numbers above 0, as in 192,288,384")
    return first, second, third


def begin(given: argparse.Namespace) -> tuple[int, str]:
    """Give torch its threads; returns how many, and the text on the data.

    What can fail for want of a file or device fails here, not after hours. Raises ValueError, and OSError for a text
    that cannot be read.
    """
    if given.threads < 0:
        raise ValueError(f"--threads {given.threads}: expected 0 or more")
    try:
        torch.empty(0, device=given.device)
    except (RuntimeError, AssertionError) as error:  # the latter of a torch without that kind of device
        raise ValueError(f"--device {given.device}: {str(error).splitlines()[0]}") from error
    threads = given.threads or len(os.sched_getaffinity(0))
    torch.set_num_threads(threads)
    if given.profile is not None:
        Profile(given.profile)
    return threads, given.sources.read_text() if given.sources else ""


def tell_profile(folder: Path, section: str, digest: str) -> None:
    """Put a section into the model card of a profile that was written, and print the profile's hash."""
    # Not above: the exporter imports the commands' neighbours.
    from duoview.export.card import put_section

    card = folder / "MODEL_CARD.md"
    card.write_text(put_section(card.read_text() if card.is_file() else "", section))
    print(f"{folder}: sha256 {digest}")


def check_written(folder: Path | None) -> None:
    """ValueError for a place where `write_trained` can write no profile."""
    if folder is not None and folder.exists() and not folder.is_dir():
        raise ValueError(f"--profile {folder}: is a file; expected a folder, or a name that is free")


def write_trained(networks: Networks, names: Sequence[str], start: Profile, folder: Path, section: str) -> None:
    """Write the profile that training started from with the networks of these names in it, and a section in its card.

    A profile that is there is replaced, unless it is ``start`` itself. Raises as ``export.profile.replace_networks``.
    """
    # Not above: the exporter imports the commands' neighbours.
    from duoview.export.profile import replace_networks

    if folder.resolve() != start.folder.resolve():
        shutil.copytree(start.folder, folder, dirs_exist_ok=True)
    tell_profile(folder, section, replace_networks(networks, names, folder))


def run(module: str, p: argparse.ArgumentParser, work: Callable[[argparse.Namespace], None],
        arguments: Sequence[str] | None) -> int:
    """Read the arguments and do the work; returns the exit code, with a message on stderr unless it is 0."""
    given = p.parse_args(arguments)
    try:
        work(given)
    except _NOT_USABLE as error:
        print(f"{module}: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"{module}: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{module}: stopped; the same command goes on from the last checkpoint", file=sys.stderr)
        return 255
    return 0
