"""The fatbin that the build makes, and what is said where something that CUDA needs is missing."""

from __future__ import annotations

import ctypes
import os
import shutil
import struct
import subprocess
import sys
import types
from contextlib import nullcontext
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

from duoview.kernels import cuda_driver, fatbin
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_array import device_array, exported, stream_handle
from duoview.kernels.cuda_header import Copy2D, Place2D, PoolProperties
from duoview.kernels.errors import DeviceError, Error

# Where CMake looks, too (kernels/cuda/CMakeLists.txt).
FOLDERS = [os.environ.get("CUDA_HOME"), os.environ.get("CUDA_PATH"), "/usr/local/cuda"]
NVCC = shutil.which("nvcc") or next((n for f in FOLDERS if f and (n := shutil.which("nvcc", path=f"{f}/bin"))), None)
built = pytest.mark.skipif(not fatbin.PATH.exists(), reason="built without nvcc")


class Remote:
    """An array that says it is on a device."""

    def __init__(self, typestr: str = "<i2", shape: tuple[int, ...] = (6,), **more: object) -> None:
        self.__cuda_array_interface__ = {"typestr": typestr, "shape": shape, "data": (4096, False), "version": 3} | more


class FakeLibrary:
    """A driver of whose functions each returns what it is told."""

    def __init__(self, **codes: int) -> None:
        self.codes = codes
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.words: list[int] = []

    def __getattr__(self, name: str) -> object:
        def call(*arguments: object) -> int:
            self.calls.append((name, arguments))
            if name == "cuLaunchKernel":  # read now: they may be gone once the launch has returned
                parameters = ctypes.cast(arguments[9], ctypes.POINTER(ctypes.c_void_p))  # type: ignore[arg-type]
                job, warps = (ctypes.cast(parameters[i], ctypes.POINTER(ctypes.c_uint64)) for i in range(2))
                self.words = [*job[:3], warps[0]]
            return self.codes.get(name, 0)

        return call


@pytest.mark.skipif("DUOVIEW_SANITIZED" in os.environ, reason="the sanitized module is built alone")
def test_the_build_made_the_kernels_where_there_is_nvcc() -> None:
    assert fatbin.PATH.exists() == (NVCC is not None)


@built
def test_the_fatbin_holds_all_five_targets() -> None:
    found = {str(target) for target in fatbin.targets(fatbin.read())}
    assert found == {"sm_80", "sm_86", "sm_89", "sm_90", "compute_80"}


@built
def test_every_program_is_a_kernel_of_the_fatbin_on_devices_from_ampere_on() -> None:
    found = fatbin.targets(fatbin.read())
    assert all(fatbin.runs_on(found, c) for c in [(8, 0), (8, 6), (8, 7), (8, 9), (9, 0), (10, 0), (12, 0)])
    assert not any(fatbin.runs_on(found, c) for c in [(5, 2), (7, 0), (7, 5)])


def test_a_wheel_without_kernels_says_so(tmp_path: Path) -> None:
    with pytest.raises(DeviceError, match=r"built without CUDA.*DDUOVIEW_CUDA=ON"):
        fatbin.read(tmp_path / "duoview.fatbin")


def test_what_is_no_fatbin_is_refused() -> None:
    header = struct.pack("<IHHQ", 0xBA55ED50, 1, 16, 100)
    for data, message in [
        (b"", "0 bytes long"),
        (b"\x7fELF" + bytes(60), "no fatbin"),
        (header + bytes(50), "cut off: 116 bytes are announced, 66 are there"),
        (header + struct.pack("<HHIQ", 2, 1, 64, 1000) + bytes(84), "entry at byte 16 is longer"),
        (header + bytes(100), "entry at byte 16 is longer"),
    ]:
        with pytest.raises(DeviceError, match=message):
            fatbin.targets(data)


def test_a_machine_without_a_driver_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> ctypes.CDLL:
        raise OSError(f"{name}: no such file")

    monkeypatch.setattr(ctypes, "CDLL", missing)
    with pytest.raises(DeviceError, match=r"no CUDA driver on this machine: libcuda.so.1"):
        cuda_driver.driver_library()


