"""Build of duoview: maps the top-level folders to packages and lets CMake build the one native extension.

The folders are concepts (codec/, kernels/, plugins/, ...), the import names are ``duoview``, ``duoview.kernels``,
``duoview.plugins``, ...; no folder is called ``duoview``, so the checkout can never shadow the installed package.
Everything that is not code (name, version, dependencies) stands in pyproject.toml.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Extension, find_packages, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
FOLDERS = {
    "duoview": "codec",
    "duoview.kernels": "kernels",
    "duoview.plugins": "plugins",
    "duoview.pipelines": "pipelines",
    "duoview.models": "models",
    "duoview.export": "export",
}

FATBIN = "duoview.fatbin"  # the CUDA kernels, where CMake found nvcc

# The stable ABI that nanobind needs starts with CPython 3.12; free-threaded builds have none.
STABLE_ABI = sys.version_info >= (3, 12) and not sysconfig.get_config_var("Py_GIL_DISABLED")


def packages() -> list[str]:
    """All packages of the folders that exist, by import name."""
    names: list[str] = []
    for package, folder in FOLDERS.items():
        if (ROOT / folder / "__init__.py").is_file():
            names.append(package)
            names += [f"{package}.{name}" for name in find_packages(str(ROOT / folder))]
    return names


def forget_lost_tools(cache: Path) -> None:
    """Lets CMake start anew where it remembers a build tool that is gone, as pip's isolated builds leave it."""
    known = re.search(r"^CMAKE_MAKE_PROGRAM:\w+=(.+)$", cache.read_text(), re.MULTILINE) if cache.is_file() else None
    if known and not Path(known[1]).exists():
        cache.unlink()


def replace(source: Path, target: Path) -> None:
    """Copies a file so that processes which have the old one mapped keep it."""
    fresh = target.with_name(target.name + ".new")
    shutil.copy2(source, fresh)
    fresh.replace(target)


class CMakeBuild(build_ext):
    """Runs CMake for the extension and puts the module where setuptools expects it."""

    def build_extension(self, ext: Extension) -> None:
        """Configure, build, copy ``ext`` and the fatbin; ``CalledProcessError`` stands below CMake's output."""
        target = Path(self.get_ext_fullpath(ext.name)).resolve()
        tag = "abi3" if STABLE_ABI else sysconfig.get_config_var("SOABI") or "native"
        build = ROOT / "build" / f"cmake-{tag}"
        build.mkdir(parents=True, exist_ok=True)
        forget_lost_tools(build / "CMakeCache.txt")
        configure = ["cmake", "-S", str(ROOT), "-B", str(build), "-DCMAKE_BUILD_TYPE=Release"]
        configure += [f"-DPython_EXECUTABLE={sys.executable}", f"-DDUOVIEW_MODULE_DIR={build / 'module'}"]
        if shutil.which("ninja") and not (build / "CMakeCache.txt").is_file():
            configure += ["-G", "Ninja"]
        configure += ["-DDUOVIEW_CUDA=AUTO", "-UDUOVIEW_NVCC"]  # what an earlier build was told or found is not kept
        configure += shlex.split(os.environ.get("DUOVIEW_CMAKE_ARGS", ""))
        subprocess.run(configure, check=True)
        jobs = os.environ.get("CMAKE_BUILD_PARALLEL_LEVEL") or str(min(os.cpu_count() or 1, 8))
        subprocess.run(["cmake", "--build", str(build), "--parallel", jobs], check=True)
        built = [path for path in (build / "module").iterdir() if path.name.startswith("_native")]
        if len(built) != 1:
            raise RuntimeError(f"expected one built module in {build / 'module'}, found {[p.name for p in built]}")
        target.parent.mkdir(parents=True, exist_ok=True)
        replace(built[0], target)
        self.place_fatbin(build / "fatbin" / FATBIN, target.parent)

    def place_fatbin(self, built: Path, folder: Path) -> None:
        """Puts the CUDA kernels beside the module; where none were built, none of an earlier build may stay."""
        if built.is_file():
            replace(built, folder / FATBIN)
        else:
            (folder / FATBIN).unlink(missing_ok=True)

    def copy_extensions_to_source(self) -> None:
        """Editable installs: the module and the kernels are used from the checkout."""
        super().copy_extensions_to_source()
        self.place_fatbin(Path(self.build_lib, "duoview", "kernels", FATBIN), ROOT / "kernels")


setup(
    packages=packages(),
    include_package_data=False,  # only what package_data names; C++ sources belong to the sdist
    package_dir=FOLDERS,
    package_data={
        "duoview": ["py.typed", "profiles/**/*"],
        "duoview.kernels": ["*.pyi"],
    },
    ext_modules=[Extension("duoview.kernels._native", sources=[], py_limited_api=STABLE_ABI)],
    cmdclass={"build_ext": CMakeBuild},
    options={"bdist_wheel": {"py_limited_api": "cp312"}} if STABLE_ABI else {},
)
