"""``-machine auto``: what was measured with a profile decides, before it options of one codec, and it is told."""

from __future__ import annotations

import json
import runpy
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import numpy as np
import pytest

import duoview
from duoview import Profile
from duoview.access_unit import parse
from duoview.errors import LimitError, ProfileError
from duoview.machine_choice import FILE, OperatingPoint, choose, read_table, weights_digest
from duoview.pipelines.command import main
from duoview.pipelines.run.live_encode import LiveEncode
from duoview.plugins.filters.dv_encode import Encode
from duoview.profile import bundled_profiles
from duoview.sequence import MachineCodec

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))
STILLS = {"pictures": "stills", "latency": ["zero", "full"], "q": [0, 20], "measured": "8 % fewer bytes"}


def with_table(folder: Path, *rows: dict[str, Any], of: str = "") -> Path:
    """A copy of the bundled profile with a table."""
    if not folder.exists():
        shutil.copytree(Profile("s").folder, folder)
    (folder / FILE).write_text(json.dumps({"profile": of or weights_digest(Profile(folder)), "neural": rows}))
    return folder


def video(path: Path, frames: int = 3) -> Path:
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=5, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for n in range(frames):
            picture = np.full((64, 96, 3), 60 + 40 * n, np.uint8)
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sink.mux(stream.encode(None))
    return path


def test_neural_is_taken_where_it_was_measured_to_be_ahead_and_nowhere_else(tmp_path: Path) -> None:
    profile = Profile(with_table(tmp_path / "p", STILLS, {**STILLS, "pictures": "video", "latency": ["zero"]}))
    ahead = choose(profile, OperatingPoint(20, "full", stills=True))
    assert ahead.machine == "neural" and ahead.reason == "ahead for stills at q 20 with full latency: 8 % fewer bytes"
    assert choose(profile, OperatingPoint(0, "zero", stills=False)).machine == "neural"
    for point in (OperatingPoint(21, "full", stills=True), OperatingPoint(20, "full", stills=False)):
        behind = choose(profile, point)
        assert behind.machine == "inner" and behind.reason.endswith(f"was not measured to be ahead for {point}")


def test_a_table_of_other_weights_is_not_believed(tmp_path: Path) -> None:
    profile = Profile(with_table(tmp_path / "p", STILLS, of="00"))
    found = choose(profile, OperatingPoint(4, "zero", stills=True))
    assert (found.machine, found.reason) == ("inner", f"{FILE} of profile s is about other weights")


def test_the_table_of_every_bundled_profile_is_about_the_weights_that_it_has() -> None:
    for name in bundled_profiles():
        profile = Profile(name)
        table = read_table(profile)
        assert table is None or table.profile == weights_digest(profile), f"{profile.folder / FILE}: measure again"


@pytest.mark.parametrize(("change", "machine"), [
    ({"human_decoder": {"channels": [8, 8, 8], "blocks": [1, 1, 1]}}, "neural"), ({"human": {"steps": 9}}, "neural"),
    ({"networks": "denoiser"}, "neural"), ({"networks": "human_decoder"}, "neural"),
    ({"networks": "caption"}, "neural"), ({"networks": "decoder"}, "inner"), ({"networks": "key_analysis"}, "inner"),
    ({"texture": {"depth": 2}}, "neural"), ({"networks": "texture_prior"}, "neural"),
    ({"golden": "texture_prior"}, "neural"),
    ({"golden": "key_hyper"}, "inner"), ({"shape": {"latent": 9}}, "inner"), ({"coder_tables": "00"}, "inner")])
def test_a_table_is_about_all_weights_but_those_of_texture_and_human_views(tmp_path: Path, change: dict[str, Any],
                                                                       machine: str) -> None:
    profile, point = Profile(with_table(tmp_path / "p", STILLS)), OperatingPoint(4, "zero", stills=True)
    assert choose(profile, point).machine == "neural"
    for entry, value in change.items():
        if entry in ("networks", "golden"):
            profile.manifest[entry][value] = {"file": "another.onnx", "sha256": "00"}
        else:
            profile.manifest[entry] = value
    assert choose(profile, point).machine == machine


def test_without_a_table_it_is_inner(tmp_path: Path) -> None:
    folder = with_table(tmp_path / "p")
    (folder / FILE).unlink()
    found = choose(Profile(folder), OperatingPoint(4, "zero", stills=True))
    assert found.machine == "inner" and "nothing says that neural of profile s is ahead" in found.reason


def test_a_table_is_no_part_of_the_profiles_hash(tmp_path: Path) -> None:
    assert Profile(with_table(tmp_path / "p", STILLS)).sha256 == Profile("s").sha256


