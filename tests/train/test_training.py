"""``duoview train`` makes a profile that encodes and decodes, from nothing but a folder of pictures and clips."""

from __future__ import annotations

import json
import runpy
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

import duoview
from duoview.models.data import is_held
from duoview.pipelines.train import main


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("material")
    random = np.random.default_rng(0)
    for n in range(30):
        cells = random.integers(0, 256, (10, 12, 3)).astype(np.uint8)
        Image.fromarray(cells).resize((192, 160), Image.Resampling.BICUBIC).save(root / f"picture{n}.png")
    for name in ("yard", "street"):
        with av.open(str(root / f"{name}.mp4"), "w") as out:
            stream = out.add_stream("mpeg4", rate=12)
            stream.width, stream.height = 272, 256
            for n in range(20):
                picture = np.full((256, 272, 3), 60, np.uint8)
                picture[40:120, 6 * n:6 * n + 60] = (220, 90, 30)
                out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
            out.mux(stream.encode(None))
    return root


def test_three_short_stages_write_a_profile_that_codes_pictures(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "profile"
    code = main(["-i", str(folder), "-work", str(tmp_path / "runs"), "-minutes", "0.06,0.06,0.06", "-hold", "yard",
                 "-motion_crops", "8", "-name", "tiny", "-threads", "2",
                 "-shape", "encoder=64,decoder=80,hyper=16", str(output)])
    assert code == 0
    profile = duoview.Profile(output)
    assert profile.name == "tiny" and profile.sizes.hyper == 16
    assert (profile.manifest["shape"]["encoder"], profile.manifest["shape"]["decoder"]) == (64, 80)
    assert all(r.passed for r in profile.verify())
    card = (output / "MODEL_CARD.md").read_text()
    assert "clips yard." in " ".join(card.split())
    assert profile.has_motion and "## Motion compensation" in card
    encoder = duoview.Encoder(128, 64, rate=10, profile=profile, q=63)
    decoder = duoview.Decoder(profile=profile, view="human", steps=1, strict=True)
    for n in range(2):
        frame = av.VideoFrame.from_ndarray(np.full((64, 128, 3), 100, np.uint8), format="rgb24")
        frame.pts, frame.time_base = n, Fraction(1, 10)
        (packet,) = encoder.encode(frame)
        (shown,) = decoder.decode(packet)
        assert (shown.width, shown.height) == (128, 64)
    assert encoder.symbols_sha256() == decoder.symbols_sha256()


def test_training_goes_on_from_its_checkpoint(folder: Path, tmp_path: Path) -> None:
    arguments = ["-i", str(folder), "-work", str(tmp_path / "runs"), "-hold", "yard", "-threads", "2",
                 "-motion_crops", "0"]

    def finals(stage: str) -> list[int]:
        lines = [json.loads(line) for line in (tmp_path / "runs" / f"{stage}.jsonl").read_text().splitlines()]
        return [line["step"] for line in lines if line.get("final")]

    main([*arguments, "-minutes", "0.04,0.04,0.04", str(tmp_path / "first")])
    main([*arguments, "-minutes", "0.15,0.04,0.04", str(tmp_path / "second")])
    first, second = finals("still")
    assert not duoview.Profile(tmp_path / "second").has_motion
    assert second > first > 0
    for stage in ("inter", "denoiser"):
        # Their minutes are spent, so they take no step more; begun anew they would have had the time for as many again.
        first, second = finals(stage)
        assert second == first


def test_a_folder_without_pictures_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=str(tmp_path)):
        main(["-i", str(tmp_path), str(tmp_path / "out")])


@pytest.mark.parametrize("minutes", ["1,2", "a,b,c", "1,2,-3", "1,nan,1"])
def test_minutes_that_are_not_three_numbers_are_a_usage_error(
        folder: Path, tmp_path: Path, minutes: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["-i", str(folder), "-minutes", minutes, str(tmp_path / "out")])
    assert raised.value.code == 2
    assert f"-minutes {minutes}: expected three numbers" in capsys.readouterr().err


@pytest.mark.parametrize(("shape", "said"), [
    ("width=3", "-shape width=3: expected one of latent, encoder"), ("encoder=0", "expected encoder=NUMBER"),
    ("hyper", "-shape hyper: expected hyper=NUMBER, a whole number of 1 or more"),
])
def test_sizes_that_are_none_are_a_usage_error(folder: Path, tmp_path: Path, shape: str, said: str,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["-i", str(folder), "-shape", shape, str(tmp_path / "out")])
    assert raised.value.code == 2
    assert said in capsys.readouterr().err


def test_a_missing_text_on_the_sources_is_an_error_before_training(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="licences"):
        main(["-i", str(folder), "-work", str(tmp_path / "runs"), "-sources", str(tmp_path / "licences.txt"),
              str(tmp_path / "out")])
    assert not (tmp_path / "runs").exists()


def test_material_that_no_shift_operators_can_be_fitted_to_is_an_error_before_training(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    Image.fromarray(np.zeros((130, 200, 3), np.uint8)).save(tmp_path / "in" / "low.png")
    with pytest.raises(ValueError, match="of 136x136 pixels or more to fit shift operators to"):
        main(["-i", str(tmp_path / "in"), "-work", str(tmp_path / "runs"), str(tmp_path / "out")])
    assert not (tmp_path / "runs").exists()


def test_a_dry_run_of_the_gpu_backlog_has_pictures_that_trainings_hold_back() -> None:
    path = Path(__file__).parents[2] / "bench" / "gpu" / "_dry_material.py"
    drawn: dict[str, Any] = runpy.run_path(str(path))
    names = [f"drawn_{source}_{drawn['KEPT_BACK']}.png" for source in drawn["SOURCES"]]
    assert drawn["KEPT_BACK"] < drawn["FRAMES"] and sum(map(is_held, names)) == 2
