"""Texture on the command line: encode, cut, decode, probe, and the filters."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray
from skimage import data

import duoview
from duoview import Profile
from duoview.pipelines.command import main
from duoview.plugins.errors import OptionError
from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.filters.dv_texture import Texture
from duoview.plugins.graph import Graph

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with texture, a clip, and the clip encoded with all of its texture."""
    folder = tmp_path_factory.mktemp("texture")
    FILES.write_profile(folder / "profile")
    with av.open(str(folder / "in.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "bgr0"
        photograph = data.astronaut()
        for number in range(4):
            picture = np.ascontiguousarray(photograph[60:140, 150 + number:246 + number])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert run(folder, "encode", "-i", "in.mkv", "-q", "20", "-g", "2", "-texture", "4", "-profile", "profile",
               "full.nut") == 0
    return folder


def run(folder: Path, command: str, *words: str) -> int:
    """A command whose file names lie in the folder."""
    return main([command, "-loglevel", "error", *(
        str(folder / word) if word.partition(".")[2] in ("nut", "mkv", "ts", "dv") or word in ("profile", "plain")
        else word
        for word in words)])


def decoded(folder: Path, stream: str, *words: str) -> list[NDArray[Any]]:
    """The pictures that decode gives, without loss."""
    assert run(folder, "decode", "-y", "-profile", "profile", "-i", stream, "-view", *words, "-c:v", "ffv1", "-pix_fmt",
               "bgr0", "out.mkv") == 0
    with av.open(str(folder / "out.mkv")) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_cutting_tells_how_far_it_is(folder: Path) -> None:
    words = ["-progress", str(folder / "told"), "-texture", "1", "-i", "full.nut", "told.nut"]
    assert run(folder, "cut", "-y", *words) == 0
    told = dict(line.split("=", 1) for line in (folder / "told").read_text().splitlines())
    size = sum(packet.size for packet in duoview.open(folder / "told.nut").demux())
    assert (told["frame"], told["total_size"], told["progress"]) == ("4", str(size), "end")
    assert told["out_time"].startswith("00:00:00.4")


def test_cutting_tells_its_progress_from_the_first_frame_on(folder: Path) -> None:
    with duoview.open(folder / "full.nut") as source, duoview.open(folder / "late.nut", "w") as target:
        target.add_stream(rate=10, width=96, height=80)
        for packet in source.demux():
            packet.pts += round(5000 / packet.time_base)
            packet.dts = None
            target.mux(packet)
    words = ["-progress", str(folder / "told"), "-texture", "1", "-i", "late.nut", "told.nut"]
    assert run(folder, "cut", "-y", *words) == 0
    told = dict(line.split("=", 1) for line in (folder / "told").read_text().splitlines())
    assert told["out_time"].startswith("00:00:00.4")


def test_a_cut_decodes_as_less_texture_and_is_smaller(folder: Path) -> None:
    sizes = [(folder / "full.nut").stat().st_size]
    for depth in ("3", "2,0=1"):
        assert run(folder, "cut", "-y", "-texture", depth, "-i", "full.nut", "less.nut") == 0
        sizes.append((folder / "less.nut").stat().st_size)
        whole = decoded(folder, "full.nut", "texture", "-texture", depth)
        assert np.array_equal(decoded(folder, "less.nut", "texture"), whole) and len(whole) == 4
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("name", ["nut", "ts"])
def test_a_stream_of_reordered_pictures_is_cut_too(folder: Path, name: str) -> None:
    assert run(folder, "encode", "-y", "-i", "in.mkv", "-machine", "inner", "-preset", "ultrafast", "-bf", "2", "-g",
               "9", "-texture", "4", "-profile", "profile", "inner.nut") == 0
    assert run(folder, "cut", "-y", "-texture", "1", "inner.nut", f"less.{name}") == 0
    with duoview.open(str(folder / "inner.nut")) as container:
        times = [packet.pts or 0 for packet in container.demux()]
    assert times != sorted(times)
    shown = decoded(folder, f"less.{name}", "texture")
    assert np.array_equal(shown, decoded(folder, "inner.nut", "texture", "-texture", "1"))


def test_options_may_stand_before_both_names(folder: Path) -> None:
    assert run(folder, "cut", "-y", "-texture", "1", "full.nut", "short.nut") == 0
    assert run(folder, "cut", "-y", "-texture", "1", "-i", "full.nut", "long.nut") == 0
    assert (folder / "short.nut").read_bytes() == (folder / "long.nut").read_bytes()


def test_layers_machine_leaves_what_an_encoder_without_texture_makes(folder: Path) -> None:
    assert run(folder, "cut", "-y", "-layers", "machine", "-i", "full.nut", "machine.nut") == 0
    assert run(folder, "encode", "-y", "-i", "in.mkv", "-q", "20", "-g", "2", "-profile", "profile", "plain.nut") == 0
    assert (folder / "machine.nut").read_bytes() == (folder / "plain.nut").read_bytes()


def test_texture_shows_and_samples_are_seeded(folder: Path) -> None:
    machine, mean = decoded(folder, "full.nut", "machine"), decoded(folder, "full.nut", "texture", "-texture", "1")
    assert not np.array_equal(machine, mean)
    first, again, other = (decoded(folder, "full.nut", "texture", "-texture", "1", "-texture_fill", "sample", "-seed",
                                   seed) for seed in ("3", "3", "4"))
    assert np.array_equal(first, again) and not np.array_equal(first, other) and not np.array_equal(first, mean)
    told = json.loads((folder / "out.mkv.json").read_text())
    assert told["view"] == "texture" and told["segments"]


def test_probe_shows_bytes_by_depth(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(folder, "probe", "-of", "json", "full.nut") == 0
    report = json.loads(capsys.readouterr().out)
    assert list(report["texture_bytes_by_depth"]) == ["1", "2", "3", "4"]
    assert sum(report["texture_bytes_by_depth"].values()) == report["bytes_by_layer"]["texture"]
    assert report["sequences"][0]["texture"] == {"groups": FILES.GROUPS, "depth": 4, "tile_log2": 6}
    assert run(folder, "probe", "full.nut") == 0
    assert "depth 4" in capsys.readouterr().out


def test_frames_and_rate_of_texture_are_options(folder: Path) -> None:
    sizes = {}
    for name, words in {"key": (), "all": ("-texture_frames", "all"), "rate": ("-texture_b:v", "2k")}.items():
        assert run(folder, "encode", "-y", "-i", "in.mkv", "-q", "20", "-g", "4", "-texture", "4", *words, "-profile",
                   "profile", "some.nut") == 0
        sizes[name] = (folder / "some.nut").stat().st_size
    assert sizes["rate"] < sizes["key"] < sizes["all"]


@pytest.mark.parametrize(("words", "told"), [
    (["encode", "-i", "a", "-texture", "9", "b"], "0 to 8"),
    (["encode", "-i", "a", "-texture", "x", "b"], "expected a depth"),
    (["encode", "-i", "a", "-texture_b", "10k", "b"], "-texture_b: belongs to texture"),
    (["encode", "-i", "a", "-texture_frames", "all", "b"], "-texture_frames: belongs to texture"),
    (["encode", "-i", "a", "-machine", "inner", "-texture", "2", "-texture_frames", "all", "b"],
     "belongs to the neural codec"),
    (["encode", "-i", "a", "-machine", "copy", "-texture", "2", "b"], "-texture 2: -machine copy decodes no picture"),
    (["decode", "-i", "a", "-texture", "2", "b"], "-texture: belongs to the texture view"),
    (["decode", "-i", "a", "-view", "texture", "-restore", "on", "b"], "-restore: belongs to inner streams"),
    (["decode", "-i", "a", "-texture_fill", "sample", "b"], "-texture_fill: belongs to the texture view"),
    (["cut", "-i", "a", "b"], "expected one of -texture DEPTH and -layers machine"),
    (["cut", "-layers", "machine", "-texture", "2", "-i", "a", "b"], "expected one of"),
    (["cut", "-layers", "texture", "-i", "a", "b"], "expected one of machine"),
    (["cut", "-texture", "1", "a"], "expected one input"),
])
def test_what_cannot_be_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_without_texture_in_the_profile_nothing_is_written(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    FILES.without_texture(folder / "plain")
    assert run(folder, "encode", "-i", "in.mkv", "-texture", "2", "-profile", "plain", "none.nut") == 1
    assert "has no texture layer; train one with" in capsys.readouterr().err
    assert not (folder / "none.nut").exists()


def test_a_damaged_unit_is_cut_as_it_is_and_told(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "cut", "-y", "-texture", "4", "-i", "full.nut", "full.dv") == 0
    raw = bytearray((folder / "full.dv").read_bytes())
    raw[40] ^= 255  # inside of the first unit's header
    (folder / "broken.dv").write_bytes(raw)
    capsys.readouterr()
    assert main(["cut", "-y", "-texture", "1", "-i", str(folder / "broken.dv"), str(folder / "after.dv")]) == 0
    assert "damaged" in capsys.readouterr().err


def test_filters_code_and_show_texture(folder: Path) -> None:
    profile = str(folder / "profile")
    graph = Graph((Encode(q=20, profile=profile, texture="2", threads=1), Texture(profile=profile, threads=1)))
    with av.open(str(folder / "in.mkv")) as source:
        shown = list(graph.process(source.decode(video=0)))
    assert len(shown) == 4
    for wrong in ({"texture": "12"}, {"texture_b": 5}, {"texture": "2", "machine": "inner", "texture_frames": "all"}):
        with pytest.raises((duoview.LimitError, OptionError)):
            Encode(**wrong)
    with pytest.raises((duoview.LimitError, OptionError)):
        Texture(texture="deep")


def test_the_profile_of_the_folder_has_texture(folder: Path) -> None:
    assert Profile(folder / "profile").has_texture
