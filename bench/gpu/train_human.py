"""GPU backlog: train the human view's conditional denoiser on a CUDA device, going on from a checkpoint.

One call: builds the project from this checkout into a temporary folder, trains, and writes checkpoint and log
(``OUT/run``), what the networks change in the profile (``OUT/profile``) and a result file to the output folder.

    python bench/gpu/train_human.py -i FOLDER --profile FOLDER --detector FILE --wheels WHEELS --out "$OUT" --minutes 8
    python bench/gpu/train_human.py -i FOLDER --out /tmp/dry --minutes 0.3 --device cpu --batch 2 --crop 64 \
        --channels 16,24,32 --blocks 1,1,1

The profile is ``s`` where none is given; from texture the denoiser can start where the profile has a texture layer.
What the machine lacks (av) is installed from ``--wheels`` (no network needed).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from _training import add_options, train


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-i", dest="folders", action="append", type=Path, required=True, help="folder of images and videos")
    p.add_argument("--detector", type=Path, help="network for captions; none without it")
    p.add_argument("--minutes", type=float, default=8.0, help="with --resume those of that run included")
    p.add_argument("--batch", type=int, default=64)
    p.add_argument("--crop", type=int, default=256)
    p.add_argument("--channels", default="192,288,384")
    p.add_argument("--blocks", default="3,3,4")
    add_options(p)
    return p


def main() -> int:
    given = parser().parse_args()

    def words(profile: Path) -> Sequence[object]:
        sources = [word for source in given.folders for word in ("-i", source.resolve())]
        detector = ["--detector", given.detector.resolve()] if given.detector is not None else []
        return [*sources, "--profile", profile, *detector, "--minutes", given.minutes, "--batch", given.batch,
                "--crop", given.crop, "--channels", given.channels, "--blocks", given.blocks]

    return train("train_human", given, "duoview.models.human_command", words)


if __name__ == "__main__":
    raise SystemExit(main())
