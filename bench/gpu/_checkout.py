"""What the scripts of this folder have in common: they install the checkout they lie in, and name its commit."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
#: The commit of a checkout that came without its history, as everything.py hands it on.
COMMIT = "DUOVIEW_BENCH_COMMIT"
_SOURCES = ("bench", "codec", "export", "kernels", "models", "pipelines", "plugins", "tests")
_MADE = {".so", ".fatbin", ".pyc"}


def cuda_homes() -> list[Path]:
    """Folders in which CUDA's compiler and headers may be, the most particular first."""
    nvcc = shutil.which("nvcc")
    named = [Path(os.environ[name]) for name in ("CUDA_HOME", "CUDA_PATH") if os.environ.get(name)]
    return [*named, Path("/usr/local/cuda"), *([Path(nvcc).resolve().parents[1]] if nvcc else [])]


def missing_compilers(*, cuda: bool = False) -> list[str]:
    """Compilers that a build of this checkout needs and this machine lacks, each with where it is looked for."""
    found = []
    if all(shutil.which(tool) is None for tool in ("c++", "g++", "clang++")):
        found.append("a C++ compiler: neither c++, g++ nor clang++ is on the PATH")
    if cuda and shutil.which("nvcc") is None and not any((home / "bin" / "nvcc").is_file() for home in cuda_homes()):
        found.append("nvcc: neither on the PATH nor in CUDA_HOME, CUDA_PATH or /usr/local/cuda")
    return found


def tools_path() -> str:
    """PATH with the folder of this interpreter before it, where cmake and ninja lie that came as its packages."""
    return os.pathsep.join((str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)))


def missing_tools(*, cuda: bool = False) -> list[str]:
    """All that a build of this checkout needs and this machine lacks, each with where it is looked for."""
    found = [f"{tool}: not on the PATH" for tool in ("cmake", "ninja") if shutil.which(tool, path=tools_path()) is None]
    found += missing_compilers(cuda=cuda)
    return found + [f"{name}: this Python has no such package" for name in ("setuptools", "nanobind", "wheel")
                    if importlib.util.find_spec(name) is None]


def library_path() -> str:
    """LD_LIBRARY_PATH with the CUDA libraries that lie in this Python's packages, where onnxruntime does not look."""
    folders = sorted({str(path) for entry in sys.path if entry for pattern in ("nvidia/*/lib", "tensorrt_libs")
                      for path in Path(entry).glob(pattern)})
    return os.pathsep.join(filter(None, (os.environ.get("LD_LIBRARY_PATH"), *folders)))


def install(site: Path, wheels: Path | None, *, cuda: bool = False, bench: bool = False,
            prebuilt: bool = False) -> dict[str, str]:
    """Install wheels and this checkout below `site`; returns the environment to run with.

    cuda: build the CUDA kernels too, or fail. bench: let the package `bench` be found. prebuilt: take duoview's wheel
    among `wheels` in place of a build. SystemExit names what a build lacks, or the wheel that is not there.
    """
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--target", str(site)]
    carried = sorted(wheels.glob("*.whl")) if wheels is not None else []
    own = [wheel for wheel in carried if wheel.name.startswith("duoview-")]
    if prebuilt and len(own) != 1:
        raise SystemExit(f"{wheels}: expected one duoview-*.whl to install without a build, found {len(own)}")
    lacking = [] if prebuilt else missing_tools(cuda=cuda)
    if lacking:
        raise SystemExit("duoview cannot be built here:\n  " + "\n  ".join(lacking))
    # One that is carried beside would not be replaced by the build, since pip leaves what --target holds.
    chosen = [wheel for wheel in carried if prebuilt or wheel not in own]
    if chosen:
        subprocess.run([*pip, "--no-index", *map(str, chosen)], check=True)
    environment = os.environ | {"PATH": tools_path()} | ({"DUOVIEW_CMAKE_ARGS": "-DDUOVIEW_CUDA=ON"} if cuda else {})
    if not prebuilt:
        subprocess.run([*pip, "--no-build-isolation", "--no-index", str(ROOT)], check=True, env=environment)
    # The checkout behind the site, so that bench is found and nothing else of it is taken for what was installed.
    path = os.pathsep.join((str(site), str(ROOT)) if bench else (str(site),))
    return environment | {"PYTHONPATH": path, "PYTHONUNBUFFERED": "1", "ORT_DISABLE_TELEMETRY": "1",
                          "LD_LIBRARY_PATH": library_path()}


def commit() -> str:
    """What is checked out; without git, or history, what everything.py was told; empty where nobody knows."""
    if shutil.which("git") is not None:
        found = subprocess.run(["git", "-C", str(ROOT), "rev-parse", "HEAD"], capture_output=True, text=True)
        if found.returncode == 0:
            return found.stdout.strip()
    return os.environ.get(COMMIT, "")


def tree() -> str:
    """SHA-256 of the checkout's sources, tests and benchmarks: what tells two states of it apart without git."""
    digest = hashlib.sha256()
    paths = [ROOT / name for name in ("CMakeLists.txt", "pyproject.toml", "setup.py")]
    for folder in _SOURCES:
        paths += [path for path in (ROOT / folder).rglob("*") if path.is_file() and path.suffix not in _MADE
                  and not any(part.startswith(".") or part == "__pycache__" for part in path.relative_to(ROOT).parts)
                  and (ROOT / "bench" / "results") not in path.parents]
    for path in sorted(paths):
        digest.update(f"{path.relative_to(ROOT).as_posix()}\0{path.stat().st_size}\0".encode())
        digest.update(path.read_bytes())
    return digest.hexdigest()