@built
def test_missing_pycuda_and_devices_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: FakeLibrary())
    monkeypatch.setitem(sys.modules, "pycuda", None)
    with pytest.raises(DeviceError, match=r"pycuda is needed .* pip install duoview\[gpu\]"):
        Device(0)
    driver = types.ModuleType("pycuda.driver")

    class FailedError(Exception):
        pass

    driver.Error, driver.init = FailedError, lambda: None  # type: ignore[attr-defined]
    driver.Device = types.SimpleNamespace(count=lambda: 2)  # type: ignore[attr-defined]
    package = types.ModuleType("pycuda")
    package.driver = driver  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pycuda", package)
    monkeypatch.setitem(sys.modules, "pycuda.driver", driver)
    with pytest.raises(DeviceError, match="device is 2; this machine has 2 CUDA devices"):
        Device(2)

    def no_device() -> None:
        raise FailedError("no CUDA-capable device is detected")

    driver.init = no_device  # type: ignore[attr-defined]
    with pytest.raises(DeviceError, match="CUDA device 0 cannot be used: no CUDA-capable device"):
        Device(0)


@built
def test_a_device_that_is_too_old_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: FakeLibrary())
    with pytest.raises(DeviceError, match=r"Old One has compute capability 7.5; .*sm_90.*8.0 or newer"):
        cuda_driver.CudaDriver(0, (7, 5), nullcontext, "Old One")


@built
def test_the_drivers_errors_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: FakeLibrary(cuModuleLoadData=209))
    with pytest.raises(DeviceError, match=r"cuModuleLoadData failed on Some GPU: .* \(209\)"):
        cuda_driver.CudaDriver(0, (9, 0), nullcontext, "Some GPU")
    assert issubclass(DeviceError, Error)
    assert issubclass(DeviceError, RuntimeError)


@built
def test_a_launch_hands_its_words_and_warps_to_the_driver(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: library)
    driver = cuda_driver.CudaDriver(0, (9, 0), nullcontext, "Some GPU")
    names = [call[1][2] for call in library.calls if call[0] == "cuModuleGetFunction"]
    assert set(names) == {f"duoview_{name}".encode() for name in driver.words}
    driver.launch("fill_words", 17, [4096, 5, 6], 1234)
    name, arguments = library.calls[-1]
    assert (name, library.words) == ("cuLaunchKernel", [4096, 5, 6, 17])
    assert arguments[1:7] == (3, 1, 1, 256, 1, 1)
    assert isinstance(arguments[8], ctypes.c_void_p)
    assert arguments[8].value == 1234
    with pytest.raises(ValueError, match="fill_words takes 3 arguments, not 2"):
        driver.launch("fill_words", 1, [1, 2], 0)
    with pytest.raises(ValueError, match="fill_words on 0 warps"):
        driver.launch("fill_words", 0, [1, 2, 3], 0)


@built
def test_memory_of_a_stream_comes_from_one_pool_and_is_freed_in_the_streams_order(monkeypatch: pytest.MonkeyPatch
                                                                                  ) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: library)
    monkeypatch.setattr(cuda_driver, "PoolProperties", Properties)
    monkeypatch.setattr(FakeLibrary, "cuMemPoolCreate", lambda self, pool, given: fill(pool, 77), raising=False)
    monkeypatch.setattr(FakeLibrary, "cuMemAllocFromPoolAsync",
                        lambda self, pointer, size, pool, stream: fill(pointer, 4096 + pool.value + stream.value),
                        raising=False)
    driver = cuda_driver.CudaDriver(1, (9, 0), nullcontext, "Some GPU")
    first, second = driver.allocate(100, 1000), driver.allocate(100, 2000)
    assert (first.pointer, second.pointer) == (4096 + 77 + 1000, 4096 + 77 + 2000)
    assert Properties.made == [(1, 0, 1, 1)]  # one pool: pinned, shared with nobody, on device 1
    del first
    name, arguments = library.calls[-1]
    assert (name, [one.value for one in arguments]) == ("cuMemFreeAsync", [5173, 1000])  # type: ignore[attr-defined]
    names = [name for name, _ in library.calls]
    assert names.count("cuMemPoolSetAttribute") == 1 and "cuMemFree_v2" not in names and "cuMemAlloc_v2" not in names
    del driver
    assert "cuMemPoolDestroy" not in [name for name, _ in library.calls]  # somebody has memory of it yet
    del second
    assert [name for name, _ in library.calls[-2:]] == ["cuMemFreeAsync", "cuMemPoolDestroy"]


