"""``-machine auto``: what was measured with a profile decides, before it options of one codec, and it is told."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from duoview import Profile
from duoview.errors import ProfileError
from duoview.machine_choice import FILE, OperatingPoint, choose
from duoview.pipelines.command import main

STILLS = {"pictures": "stills", "latency": ["zero", "full"], "q": [0, 20], "measured": "8 % fewer bytes"}


def with_table(folder: Path, *rows: dict[str, Any], of: str = "") -> Path:
    """A copy of the bundled profile with a table."""
    if not folder.exists():
        shutil.copytree(Profile("s").folder, folder)
    (folder / FILE).write_text(json.dumps({"profile": of or Profile(folder).sha256.hex(), "neural": rows}))
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
    # The bundled profile has no texture layer, which is told of neural and not of inner.
    assert main(["encode", "-i", str(source), "-machine", "auto", "-texture", "2", str(tmp_path / "out.nut")]) != 0
    told = capsys.readouterr().err
    assert "machine codec neural, chosen by auto: -texture belongs to it" in told and "texture layer" in told
