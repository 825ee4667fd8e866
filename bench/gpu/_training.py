"""What the scripts that train have in common: the checkout installed, a profile to train for, and what comes back.

A checkpoint lies in ``OUT/run`` and is gone on from where it lies there, or where --resume brings it. What training
changed in the profile lies in ``OUT/profile``: those files alone, to be laid over the profile it began with.
"""

from __future__ import annotations

import argparse
import filecmp
import json
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from _checkout import ROOT, commit, install
from _device import describe

HELD = ("straigen_pedestrian", "abhishek_highway", "rfmanz_night_ir")
#: Networks to learn from: their files below --weights.
YOLOX, FASTESTDET, SHUFFLENET = "yolox_nano_416.onnx", "FastestDet_352.onnx", "shufflenetv2_0.35x_imagenet.pth"
#: Not networks: what a profile's training leaves beside them.
_BESIDE = (".new", ".tmp")


def add_options(p: argparse.ArgumentParser, *, profile: bool = True) -> None:
    """The options that every training has."""
    if profile:
        p.add_argument("--profile", type=Path, default=ROOT / "codec" / "profiles" / "s",
                       help="what is trained for: a folder, or profile.tar.gz of train_profile.py (default: s)")
        p.add_argument("--over", nargs="*", type=Path, default=[], metavar="FOLDER",
                       help="OUT/profile of trainings before, laid over the profile in this order")
    p.add_argument("--wheels", type=Path, help="folder of wheels to install first")
    p.add_argument("--installed", action="store_true", help="train with the installed duoview; build nothing")
    p.add_argument("--resume", type=Path, help="checkpoint of an earlier run, or its folder OUT/run")
    p.add_argument("--hold", nargs="+", default=list(HELD), help="clips held back: parts of their names")
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--device", default="cuda")


def network(weights: Path, name: str) -> Path:
    """A file below the folder of networks. Raises SystemExit with what is missing."""
    found = sorted(weights.rglob(name))
    if not found:
        raise SystemExit(f"--weights {weights}: no {name} in it or below")
    return found[0].resolve()


def lay(profile: Path, over: Sequence[Path], target: Path) -> None:
    """A profile, a folder or an archive, into ``target``, and what later trainings changed in it over that.

    Raises SystemExit for what is no profile.
    """
    if profile.is_dir():
        shutil.copytree(profile, target)
    elif profile.is_file():
        shutil.unpack_archive(profile, target, filter="data")
    if not (target / "profile.json").is_file():
        raise SystemExit(f"--profile {profile}: no profile.json in it; expected a folder or an archive of a profile")
    for folder in over:
        if not (folder / "profile.json").is_file():
            raise SystemExit(f"--over {folder}: no profile.json in it; expected OUT/profile of a training")
        shutil.copytree(folder, target, dirs_exist_ok=True)


def keep_changed(before: Path, after: Path, target: Path) -> list[str]:
    """Copy the files of a profile that training wrote or altered, and those alone; returns their names."""
    changed = [path for path in sorted(after.iterdir()) if path.is_file() and path.suffix not in _BESIDE
               and not ((before / path.name).is_file() and filecmp.cmp(before / path.name, path, shallow=False))]
    if target.exists():
        shutil.rmtree(target)  # what an earlier call changed and this one did not
    if changed:
        target.mkdir()
    for path in changed:
        shutil.copy(path, target)
    return [path.name for path in changed]


def train(script: str, given: argparse.Namespace, module: str, words: Callable[[Path], Sequence[object]]) -> int:
    """Run a training command of the installed duoview; returns its exit code, and writes ``OUT/SCRIPT.json``.

    words: the command's own, given the folder of the profile, which it alters; --out and --device come on top.
    """
    given.out.mkdir(parents=True, exist_ok=True)
    work = given.out.resolve() / "run"
    work.mkdir(exist_ok=True)
    began = time.time()
    if given.resume is not None:
        if not given.resume.exists():
            raise SystemExit(f"--resume {given.resume}: not there")
        if given.resume.is_dir():
            if given.resume.resolve() != work:
                shutil.copytree(given.resume, work, dirs_exist_ok=True)
        else:
            shutil.copy(given.resume, work)
    with tempfile.TemporaryDirectory() as folder:
        environment = None if given.installed else install(Path(folder, "site"), given.wheels)
        before, profile = Path(folder, "before"), Path(folder, "profile")
        lay(given.profile, given.over, before)
        shutil.copytree(before, profile)
        command = [sys.executable, "-m", module, *words(profile), "--hold", *given.hold, "--device", given.device,
                   "--out", work]
        code = subprocess.run(list(map(str, command)), env=environment, cwd=folder).returncode
        changed = keep_changed(before, profile, given.out / "profile") if code == 0 else []
        device = describe(environment)
    result = {"script": script, "exit": code, "minutes": given.minutes, "device": given.device,
              "seconds": round(time.time() - began), "commit": commit(), "machine": device,
              "checkpoints": {str(path.relative_to(work)): path.stat().st_size for path in sorted(work.rglob("*.pt"))},
              "changed": changed, "last": last_lines(work)}
    (given.out / f"{script}.json").write_text(json.dumps(result, indent=1) + "\n")
    return code


def last_lines(work: Path) -> dict[str, object]:
    """The last line of each log: where training stands."""
    found: dict[str, object] = {}
    for path in sorted(work.rglob("*.jsonl")):
        lines = path.read_text().splitlines()
        if lines and path.name != "labels.jsonl":
            found[str(path.relative_to(work))] = json.loads(lines[-1])
    return found
