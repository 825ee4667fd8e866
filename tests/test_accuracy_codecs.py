"""The coders of `bench accuracy`: one interface, real files, key frames and latency as asked for."""

from __future__ import annotations

import dataclasses
import io
import json
import runpy
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image
from skimage import data

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("accuracy_bench.py"))))
clips = BENCH.module("bench.accuracy.clip")
codec = BENCH.module("bench.accuracy.codec")
codecs = BENCH.module("bench.accuracy.codecs")
peer = BENCH.module("bench.accuracy.peer")

QUALITY = {"neural": 20, "inner": 24, "x264-veryfast": 34, "x264-slow": 34, "x265-medium": 34, "svtav1-6": 40,
           "svtav1-8": 40, "jpeg": 30}


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("clips")
    path = BENCH.write_clip(folder / "test.mp4", BENCH.lavfi("testsrc2=size=128x96:rate=2", 10), rate=2)
    return clips.load(path)


def only(name: str, **variant: Any) -> Any:
    (made,) = codecs.make([name], [codec.Variant(**variant)], codec.Setup())
    return made


def packets(data: bytes) -> list[av.Packet]:
    with av.open(io.BytesIO(data), "r") as source:
        return [packet for packet in source.demux(video=0) if packet.size]


def psnr(a: Any, b: Any) -> float:
    error = np.mean((a.to_ndarray(format="rgb24").astype(float) - b.to_ndarray(format="rgb24").astype(float)) ** 2)
    return float(10 * np.log10(255**2 / error))


@pytest.mark.parametrize("name", codecs.USUAL)
def test_every_coder_gives_a_nut_file_and_its_pictures(name: str, clip: Any) -> None:
    made = only(name)
    before = [frame.to_ndarray() for frame in clip.frames]
    coded = made.code(clip, QUALITY[name])
    assert len(coded.frames) == 10 and {(frame.width, frame.height) for frame in coded.frames} == {(128, 96)}
    assert coded.data.startswith(b"nut/multimedia container")
    assert sum(packet.size for packet in packets(coded.data)) < len(coded.data)
    assert made.size(clip, QUALITY[name]) == len(coded.data)
    # In the right order: each is nearer to its own source than to the next one's.
    for number in (2, 5):
        assert psnr(coded.frames[number], clip.frames[number]) > psnr(coded.frames[number], clip.frames[number + 2])
    assert psnr(coded.frames[0], clip.frames[0]) > 17
    assert all(np.array_equal(old, frame.to_ndarray()) for old, frame in zip(before, clip.frames, strict=True))
    assert coded.encode_seconds > 0 and coded.decode_seconds > 0
    assert len(coded.sizes) == 10 and sum(coded.sizes) == pytest.approx(coded.size) and min(coded.sizes) > 0


def test_what_guidance_brings_is_measured_by_two_coders_that_differ_in_nothing_else(clip: Any) -> None:
    guided, plain = (only(name, latency="zero") for name in ("inner", "inner-plain"))
    settings = [coder._options["inner"] for coder in (guided, plain)]
    assert dataclasses.replace(settings[0], simplify="off") == settings[1] != settings[0]
    assert settings[0].kind.regions and guided.version != plain.version and guided.label != plain.label
    assert len(plain.code(clip, 30).frames) == 10
    assert not {"inner-h264", "inner-plain", "inner-av1"} & set(codecs.USUAL)


