"""The part of everything.py that builds and installs this checkout; writes the environment that the others run in."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
import time
from pathlib import Path

from _checkout import ROOT, install, tree
from _state import write_whole

BUILT = "build.json"
#: In a folder that was made to install into.
MARK = ".duoview-site"


def wheels_in(folder: Path | None) -> list[str]:
    """The wheels that are installed beside: with more of them than before, another environment."""
    return sorted(path.name for path in folder.glob("*.whl")) if folder is not None else []


def clear(site: Path) -> None:
    """An empty folder to install into. Raises SystemExit for one that is not empty and was not made by this script."""
    mark = site / MARK
    if site.exists() and not mark.is_file() and not (site.is_dir() and not any(site.iterdir())):
        raise SystemExit(f"--site {site}: there is something in it that is not of an earlier call; it would be removed")
    if site.exists():
        shutil.rmtree(site)
    site.mkdir(parents=True)
    mark.touch()  # before anything is installed: a call may be ended


def main() -> int:
    p = argparse.ArgumentParser(description=__doc__)
    p.add_argument("--out", type=Path, required=True)
    p.add_argument("--site", type=Path, required=True, help="folder that is installed into; made anew")
    p.add_argument("--wheels", type=Path)
    p.add_argument("--prebuilt", action="store_true")
    given = p.parse_args()
    began = time.time()
    clear(given.site)
    # nvcc or an error, on a CPU too: what is built there is what would be measured.
    environment = install(given.site, given.wheels, cuda=True, bench=True, prebuilt=given.prebuilt)
    fatbin = given.site / "duoview" / "kernels" / "duoview.fatbin"
    if not fatbin.is_file():
        raise SystemExit(f"{fatbin.name} is not in what was installed: the build left the CUDA kernels out")
    asked = subprocess.run([sys.executable, "-c", "import duoview.kernels as k; print(','.join(k.paths()))"],
                           env=environment, capture_output=True, text=True)
    if asked.returncode:
        raise SystemExit(f"what was installed cannot be imported: {asked.stderr[-500:]}")
    handed = ("PYTHONPATH", "PYTHONUNBUFFERED", "ORT_DISABLE_TELEMETRY", "LD_LIBRARY_PATH")
    write_whole(given.out / BUILT, {
        "build": {"good": True, "fatbin_bytes": fatbin.stat().st_size, "paths": asked.stdout.strip().split(","),
                  "seconds": round(time.time() - began, 1)},
        "tree": tree(), "root": str(ROOT), "wheels": wheels_in(given.wheels), "prebuilt": given.prebuilt,
        "environment": {name: environment[name] for name in handed}})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
