"""The entropy coder's C++ entry points without Python around them, through ctypes: what ``rans.*`` is measured on."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bench.symbols import Symbols

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "build" / "bench"


def build() -> Path:
    """Compile bench/native with the kernels of this checkout, as the wheel is compiled; the library's path."""
    # cmake and ninja stand beside the interpreter of a virtual environment, which need not be the active one.
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"}
    configure = ["cmake", "-S", str(ROOT), "-B", str(BUILD), "-G", "Ninja", "-DCMAKE_BUILD_TYPE=Release",
                 "-DDUOVIEW_BENCH=ON", f"-DPython_EXECUTABLE={sys.executable}"]
    make = ["cmake", "--build", str(BUILD), "--target", "bench_native", "--parallel", "2"]
    try:
        for command in (configure, make):
            subprocess.run(command, check=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise SystemExit("bench.kernels compiles a small library and needs cmake, ninja and a C++ compiler: "
                         "pip install cmake ninja nanobind") from None
    except subprocess.CalledProcessError as error:
        raise SystemExit(f"bench/native does not compile:\n{error.stdout.decode(errors='replace')[-3000:]}") from None
    return BUILD / "bench" / "libbench_native.so"


def _pointer(array: NDArray[Any]) -> ctypes.c_void_p:
    return ctypes.c_void_p(array.ctypes.data)


class NativeCoder:
    """One array of symbols in buffers that are there already, coded by one thread with all checks."""

    def __init__(self, library: Path, given: Symbols, path: str) -> None:
        self._native = ctypes.CDLL(str(library))
        self._native.bench_encode.restype = ctypes.c_longlong
        self._given = given
        self._path = ctypes.c_char_p(path.encode())
        count = given.symbols.size
        self._out = np.zeros(4 * count + 4096, np.uint8)
        self._symbols = np.zeros(count, np.int16)
        self._count = ctypes.c_size_t(count)

    def encode(self) -> int:
        """Bytes of the stream, which stays in this object."""
        size = self._native.bench_encode(
            _pointer(self._given.symbols), _pointer(self._given.classes), self._count, self._path,
            _pointer(self._out), ctypes.c_size_t(self._out.size))
        if size < 0:
            raise RuntimeError("the C++ encoder refused what the Python one takes")
        return size

    def decode(self, size: int) -> NDArray[np.int16]:
        """The symbols, in a buffer of this object."""
        code = self._native.bench_decode(
            _pointer(self._out), ctypes.c_size_t(size), _pointer(self._given.classes), self._count, self._path,
            _pointer(self._symbols))
        if code != 0:
            raise RuntimeError("the C++ decoder refused its own encoder's stream")
        return self._symbols
