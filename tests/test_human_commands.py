"""Starts, captions and seeds on the command line and as filters."""

from __future__ import annotations

import json
import re
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
from duoview.access_unit import AccessUnit, SectionType, parse
from duoview.backends import CpuBackend, DescribedNetwork
from duoview.backends.engine_shapes import BUILDABLE, drawn
from duoview.captions import Caption
from duoview.captions.section import read_caption
from duoview.errors import LimitError
from duoview.pipelines.command import main
from duoview.plugins.errors import OptionError
from duoview.plugins.filters.dv_encode import Encode
from duoview.plugins.filters.dv_human import Human

HERE = Path(__file__)
FILES = SimpleNamespace(**runpy.run_path(str(HERE.with_name("human_profile.py"))))
TEXTURE = SimpleNamespace(**runpy.run_path(str(HERE.with_name("texture_profile.py"))))
DETECTOR = SimpleNamespace(**runpy.run_path(str(HERE.with_name("detector_files.py"))))
WORDS = "1 person left moving right"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A profile with all starts, a clip, and the clip encoded with texture, a caption and a seed."""
    folder = tmp_path_factory.mktemp("commands")
    TEXTURE.write_profile(folder / "profile")
    FILES.add_human(folder / "profile", levels=(1.0, 0.9, 0.7, 0.5, 0.3))
    with av.open(str(folder / "in.mkv"), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.width, stream.height, stream.pix_fmt = 96, 80, "bgr0"
        photograph = data.astronaut()
        for number in range(4):
            picture = np.ascontiguousarray(photograph[60:140, 150 + number:246 + number])
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    assert run(folder, "encode", "-i", "in.mkv", "-q", "20", "-g", "2", "-texture", "4", "-caption", WORDS, "-seeds",
               "3", "-profile", "profile", "full.nut") == 0
    return folder


def run(folder: Path, command: str, *words: str) -> int:
    """A command whose file names lie in the folder."""
    return main([command, "-loglevel", "error", *(
        str(folder / word) if re.fullmatch(r"[a-z]+\.(nut|mkv|onnx)|profile", word) else word for word in words)])


def units(path: Path) -> list[AccessUnit]:
    with duoview.open(str(path)) as source:
        return [parse(bytes(packet)) for packet in source.demux()]


def decoded(folder: Path, stream: str, *words: str) -> tuple[NDArray[Any], dict[str, Any]]:
    """The last picture of the human view, and its provenance."""
    assert run(folder, "decode", "-y", "-profile", "profile", "-i", stream, "-view", "human", "-steps", "2", *words,
               "-c:v", "ffv1", "-pix_fmt", "bgr0", "out.mkv") == 0
    document = json.loads((folder / "out.mkv.json").read_text())
    with av.open(str(folder / "out.mkv")) as container:
        *_, last = container.decode(video=0)
    return last.to_ndarray(format="rgb24"), document["segments"][0]["provenance"]


def test_captions_and_seeds_are_in_key_units_and_captions_not_in_others(folder: Path) -> None:
    found = units(folder / "full.nut")
    captions = [unit.payload(SectionType.CAPTION) for unit in found]
    assert [one is not None for one in captions] == [True, False, True, False]
    assert captions[0] is not None and str(read_caption(captions[0])) == WORDS and len(captions[0]) <= 12
    assert [unit.payload(SectionType.SEED) is not None for unit in found] == [True, False, True, False]


@pytest.mark.parametrize(("words", "start", "layers", "caption"), [
    ((), "guided", ["machine"], ""),
    (("-start", "slim"), "slim", ["machine", "caption"], WORDS),
    (("-start", "slim", "-caption", "none"), "slim", ["machine"], ""),
    (("-start", "slim", "-caption", "2 dogs top"), "slim", ["machine"], "2 dog top"),
    (("-start", "texture"), "texture", ["machine", "texture", "caption"], WORDS),
    (("-start", "texture", "-texture", "0"), "texture", ["machine", "caption"], WORDS),
])
def test_a_view_tells_its_start_layers_and_caption(folder: Path, words: tuple[str, ...], start: str, layers: list[str],
                                                   caption: str) -> None:
    _, told = decoded(folder, "full.nut", *words)
    assert (told["start"], told["coded_layers"], told["caption"]) == (start, layers, caption)


def test_noise_seed_and_tile_make_other_pictures_and_are_repeatable(folder: Path) -> None:
    ways = [("-start", "slim"), ("-start", "slim", "-noise", "0.9"), ("-start", "slim", "-seed", "7")]
    pictures = [decoded(folder, "full.nut", *words)[0] for words in ways]
    assert np.array_equal(pictures[0], decoded(folder, "full.nut", *ways[0])[0])
    assert not np.array_equal(pictures[0], pictures[1]) and not np.array_equal(pictures[0], pictures[2])
    assert decoded(folder, "full.nut", "-tile", "16")[1]["tile"] == 16


def test_the_seed_that_was_sent_is_taken_unless_another_is_asked_for(folder: Path) -> None:
    sent = units(folder / "full.nut")[0].payload(SectionType.SEED)
    assert sent is not None
    assert decoded(folder, "full.nut")[1]["seed"] == sent[0]
    assert decoded(folder, "full.nut", "-seed", "0")[1]["seed"] == 0


def test_a_detector_makes_the_captions_that_were_not_sent(folder: Path) -> None:
    DETECTOR.cell_detector(folder / "cells.onnx")
    assert run(folder, "encode", "-y", "-i", "in.mkv", "-q", "20", "-profile", "profile", "plain.nut") == 0
    _, told = decoded(folder, "plain.nut", "-start", "slim", "-detector", "cells.onnx")
    assert told["coded_layers"] == ["machine"] and told["caption"]
    assert Caption.parse(told["caption"])


def test_detections_of_the_filters_make_the_captions_that_are_sent(folder: Path) -> None:
    DETECTOR.cell_detector(folder / "cells.onnx")
    words = ("-vf", f"dv_detect={folder / 'cells.onnx'}", "-caption", "auto", "-profile", "profile")
    assert run(folder, "encode", "-y", "-i", "in.mkv", "-q", "20", *words, "auto.nut") == 0
    sent = units(folder / "auto.nut")[0].payload(SectionType.CAPTION)
    assert sent is not None and len(read_caption(sent).phrases) > 0


def test_captions_of_detections_need_a_detector(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(folder, "encode", "-y", "-i", "in.mkv", "-caption", "auto", "-profile", "profile", "none.nut") == 1
    assert "expected dv_detect in front of the encoder" in capsys.readouterr().err


def test_inner_streams_carry_captions_too(folder: Path) -> None:
    words = ("-machine", "inner", "-simplify", "off", "-caption", WORDS, "-profile", "profile")
    assert run(folder, "encode", "-y", "-i", "in.mkv", *words, "inner.nut") == 0
    found = [unit.payload(SectionType.CAPTION) for unit in units(folder / "inner.nut")]
    assert found[0] is not None and found.count(None) == len(found) - 1
    _, told = decoded(folder, "inner.nut", "-start", "slim")
    assert (told["coded_layers"], told["caption"]) == (["machine", "caption"], WORDS)


def test_a_cut_to_the_machine_layer_leaves_hints_out_and_one_of_texture_keeps_them(folder: Path) -> None:
    assert run(folder, "encode", "-y", "-i", "in.mkv", "-q", "20", "-g", "2", "-profile", "profile", "plain.nut") == 0
    assert run(folder, "cut", "-y", "-layers", "machine", "-i", "full.nut", "bare.nut") == 0
    assert (folder / "bare.nut").read_bytes() == (folder / "plain.nut").read_bytes()
    assert run(folder, "cut", "-y", "-texture", "0", "-i", "full.nut", "less.nut") == 0
    assert decoded(folder, "less.nut", "-start", "slim")[1]["caption"] == WORDS


def test_probe_counts_the_bytes_of_captions_and_seeds(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert run(folder, "probe", "-of", "json", "full.nut") == 0
    layers = json.loads(capsys.readouterr().out)["bytes_by_layer"]
    assert layers["seed"] == 2 and 0 < layers["caption"] <= 24


@pytest.mark.parametrize(("words", "told"), [
    (["encode", "-i", "a", "-caption", "2 dgo left", "b"], "did you mean 'dog'"),
    (["encode", "-i", "a", "-seeds", "300", "b"], "a whole number, 0 to 256"),
    (["encode", "-i", "a", "-machine", "inner", "-seeds", "3", "b"], "-seeds 3: belongs to the neural codec"),
    (["encode", "-i", "a", "-machine", "copy", "-caption", "1 car left", "b"], "packets are copied as they are"),
    (["decode", "-i", "a", "-view", "human", "-start", "slimmer", "b"], "guided, slim, texture"),
    (["decode", "-i", "a", "-view", "human", "-noise", "0.5", "b"], "-noise: belongs to start slim"),
    (["decode", "-i", "a", "-view", "human", "-caption", "none", "b"], "-caption: belongs to start slim or texture"),
    (["decode", "-i", "a", "-view", "human", "-start", "slim", "-texture", "2", "b"], "-texture: belongs to"),
    (["decode", "-i", "a", "-view", "human", "-start", "slim", "-noise", "0", "b"], "a share above 0 to 1"),
    (["decode", "-i", "a", "-view", "human", "-tile", "4", "b"], "16 to 2048, or 0"),
    (["decode", "-i", "a", "-tile", "16", "b"], "-tile: belongs to the human view"),
    (["decode", "-i", "a", "-view", "human", "-start", "texture", "-restore", "on", "b"], "as they were coded"),
])
def test_what_cannot_be_is_told(words: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert told in capsys.readouterr().err


def test_a_profile_of_the_first_generation_says_what_it_cannot_do(folder: Path, tmp_path: Path,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    old = str(FILES.first_generation(tmp_path / "profile").folder)
    assert run(folder, "encode", "-y", "-i", "in.mkv", "-q", "20", "-profile", old, "bundled.nut") == 0
    capsys.readouterr()
    assert run(folder, "decode", "-profile", old, "-i", "bundled.nut", "-view", "human", "-start", "slim",
               "none.mkv") == 1
    assert "its denoiser is of the first generation" in capsys.readouterr().err
    assert not (folder / "none.mkv").exists()


@pytest.mark.parametrize("options", [{"noise": 0.5}, {"caption": "none"}, {"texture": "2"}, {"detector": "x.onnx"},
                                     {"start": "texture", "noise": 0.5}, {"tile": 5000}, {"caption": "nobody"},
                                     {"start": "texture", "restore": "on"}])
def test_options_of_the_filter_that_do_not_go_together_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises((OptionError, LimitError)):
        Human(**options)


def test_options_of_the_encoding_filter_are_checked_before_the_first_frame() -> None:
    for wrong in ({"caption": "nobody"}, {"seeds": 3, "machine": "inner"}, {"seeds": 300}):
        with pytest.raises((OptionError, LimitError)):
            Encode(**wrong)


def test_doctor_can_run_every_network_of_the_profile(folder: Path) -> None:
    profile = Profile(folder / "profile")
    assert "denoiser" in BUILDABLE and "caption" not in BUILDABLE
    for name in ("denoiser", "caption"):
        network = CpuBackend(1).load(profile.path(name))
        assert isinstance(network, DescribedNetwork)
        (inputs,) = drawn(name, network.signature, 2, 10, exact=False).inputs()
        assert all(np.isfinite(output).all() for output in network(**inputs))
        if name == "denoiser":
            # 80 latent columns are two windows of 44, as the view runs them.
            assert inputs["state"].shape == (1, 48, 16, 44) and inputs["caption"].shape == (1, 4, 4, 11)