@built
def test_what_a_pool_keeps_goes_back_to_the_device_when_that_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: library)
    monkeypatch.setattr(FakeLibrary, "cuMemPoolCreate", lambda self, pool, given: fill(pool, 77), raising=False)
    driver = cuda_driver.CudaDriver(0, (9, 0), nullcontext, "Some GPU")
    driver.trim()
    assert "cuMemPoolTrimTo" not in [name for name, _ in library.calls]  # there is no pool yet
    driver.allocate(100, 1000)
    driver.trim()
    name, arguments = library.calls[-1]
    assert (name, [one.value for one in arguments]) == ("cuMemPoolTrimTo", [77, 0])  # type: ignore[attr-defined]


class Properties(ctypes.Structure):
    """Of a pool; remembers what it was made of."""

    _fields_ = PoolProperties._fields_
    made: ClassVar[list[tuple[int, ...]]] = []

    def __init__(self, *values: int) -> None:
        super().__init__(*values)
        assert ctypes.sizeof(self) == 88  # of cuda.h
        Properties.made.append(values)


def fill(pointer: object, value: int) -> int:
    pointer._obj.value = value  # type: ignore[attr-defined]
    return 0


@built
def test_streams_of_a_device_wait_for_no_other_one(monkeypatch: pytest.MonkeyPatch) -> None:
    library = FakeLibrary()
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: library)
    driver = cuda_driver.CudaDriver(0, (9, 0), nullcontext, "Some GPU")
    driver.open_stream()
    name, arguments = library.calls[-1]
    assert (name, arguments[1].value) == ("cuStreamCreate", 1)  # type: ignore[attr-defined]
    driver.copy(4096, 8192, 100, 1234)
    driver.close_stream(1234)
    found = [(name, [one.value for one in arguments]) for name, arguments in library.calls[-2:]]  # type: ignore[attr-defined]
    assert found == [("cuMemcpyDtoDAsync_v2", [8192, 4096, 100, 1234]), ("cuStreamDestroy_v2", [1234])]


HEADERS = [path for folder in (*FOLDERS, *(Path(NVCC).resolve().parents[1:2] if NVCC else ()))
           if folder and (path := Path(folder, "include")).joinpath("cuda.h").exists()]


@pytest.mark.skipif(not HEADERS or shutil.which("g++") is None, reason="the header comes with nvcc")
@pytest.mark.parametrize(("mine", "theirs", "members"), [
    (PoolProperties, "CUmemPoolProps", {
        PoolProperties.allocation.offset: "allocType", PoolProperties.handles.offset: "handleTypes",
        PoolProperties.location.offset: "location.type", PoolProperties.ordinal.offset: "location.id",
        PoolProperties.most.offset: "maxSize"}),
    (Copy2D, "CUDA_MEMCPY2D", {
        Place2D.kind.offset: "srcMemoryType", Place2D.device.offset: "srcDevice", Place2D.pitch.offset: "srcPitch",
        Copy2D.target.offset + Place2D.kind.offset: "dstMemoryType",
        Copy2D.target.offset + Place2D.device.offset: "dstDevice",
        Copy2D.target.offset + Place2D.pitch.offset: "dstPitch",
        Copy2D.width.offset: "WidthInBytes", Copy2D.height.offset: "Height"})])
def test_structures_are_those_of_the_header(tmp_path: Path, mine: type[ctypes.Structure], theirs: str,
                                            members: dict[int, str]) -> None:
    prints = "".join(f'printf("%zu ", offsetof({theirs}, {name}));' for name in members.values())
    source = tmp_path / "offsets.cpp"
    source.write_text("#include <cstddef>\n#include <cstdio>\n#include <cuda.h>\n"
                      f"int main() {{ {prints} printf(\"%zu\", sizeof({theirs})); }}\n")
    subprocess.run(["g++", "-I", str(HEADERS[0]), str(source), "-o", str(tmp_path / "offsets")], check=True)
    found = subprocess.run([str(tmp_path / "offsets")], check=True, capture_output=True, text=True).stdout.split()
    assert [int(one) for one in found] == [*members, ctypes.sizeof(mine)]