@pytest.mark.parametrize(("changed", "message"), [
    ({"pictures": "films"}, "pictures 'films': expected one of stills, video"),
    ({"latency": ["low"]}, "latency 'low': expected some of full, zero"),
    ({"q": [20, 64]}, "q 20 to 64: expected two within 0 to 63"),
    ({"q": [3]}, "IndexError"),
    ({"measured": None, "q": "all"}, "ValueError"),
])
def test_a_table_that_cannot_be_read_is_named(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    folder = with_table(tmp_path / "p", {**STILLS, **changed})
    with pytest.raises(ProfileError, match=message):
        choose(Profile(folder), OperatingPoint(4, "zero", stills=True))


def test_what_was_chosen_is_in_the_log_and_in_probe(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, folder = video(tmp_path / "in.mp4"), with_table(tmp_path / "p", STILLS)

    def encoded(*words: str) -> tuple[str, str, str]:
        out = tmp_path / "out.nut"
        assert main(["encode", "-y", "-i", str(source), "-machine", "auto", "-profile", str(folder), *words,
                     str(out)]) == 0
        log = capsys.readouterr().err
        assert main(["probe", "-of", "json", str(out)]) == 0
        in_json = json.loads(capsys.readouterr().out)["sequences"][0]["machine_codec"]
        assert main(["probe", str(out)]) == 0
        return log, in_json, capsys.readouterr().out

    for words, machine, reason in (
        (["-q", "10", "-g", "1"], "neural", "ahead for stills at q 10 with full latency: 8 % fewer bytes"),
        (["-q", "10", "-frames", "1", "-latency", "zero"], "neural", "ahead for stills at q 10 with zero latency"),
        (["-q", "30", "-g", "1"], "inner", "not measured to be ahead for stills at q 30 with full latency"),
        (["-q", "10"], "inner", "not measured to be ahead for video at q 10 with full latency"),
        (["-q", "10", "-g", "1", "-preset", "ultrafast"], "inner", "-preset belongs to it"),
    ):
        log, in_json, told = encoded(*words)
        assert f"machine codec {machine}, chosen by auto: " in log and reason in log, words
        assert in_json == machine and f"machine codec {machine}" in told


def test_texture_takes_neural(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = video(tmp_path / "in.mp4")
    # That a profile has no texture layer is told of neural and not of inner.
    plain = FILES.without_texture(tmp_path / "plain").folder
    assert main(["encode", "-i", str(source), "-machine", "auto", "-texture", "2", "-profile", str(plain),
                 str(tmp_path / "out.nut")]) != 0
    told = capsys.readouterr().err
    assert "machine codec neural, chosen by auto: -texture is coded beside it" in told and "texture layer" in told


@pytest.mark.parametrize(("options", "machine", "reason"), [
    ({"gop": 1}, "neural", "ahead for stills at q 10 with full latency: 8 % fewer bytes"),
    ({"gop": 1, "latency": "zero"}, "neural", "ahead for stills at q 10 with zero latency: 8 % fewer bytes"),
    ({"gop": 1, "q": 30}, "inner", "not measured to be ahead for stills at q 30 with full latency"),
    ({}, "inner", "not measured to be ahead for video at q 10 with full latency"),
    ({"gop": 1, "preset": "ultrafast"}, "inner", "preset belongs to it"),
    ({"gop": 1, "bf": 0}, "inner", "bf belongs to it"),
    ({"gop": 1, "roi": "0:0:8:8"}, "neural", "ahead for stills at q 10 with full latency: 8 % fewer bytes"),
])
def test_a_stage_chooses_by_the_same_rule(tmp_path: Path, options: dict[str, Any], machine: str, reason: str) -> None:
    folder = str(with_table(tmp_path / "p", STILLS))
    stage = Encode(**{"machine": "auto", "q": 10, "profile": folder, **options})
    assert stage.machine == machine
    assert stage.chosen is not None and stage.chosen.machine == machine and stage.chosen.reason.endswith(reason)


def test_what_a_stage_chose_is_what_it_codes(tmp_path: Path) -> None:
    source, folder = video(tmp_path / "in.mp4"), with_table(tmp_path / "p", STILLS)
    for q, machine in ((10, MachineCodec.NEURAL), (30, MachineCodec.INNER)):
        with av.open(str(source)) as container:
            graph = duoview.Graph.parse(f"dv_encode=machine=auto:q={q}:g=1:profile={folder}")
            packets = list(graph.process(container.decode(video=0)))
        sequence = parse(bytes(packets[0])).sequence
        assert sequence is not None and sequence.machine_codec is machine


def test_a_stage_that_was_told_its_codec_chose_nothing() -> None:
    assert Encode().chosen is None and Encode().machine == "neural"


def test_in_pipelines_that_run_the_choice_is_for_zero_latency(tmp_path: Path) -> None:
    folder = str(with_table(tmp_path / "p", {**STILLS, "latency": ["zero"]}))
    options = {"machine": "auto", "q": 10, "gop": 1, "profile": folder}
    assert (LiveEncode(**options).machine, Encode(**options).machine) == ("neural", "inner")
    assert LiveEncode(**options, latency="full").machine == "inner"


def test_options_of_two_codecs_are_an_error_with_auto_too() -> None:
    with pytest.raises(LimitError, match="preset=slow belongs to machine=inner, not neural"):
        Encode(machine="auto", texture="2", preset="slow")


def test_a_profile_that_is_not_there_is_an_error_of_the_graph() -> None:
    with pytest.raises(ProfileError, match="'nowhere': no such bundled profile"):
        duoview.Graph.parse("dv_encode=machine=auto:profile=nowhere")


def test_run_tells_what_was_chosen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, folder = video(tmp_path / "in.mp4"), with_table(tmp_path / "p", STILLS)

    def told(out: str, *words: str) -> str:
        assert main(["run", "-i", str(source), *words, str(tmp_path / out)]) == 0
        return capsys.readouterr().err

    assert ("dv_encode: machine codec neural, chosen by auto: ahead for stills at q 10 with zero latency"
            in told("a.nut", "-machine", "auto", "-q", "10", "-g", "1", "-profile", str(folder)))
    assert ("dv_encode@seen: machine codec inner, chosen by auto: scale belongs to it"
            in told("b.nut", "-filter_complex", "dv_encode@seen=machine=auto:scale=0.5"))
