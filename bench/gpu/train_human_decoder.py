"""GPU backlog: train D_h, which shows human views, on a CUDA device, going on from a checkpoint.

One call: builds the project from this checkout into a temporary folder, trains, and writes checkpoint and log
(``OUT/run``), what the network changes in the profile (``OUT/profile``) and a result file to the output folder.

    python bench/gpu/train_human_decoder.py -i FOLDER --weights FOLDER --wheels WHEELS --out "$OUT" --minutes 8
    python bench/gpu/train_human_decoder.py -i FOLDER --weights FOLDER --out /tmp/dry --minutes 0.3 --device cpu \
        --batch 2 --crop 64 --channels 16,12,8 --blocks 1,1,1

The profile is ``s`` where none is given; it learns to show what that one's denoiser generates. ``--weights`` holds the
networks that look: YOLOX, which also finds what captions tell of, and ShuffleNetV2. What the machine lacks (av) is
installed from ``--wheels`` (no network needed).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from _training import SHUFFLENET, YOLOX, add_options, network, train


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("-i", dest="folders", action="append", type=Path, required=True, help="folder of images and videos")
    p.add_argument("--weights", type=Path, required=True, help="folder of the networks that look")
    p.add_argument("--minutes", type=float, default=8.0, help="with --resume those of that run included")
    p.add_argument("--batch", type=int, default=32)
    p.add_argument("--crop", type=int, default=256)
    p.add_argument("--channels", default="256,96,48")
    p.add_argument("--blocks", default="5,3,2")
    add_options(p)
    return p


def main() -> int:
    given = parser().parse_args()
    yolox, shufflenet = (network(given.weights, name) for name in (YOLOX, SHUFFLENET))

    def words(profile: Path) -> Sequence[object]:
        sources = [word for source in given.folders for word in ("-i", source.resolve())]
        return [*sources, "--profile", profile, "--detector", yolox, "--yolox", yolox, "--shufflenet", shufflenet,
                "--minutes", given.minutes, "--batch", given.batch, "--crop", given.crop,
                "--channels", given.channels, "--blocks", given.blocks]

    return train("train_human_decoder", given, "duoview.models.human_decoder_command", words)


if __name__ == "__main__":
    raise SystemExit(main())
