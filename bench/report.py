"""All measurements behind the README's numbers, one after the other (`make bench`).

    python -m bench.report [--kodak FOLDER] [--profile s] [--quick]

Without ``--kodak`` still pictures are judged on photographs of scikit-image's wheel, which is a different, smaller set.
Timings come first, while the machine is as idle as it was when this was started.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from PIL import Image

from bench import ceiling, corruption, speed, stills, time
from bench.media import photographs
from bench.result import RESULTS


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m bench.report", description=__doc__.splitlines()[0])
    parser.add_argument("--kodak", type=Path, help="folder of the 24 Kodak pictures, lossless")
    parser.add_argument("--profile", default="s", help="bundled name or folder")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the JSON files")
    parser.add_argument("--quick", action="store_true", help="fewer frames, pictures and cases: a check, not a result")
    options = parser.parse_args(arguments)
    quick, common = options.quick, ["--profile", options.profile]

    def out(name: str) -> list[str]:
        return ["--out", str(options.out / f"{name}.json")]

    speed.main([*common, *out("speed"), *(["--repeats", "2", "--frames", "10"] if quick else [])])
    with tempfile.TemporaryDirectory() as folder:
        images = options.kodak
        if images is None:
            images = Path(folder)
            for picture in photographs():
                Image.fromarray(picture.rgb).save(images / f"{picture.name}.png")
        suffix = "" if options.kodak else "_wheel"
        plot: list[str] = []
        if find_spec("matplotlib"):
            plot = ["--plot", str(options.out / f"stills{suffix}.png")]
        else:
            print("no plot: matplotlib is not installed (extra bench)")
        stills.main(["--images", str(images), *common, *out(f"stills{suffix}"), *plot,
                     *(["--limit", "2"] if quick else [])])
        ceiling.main(["--images", str(images), *common, *out(f"ceiling{suffix}")])
    time.main([*common, *out("time"), *(["--frames", "500"] if quick else [])])
    return corruption.main([*common, *out("corruption"), *(["--cases", "100"] if quick else [])])


if __name__ == "__main__":
    sys.exit(main())
