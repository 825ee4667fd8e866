"""GPU backlog: train the neural codec of a profile for machines, key frames or P frames, from a checkpoint on.

One call: builds the project from this checkout into a temporary folder, trains, and writes checkpoint and log
(``OUT/run``), what the networks change in the profile (``OUT/profile``) and a result file to the output folder.

    python bench/gpu/train_machine.py --frames key -i FOLDER [-i FOLDER] --weights FOLDER --profile profile.tar.gz \
        --wheels WHEELS --out "$OUT/key" --minutes 8
    python bench/gpu/train_machine.py --frames p -i FOLDER --weights FOLDER --profile profile.tar.gz \
        --over "$OUT/key/profile" --out "$OUT/p" --minutes 8
    python bench/gpu/train_machine.py --frames key -i FOLDER --weights FOLDER --out /tmp/dry --minutes 0.05 \
        --device cpu --check 1

``--weights`` holds yolox_nano_416.onnx, FastestDet_352.onnx and shufflenetv2_0.35x_imagenet.pth. Pictures are labelled
on the CPU first; the labels lie in ``OUT/run`` too. What follows ``--`` goes to the command as it is
(``-- --weight picture=2 --zoom .5 1.5``).
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from _training import FASTESTDET, SHUFFLENET, YOLOX, add_options, network, train


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--frames", choices=("key", "p"), required=True, help="which frames' codec")
    p.add_argument("-i", dest="folders", action="append", type=Path, required=True, help="folder of images and videos")
    p.add_argument("--photographs", default="", metavar="NAME", help="of the folder that classes are measured on")
    p.add_argument("--weights", type=Path, required=True, help="folder of the networks to learn from")
    p.add_argument("--held-detector", choices=("yolox", "fastestdet"), help="measured and not learned from")
    p.add_argument("--minutes", type=float, default=8.0, help="with --resume those of that run included")
    p.add_argument("--check", type=int, default=42, help="held-back pictures that are measured")
    p.add_argument("more", nargs="*", metavar="-- WORD", help="further options of duoview.models.machine_command")
    add_options(p)
    return p


def main() -> int:
    given = parser().parse_args()
    yolox, fastestdet, shufflenet = (network(given.weights, name) for name in (YOLOX, FASTESTDET, SHUFFLENET))

    def words(profile: Path) -> Sequence[object]:
        held = ["--held-detector", given.held_detector] if given.held_detector else []
        return ["--frames", given.frames, "--folders", *(one.resolve() for one in given.folders), "--photographs",
                given.photographs, "--yolox", yolox, "--fastestdet", fastestdet, "--shufflenet", shufflenet, *held,
                "--start", profile, "--profile", profile, "--minutes", given.minutes, "--check", given.check,
                *given.more]

    return train("train_machine", given, "duoview.models.machine_command", words)


if __name__ == "__main__":
    raise SystemExit(main())
