"""Frames of PyAV whose pixels lie on a device: of NVDEC to NV12 pictures there, and pictures to frames for NVENC."""

from __future__ import annotations

from collections import deque
from typing import Any, cast

import av
import numpy as np
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.video.frame import CudaContext

from duoview.backends import nvidia
from duoview.device.networks import DeviceNetworks
from duoview.device.picture import DevicePicture
from duoview.errors import BackendUnavailableError
from duoview.kernels.cuda_array import Exported, exported
from duoview.sequence import Colour

#: PyAV's name of the format of frames that lie on a device.
_HELD = "cuda"
#: FFmpeg's number of limited range.
_LIMITED = 1
#: A codec that every GPU decodes, by which it is seen whether there is a context.
_TRIED = "h264"
_HOST_INSTEAD = ("expected another stream, or av.open without a hardware context, and duoview.Encoder; on the command "
                 "line no -hwaccel")


def open_hardware(source: Any, *, index: int = 0, **options: Any) -> InputContainer:
    """A container whose video is decoded by NVDEC to frames that stay on GPU ``index``, in its primary context.

    source, options: of ``av.open``. There is no falling back to the CPU.

    Raises BackendUnavailableError naming what is missing: CUDA in PyAV, driver, GPU, or a decoder of NVDEC for the
    first video stream; what ``av.open`` raises for a source that cannot be opened.
    """
    if _HELD not in hwdevices_available():
        raise BackendUnavailableError(f"NVDEC: PyAV {av.__version__} was built without CUDA; its hardware devices are "
                                      f"{', '.join(hwdevices_available()) or 'none'}")
    found = nvidia.driver(index=index)
    if found.problem:
        raise BackendUnavailableError(f"NVDEC: NVIDIA driver: {found.problem}; {_HOST_INSTEAD}")
    accelerator = HWAccel(_HELD, device=str(index), allow_software_fallback=False, is_hw_owned=True)
    try:
        accelerator.create(av.Codec(_TRIED, "r"))
    except (av.error.FFmpegError, NotImplementedError) as error:
        raise BackendUnavailableError(f"NVDEC: PyAV gets no CUDA context on GPU {index} ({error}); "
                                      f"{_HOST_INSTEAD}") from error
    try:
        container = av.open(source, hwaccel=accelerator, **options)
    except RuntimeError as error:  # no stream fits
        raise BackendUnavailableError(f"NVDEC: {' '.join(str(error).split())}; {_HOST_INSTEAD}") from error
    video = container.streams.video
    context: Any = video[0].codec_context if video else None  # None of a codec that libav does not know
    if context is None or not context.is_hwaccel:
        kind = "no video stream"
        if video:
            kind = f"no hardware decoder of {context.name}" if context is not None else (
                "the video is of no codec that is known here; a duoview stream is read by duoview.Decoder")
        container.close()
        raise BackendUnavailableError(f"NVDEC: {kind}; {_HOST_INSTEAD}")
    return container


def is_held(pixel_format: str, networks: DeviceNetworks) -> bool:
    """True for frames of ``open_hardware``; of networks on the CPU, which have none, for those of NV12."""
    return pixel_format == (_HELD if networks.device == "cuda" else "nv12")


class _Lent:
    """Owner of a frame's memory, which another frame gets when this one is gone."""

    def __init__(self, memory: Any, free: deque[Any]) -> None:
        self.memory, self._free = memory, free

    def __del__(self) -> None:
        self._free.append(self.memory)