@pytest.mark.parametrize("name", ["x264-veryfast", "x264-slow", "x265-medium", "svtav1-8", "jpeg"])
def test_more_quality_is_more_bytes(name: str, clip: Any) -> None:
    made = only(name)
    sizes = [made.size(clip, quality) for quality in made.qualities[::len(made.qualities) // 4]]
    assert sizes == sorted(sizes) and sizes[0] < sizes[-1]


@pytest.mark.parametrize("name", ["neural", "inner", "x264-slow", "x265-medium"])
def test_the_bytes_of_a_clip_are_told_by_frame_in_the_order_of_show(name: str, clip: Any) -> None:
    sizes = only(name).code(clip, QUALITY[name]).sizes
    assert {0, 4, 8} == set(np.argsort(sizes)[-3:].tolist())  # key frames, two seconds apart


def test_what_a_clip_pays_once_is_shared_by_its_frames(clip: Any) -> None:
    coded = only("x264-slow", key="once").code(clip, 34)
    shown = sorted(packets(coded.data), key=lambda packet: packet.pts or 0)
    shared = (coded.size - sum(packet.size for packet in shown[1:])) / 10
    assert coded.sizes == pytest.approx([shared, *(packet.size + shared for packet in shown[1:])])


@pytest.mark.skipif(shutil.which("ffprobe") is None, reason="the ffprobe command is not installed")
@pytest.mark.parametrize("name", ["neural", "inner", "x264-slow", "x265-medium", "svtav1-8", "jpeg"])
def test_the_size_is_that_of_a_file_as_ffprobe_sees_it(name: str, clip: Any, tmp_path: Path) -> None:
    coded = only(name).code(clip, QUALITY[name])
    path = tmp_path / "coded.nut"
    path.write_bytes(coded.data)
    shown = json.loads(subprocess.run(
        ["ffprobe", "-v", "error", "-show_entries", "format=size,format_name:stream=width,height", "-show_packets",
         "-of", "json", str(path)], capture_output=True, check=True).stdout)
    assert int(shown["format"]["size"]) == len(coded.data) and shown["format"]["format_name"] == "nut"
    assert (shown["streams"][0]["width"], shown["streams"][0]["height"]) == (128, 96)
    assert len(shown["packets"]) >= 10


@pytest.mark.parametrize("name", ["neural", "inner", "x264-veryfast", "x265-medium", "svtav1-8"])
def test_key_frames_come_every_two_seconds_or_once(name: str, clip: Any) -> None:
    for key, expected in (("2s", [0, 4, 8]), ("once", [0])):
        data = only(name, key=key).code(clip, QUALITY[name]).data
        shown = sorted(packets(data), key=lambda packet: packet.pts or 0)  # they come in the order of coding
        assert [number for number, packet in enumerate(shown) if packet.is_keyframe] == expected


@pytest.mark.parametrize("name", ["x264-slow", "x265-medium", "svtav1-8"])
def test_zero_latency_holds_no_frame_back(name: str, clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    held: list[int] = []

    def watched(stream: Any, source: Any) -> Any:
        waiting = 0
        for number, frame in enumerate(source.frames):
            coded = stream.encode(codec.fresh(frame, number, source.rate))
            waiting += 1 - len(coded)
            held.append(waiting)
            yield from coded
        yield from stream.encode(None)

    monkeypatch.setattr(peer, "_packets", watched)
    only(name, latency="zero").code(clip, QUALITY[name])
    assert max(held) == 0
    held.clear()
    only(name, latency="full").code(clip, QUALITY[name])
    assert max(held) > 2


@pytest.mark.parametrize("name", ["x264-veryfast", "x264-slow", "x265-medium", "svtav1-8"])
def test_the_same_pictures_give_the_same_bytes_every_time(name: str, clip: Any) -> None:
    made, qualities = only(name), (20, 34)
    for quality in qualities:
        assert len({made._encode(clip, quality) for _ in range(4)}) == 1


def test_x264s_comment_about_itself_is_not_counted(clip: Any) -> None:
    data = only("x264-slow").code(clip, 34).data
    assert b"x264 - core" not in data and b"x265 (build" not in only("x265-medium").code(clip, 34).data


def test_a_smaller_variant_codes_fewer_pixels_and_comes_back_at_full_size(clip: Any) -> None:
    made = only("x265-medium", scale=0.5)
    coded = made.code(clip, 30)
    with av.open(io.BytesIO(coded.data)) as source:
        assert (source.streams.video[0].width, source.streams.video[0].height) == (64, 48)
    assert {(frame.width, frame.height) for frame in coded.frames} == {(128, 96)}
    assert len(coded.data) < only("x265-medium").size(clip, 30) and made.label == "x265-medium, key 2s, x0.5"


def test_ours_choose_their_resolution_themselves() -> None:
    variants = [codec.Variant(scale=scale) for scale in (1.0, 0.5)]
    labels = [made.label for made in codecs.make(["neural", "inner", "x264-slow"], variants, codec.Setup())]
    assert labels == ["neural, key 2s, zero latency", "inner, key 2s", "x264-slow, key 2s", "x264-slow, key 2s, x0.5"]


def test_a_coder_comes_once_in_every_variant_that_it_has() -> None:
    variants = [codec.Variant(key, latency) for key in ("2s", "once") for latency in ("full", "zero")]
    labels = [made.label for made in codecs.make(["neural", "jpeg", "x264-slow"], variants, codec.Setup())]
    assert labels == ["neural, key 2s, zero latency", "neural, key once, zero latency",
                      "jpeg, key every, zero latency", "x264-slow, key 2s", "x264-slow, key 2s, zero latency",
                      "x264-slow, key once", "x264-slow, key once, zero latency"]


def test_what_does_not_exist_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="codec 'vp9': expected some of neural, "):
        codecs.make(["vp9"], [codec.Variant()], codec.Setup())
    for given, message in (({"key": "5s"}, "key='5s'"), ({"latency": "no"}, "latency='no'"), ({"scale": 0}, "scale")):
        with pytest.raises(ValueError, match=message):
            codec.Variant(**given)


def test_frames_that_do_not_come_back_are_an_error(clip: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer, "_decoded", lambda data: [])
    with pytest.raises(RuntimeError, match="x264-slow, key 2s at 34: 0 frames of test@2 came back, expected 10"):
        only("x264-slow").code(clip, 34)


def test_a_clip_is_thinned_like_the_fps_filter_and_keeps_its_aspect(tmp_path: Path) -> None:
    path = BENCH.write_clip(tmp_path / "a.mp4", BENCH.lavfi("testsrc2=size=192x144:rate=25", 25), rate=25)
    whole, thin = clips.load(path, width=0), clips.load(path, rate=clips.rate_of("10"), width=96)
    assert (whole.name, len(whole.frames), whole.width) == ("a@25", 25, 192)
    assert (thin.name, len(thin.frames), thin.width, thin.height, thin.rate) == ("a@10", 10, 96, 72, 10)
    assert [frame.pts for frame in thin.frames] == list(range(10)) and thin.sha256 != whole.sha256
    assert clips.load(path, rate=clips.rate_of("50")).name == "a@25"  # there are no more
    assert len(clips.load(path, limit=3).frames) == 3


def test_ground_truth_is_thinned_and_scaled_with_its_clip(tmp_path: Path) -> None:
    path = BENCH.write_clip(tmp_path / "a.mp4", BENCH.lavfi("testsrc2=size=192x144:rate=10", 6))
    (tmp_path / "a.gt.txt").write_text("".join(f"{n},1,{10 * n + 1},1,40,20,1\n" for n in range(1, 7)))
    clip = clips.load(path, rate=clips.rate_of("5"), width=96, limit=2)
    assert [item.boxes.tolist() for item in clip.truth] == [[[5, 0, 25, 10]], [[15, 0, 35, 10]]]


def test_clips_that_cannot_be_had_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="nowhere: no such clip"):
        clips.find([tmp_path / "nowhere"])
    with pytest.raises(FileNotFoundError, match="no folder with any"):
        clips.find([tmp_path])
    for text in ("0", "-5", "fast", "1/0"):
        with pytest.raises(ValueError, match="expected full or a positive number"):
            clips.rate_of(text)
    (tmp_path / "x").mkdir()
    for place in ("a.mp4", "x/a.avi"):
        (tmp_path / place).touch()
    with pytest.raises(ValueError, match="clips of the same name: a"):
        clips.find([tmp_path, tmp_path / "x"])


@pytest.fixture(scope="module")
def stills(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("photos")
    for name, picture in (("a.png", data.chelsea()[:120, :160]), ("b.jpg", data.coffee()[:200, :101])):
        Image.fromarray(picture).save(folder / name)
    return clips.load_pictures(folder, width=100)


@pytest.mark.parametrize("name", ["neural", "inner", "x265-medium", "svtav1-8", "jpeg"])
def test_pictures_of_any_sizes_are_coded_into_a_file_each(name: str, stills: Any) -> None:
    assert [(frame.width, frame.height) for frame in stills.frames] == [(100, 76), (100, 198)]
    made = only(name)
    coded = made.code(stills, QUALITY[name])
    assert [(frame.width, frame.height) for frame in coded.frames] == [(100, 76), (100, 198)]
    assert coded.data.count(b"nut/multimedia container") == 2
    assert list(coded.sizes) == pytest.approx([made.size(stills.only(number), QUALITY[name]) for number in (0, 1)])
    assert made.size(stills, QUALITY[name]) == len(coded.data)
    assert all(psnr(*pair) > 17 for pair in zip(coded.frames, stills.frames, strict=True))


@pytest.mark.parametrize("name", ["neural", "inner", "x264-veryfast", "x265-medium", "svtav1-8", "jpeg"])
def test_without_the_container_what_a_decoder_needs_is_counted_and_nothing_else(name: str, stills: Any) -> None:
    (made,) = codecs.make([name], [codec.Variant()], codec.Setup(count="packets"))
    coded, whole = made.code(stills, QUALITY[name]), only(name)
    assert made.label == f"{whole.label}, packets alone"
    assert coded.size == made.size(stills, QUALITY[name])
    files = [b"nut/multimedia container" + part
             for part in coded.data.split(b"nut/multimedia container")[1:]]
    sent = sum(packet.size for data in files for packet in packets(data))
    # Parameter sets: those of x26x stand in the container's header only, everybody else's in the packets.
    sets = coded.size - sent
    assert (20 < sets < 400) if name[0] == "x" else sets == 0
    assert coded.size < whole.size(stills, QUALITY[name]) - 2 * 100  # two containers


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    for place in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(FileNotFoundError, match="no folder with any picture"):
            clips.load_pictures(place)
