"""GPU backlog: train the texture layer of a profile (components, palettes, prior) on a CUDA device, and go on with it.

One call: builds the project from this checkout into a temporary folder, trains, and writes checkpoints and logs
(``OUT/run``), what the layer adds to the profile (``OUT/profile``) and a result file to the output folder.

    python bench/gpu/train_texture.py -i FOLDER --profile FOLDER --wheels WHEELS --out "$OUT" --minutes 2,1.5,4.5
    python bench/gpu/train_texture.py -i FOLDER --out /tmp/dry --minutes 0.05,0.05,0.05 --device cpu --samples 8 \
        --check 4 --crop 64 --groups 2 --depth 2

Crops are coded on the CPU before that, ``--samples`` of them, with the profile's own networks and with x265; what was
coded lies in ``OUT/run`` too and is not coded again. What the machine lacks (av) is installed from ``--wheels``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from _training import add_options, train


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-i", dest="folders", action="append", type=Path, required=True, help="folder of images and videos")
    p.add_argument("--minutes", default="2,1.5,4.5", metavar="A,B,C",
                   help="components, the way back from nodes, prior; with --resume those of that run included")
    p.add_argument("--samples", type=int, default=1200)
    p.add_argument("--check", type=int, default=160)
    p.add_argument("--crop", type=int, default=192)
    p.add_argument("--groups", type=int, default=24)
    p.add_argument("--depth", type=int, default=6)
    add_options(p)
    return p


def main() -> int:
    given = parser().parse_args()

    def words(profile: Path) -> Sequence[object]:
        sources = [word for source in given.folders for word in ("-i", source.resolve())]
        return [*sources, "--profile", profile, "--minutes", given.minutes, "--samples", given.samples, "--check",
                given.check, "--crop", given.crop, "--groups", given.groups, "--depth", given.depth]

    return train("train_texture", given, "duoview.models.texture_command", words)


if __name__ == "__main__":
    raise SystemExit(main())