class _FrameMemory:
    """Memory for frames of one size.

    NVENC registers none that is taken in the order of a stream: so it was found for GStreamer's nvcodec (merge request
    7427), and told in NVIDIA's forum.
    """

    def __init__(self, networks: DeviceNetworks, width: int, height: int) -> None:
        self._networks, self._shape = networks, (3 * height // 2, width)
        self._free: deque[Any] = deque()  # filled by whoever lets a frame go, in any thread

    def lend(self) -> _Lent:
        """Some that no frame has."""
        memory = self._free.popleft() if self._free else self._networks.empty(self._shape, np.uint8, ordered=False)
        return _Lent(memory, self._free)


class HardwareFrames:
    """NV12 pictures of frames whose planes lie in the memory of a device, and frames of such pictures.

    Rows of frames may be longer in memory than the picture is wide.
    """

    def __init__(self, networks: DeviceNetworks) -> None:
        self._networks = networks
        self._picture: tuple[tuple[int, int], Any] = ((0, 0), None)
        self._context: CudaContext | None = None
        self._lent: tuple[tuple[int, int], _FrameMemory] | None = None

    def picture(self, frame: av.VideoFrame) -> Any:
        """(3 H / 2, W) uint8 NV12 of a frame, queued on the networks' stream, in memory that the next frame gets too.

        Raises ValueError for a frame that is elsewhere, of another format, or with an odd side.
        """
        networks = self._networks
        size, planes = (frame.width, frame.height), self._planes(frame)
        if self._picture[0] != size:
            self._picture = size, networks.empty((3 * frame.height // 2, frame.width), np.uint8)
        target = networks.driver.array("picture", self._picture[1]).pointer
        networks.driver.wait(0)  # the decoder works on the default stream, for which those of forks do not wait
        networks.wait()  # the frame before goes back to the decoder, which has few; torch's networks never wait
        for plane, rows in zip(planes, (frame.height, frame.height // 2), strict=True):
            pitch = plane.strides[0] if plane.strides is not None else frame.width
            networks.driver.copy_rows(plane.pointer, pitch, target, frame.width, rows, networks.stream)
            target += rows * frame.width
        networks.keep((frame, planes))
        return self._picture[1]

    def frame(self, shown: DevicePicture, colour: Colour | None = None) -> av.VideoFrame:
        """A frame of a picture of ``DeviceDecoder(..., pixel_format="nv12")``, with its times, in memory of its own.

        That memory is another frame's when this one is gone.

        On a GPU it is of format ``cuda``, complete, and in the primary context: encoders of NVENC take it whose stream
        has ``pix_fmt="cuda"``. colour: of the stream's source, for the frame to say; its range is limited anyway.

        Raises ValueError for a picture that is not NV12, or has an odd side; BackendUnavailableError or DeviceError
        where the device has no memory left.
        """
        networks, width, height = self._networks, shown.width, shown.height
        source = networks.driver.array("picture", shown.array)
        if source.dtype != np.uint8 or len(source.shape) != 2:
            raise ValueError(f"picture is {source.dtype} {source.shape}; expected NV12, of a DeviceDecoder with "
                             "pixel_format='nv12'")
        if width % 2 or height % 2:
            raise ValueError(f"picture is {width}x{height}; even sides are needed for NV12")
        rows, pitch = source.shape[0] // 3 * 2, source.shape[1]
        if self._lent is None or self._lent[0] != (width, height):
            self._lent = (width, height), _FrameMemory(networks, width, height)
        lent = self._lent[1].lend()
        target = networks.driver.array("frame", lent.memory).pointer
        for begin, offset, count in ((0, 0, height), (rows * pitch, height * width, height // 2)):
            networks.driver.copy_rows(source.pointer + begin, pitch, target + offset, width, count, networks.stream)
        networks.wait()
        at = networks.driver.at
        planes = cast(Any, (at(target, (height, width), np.uint8, lent),
                            at(target + height * width, (height // 2, width // 2, 2), np.uint8, lent)))
        if networks.device == "cuda" and self._context is None:
            self._context = CudaContext(device_id=networks.index, primary_ctx=True)
        found = av.VideoFrame.from_dlpack(planes, format="nv12", cuda_context=self._context)
        if shown.time_base is not None:
            found.pts, found.time_base = shown.pts, shown.time_base
        found.color_range = _LIMITED
        if colour is not None:
            found.colorspace, found.color_primaries = colour.matrix, colour.primaries
            found.color_trc = colour.transfer
        return found

    def _planes(self, frame: av.VideoFrame) -> tuple[Exported, Exported]:
        held, on_device = frame.format.name == _HELD, self._networks.device == "cuda"
        if held != on_device:
            where = "the memory of a GPU" if held else "the memory of the host"
            wanted = "of duoview.device.open_hardware" if on_device else "of the CPU, as these networks are"
            raise ValueError(f"frame is of format {frame.format.name}, in {where}; expected one {wanted}")
        kind = frame.sw_format if held else frame.format
        if kind is None or kind.name != "nv12":
            raise ValueError(f"frame is {kind.name if kind is not None else 'of an unknown format'}; expected nv12, 8 "
                             "bits a sample")
        if frame.width % 2 or frame.height % 2:
            raise ValueError(f"frame is {frame.width}x{frame.height}; even sides are needed for NV12")
        luma, chroma = (exported(name, cast(Any, plane), stream=None)
                        for name, plane in zip(("luma", "chroma"), frame.planes, strict=True))
        index = luma.device[1]
        if luma.on_cuda and index != self._networks.index:
            raise ValueError(f"frame is on GPU {index}; the networks are on {self._networks.index}")
        return luma, chroma
