"""GPU backlog: train a profile from nothing on a CUDA device, as long as the given minutes allow, from checkpoints on.

One call: builds the project from this checkout into a temporary folder, trains the three stages, and writes checkpoints
and curves (``OUT/run``), the profile (``OUT/profile.tar.gz``) and a result file to the output folder.

    python bench/gpu/train_profile.py --data FOLDER [--data FOLDER] --out "$OUT" --minutes 6,2,1.5
    python bench/gpu/train_profile.py --data FOLDER --out "$OUT" --minutes 6,2,1.5 --name m --shape M
    python bench/gpu/train_profile.py --data FOLDER --out /tmp/dry --minutes 0.05,0.05,0.05 --device cpu   # dry run

``--shape`` is that of ``duoview train``; ``M`` is a larger one, for cameras with an accelerator and for servers. What
the machine lacks (av) is installed from ``--wheels FOLDER`` (no network needed).
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _checkout import commit, install
from _device import describe
from _training import HELD, add_options, last_lines

#: E, key frames both ways and D take 10, 14 and 26 kMAC a pixel; of profile s 3.6, 5.6 and 4.6. The latent is as wide.
M = "encoder=192,encoder_blocks=4,decoder=256,decoder_blocks=6,symbols=192,transform=320,hyper=48,parameters=224"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--data", action="append", type=Path, required=True, help="folder of images and videos")
    p.add_argument("--minutes", default="6,2,1.5", help="of the three stages, with --resume those of that run included")
    p.add_argument("--name", default="s", help="of the profile")
    p.add_argument("--shape", default="", metavar="NAME=CHANNELS,...", help="sizes other than those of profile s; M")
    p.add_argument("--workers", type=int, default=12)
    add_options(p, profile=False)
    p.set_defaults(hold=list(HELD))
    return p


def main() -> int:
    given = parser().parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    work = given.out.resolve() / "run"
    began = time.time()
    if given.resume is not None and given.resume.resolve() != work:
        if not given.resume.is_dir():
            raise SystemExit(f"--resume {given.resume}: expected a folder with still.pt, inter.pt, denoiser.pt")
        shutil.copytree(given.resume, work, dirs_exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        environment = None if given.installed else install(Path(folder, "site"), given.wheels)
        workers = given.workers if given.device.startswith("cuda") else 0
        sources = [part for data in given.data for part in ("-i", str(data.resolve()))]
        shape = ["-shape", M if given.shape == "M" else given.shape] if given.shape else []
        command = [sys.executable, "-m", "duoview.pipelines", "train", *sources, "-work", str(work), "-minutes",
                   given.minutes, "-device", given.device, "-workers", str(workers), "-name", given.name, *shape,
                   "-hold", ",".join(given.hold), str(Path(folder, "profile"))]
        code = subprocess.run(command, env=environment, cwd=folder).returncode
        if code == 0:
            # One archive: what may be brought back is limited in files, not in kinds.
            shutil.make_archive(str(given.out / "profile"), "gztar", Path(folder, "profile"))
        machine = describe(environment)
    result = {"script": "train_profile", "exit": code, "minutes": given.minutes, "name": given.name,
              "shape": shape[1] if shape else "that of profile s", "device": given.device,
              "seconds": round(time.time() - began), "commit": commit(), "machine": machine,
              "checkpoints": {path.name: path.stat().st_size for path in sorted(work.glob("*.pt"))},
              "last": last_lines(work)}
    (given.out / "train_profile.json").write_text(json.dumps(result, indent=1) + "\n")
    return code


if __name__ == "__main__":
    raise SystemExit(main())