@built
def test_rows_are_copied_by_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    library, given = FakeLibrary(), []
    monkeypatch.setattr(cuda_driver, "driver_library", lambda: library)

    def copied(self: FakeLibrary, copy: Any, stream: ctypes.c_void_p) -> int:
        given.append((Copy2D.from_buffer_copy(copy._obj), stream.value))
        return 0

    monkeypatch.setattr(FakeLibrary, "cuMemcpy2DAsync_v2", copied, raising=False)
    cuda_driver.CudaDriver(0, (9, 0), nullcontext, "Some GPU").copy_rows(4096, 128, 8192, 100, 7, 1234)
    ((copy, stream),) = given
    assert (copy.source.device, copy.source.pitch, copy.source.kind) == (4096, 128, 2)
    assert (copy.target.device, copy.target.pitch, copy.target.kind) == (8192, 100, 2)
    assert (copy.width, copy.height, stream) == (100, 7, 1234)


def test_what_an_array_exports_is_read_with_its_strides() -> None:
    array = np.arange(60, dtype=np.uint8).reshape(6, 10)
    found = exported("plane", array[1:, 2:6], stream=None)
    assert (found.pointer, found.shape, found.strides) == (array.ctypes.data + 12, (5, 4), (10, 1))
    assert (found.device, found.dtype, found.on_cuda) == ((1, 0), np.dtype(np.uint8), False)


def test_arrays_are_taken_by_their_interface() -> None:
    found = device_array("symbols", Remote("<i2", (2, 3)))
    assert (found.pointer, found.dtype, found.shape, found.nbytes) == (4096, np.dtype("int16"), (2, 3), 12)
    assert device_array("symbols", Remote(strides=(2,))).size == 6
    assert device_array("symbols", Remote(shape=(1, 6), strides=(999, 2))).size == 6
    assert not device_array("symbols", Remote(data=(4096, True))).writable
    for array, error, message in [
        (Remote(strides=(4,)), ValueError, r"symbols is not contiguous \(strides \(4,\) bytes\)"),
        (Remote(mask=Remote()), TypeError, "symbols has a mask"),
        ([1, 2], TypeError, "symbols is a list; an array with __cuda_array_interface__ or __dlpack__"),
        (np.zeros(3), TypeError, r"symbols is not in the memory of a CUDA device \(DLPack device type 1\)"),
    ]:
        with pytest.raises(error, match=message):
            device_array("symbols", array)


class Exported:
    """numpy's DLPack, that says it is on a device."""

    def __init__(self, array: np.ndarray) -> None:
        self.array = array

    def __dlpack_device__(self) -> tuple[int, int]:
        return 2, 0

    def __dlpack__(self, stream: int | None = None) -> object:
        assert stream == -1
        return self.array.__dlpack__()


def test_arrays_are_taken_by_dlpack() -> None:
    array = np.arange(24, dtype=np.int16).reshape(4, 6)
    found = device_array("logits", Exported(array))
    assert (found.pointer, found.dtype, found.shape) == (array.ctypes.data, np.dtype("int16"), (4, 6))
    assert device_array("logits", Exported(array[1:])).pointer == array[1:].ctypes.data
    assert device_array("keep", Exported(np.ones((2, 3), bool))).dtype == np.bool_
    with pytest.raises(ValueError, match="logits is not contiguous"):
        device_array("logits", Exported(array[:, ::2]))
    with pytest.raises(TypeError, match="logits has DLPack type"):
        device_array("logits", Exported(np.zeros(3, np.complex64)))


def test_streams_of_all_libraries_are_taken() -> None:
    assert stream_handle(None) == 0
    assert stream_handle(7) == 7
    for attribute in ("cuda_stream", "ptr", "handle"):
        assert stream_handle(types.SimpleNamespace(**{attribute: 99})) == 99
    assert stream_handle(types.SimpleNamespace(__cuda_stream__=lambda: (0, 55))) == 55
    with pytest.raises(TypeError, match="cuda_stream is a float"):
        stream_handle(1.0)
