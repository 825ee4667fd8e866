"""The key-frame codec trained on by itself: what changes, what stays, and what its log and card tell."""

from __future__ import annotations

import copy
import json
import math
import runpy
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from duoview import Decoder, Encoder
from duoview.models import key_command, train_key
from duoview.models.data import Material
from duoview.models.network import Shape, StillCodec
from duoview.models.train_key import KeyTraining, change_of_rate, curves, train
from duoview.models.train_still import draw_quality
from duoview.profile import BUNDLED as PROFILES
from duoview.profile import Profile

Picture = NDArray[np.uint8]
SMALL: Shape = runpy.run_path(str(Path(__file__).with_name("test_machine_inter_training.py")))["SMALL"]


def scene(height: int, width: int, seed: int) -> Picture:
    """Smooth in the large with some grain."""
    random = np.random.default_rng(seed)
    coarse = random.integers(0, 256, (height // 16 + 2, width // 16 + 2, 3)).astype(np.float64)
    fine = coarse.repeat(16, 0).repeat(16, 1)[:height, :width] + random.normal(0, 5, (height, width, 3))
    return np.clip(fine, 0, 255).astype(np.uint8)


def material() -> Material:
    return Material([scene(160, 192, n) for n in range(4)], {}, [scene(100, 130, 9)])


def options(steps: int) -> KeyTraining:
    return KeyTraining(steps=steps, batch=2, crop=64)


def test_key_frames_learn_and_the_latent_space_stays(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = StillCodec(SMALL)
    before = copy.deepcopy(start)
    after = train(material(), start, replace(options(40), rate=2e-2), tmp_path)
    # D is random, so that there is nothing to win but bits.
    rates = [curves(one, material().held_pictures)[0].mean() for one in (before, after)]
    assert rates[1] < rates[0] - 0.1
    for part in ("encoder", "decoder"):
        old, new = (getattr(one, part).state_dict() for one in (before, after))
        assert all(torch.equal(old[name], new[name]) for name in old)
    lines = [json.loads(line) for line in (tmp_path / "key.jsonl").read_text().splitlines()]
    assert lines[-1]["final"] and lines[-1]["q2_psnr"] > 0
    assert lines[-1]["q2_bpp"] > 0 and lines[-1]["accumulator_share"] < 1


def test_training_goes_on_from_its_checkpoint_and_not_from_one_of_another_latent_space(tmp_path: Path) -> None:
    torch.manual_seed(0)
    start = StillCodec(SMALL)
    made = train(material(), copy.deepcopy(start), options(3), tmp_path)
    # What it is given to begin with is no matter then, and not what bits are compared with either.
    other = copy.deepcopy(start)
    other.key = StillCodec(SMALL).key
    again = train(material(), other, options(3), tmp_path)
    assert all(torch.equal(one, two) for one, two in zip(made.parameters(), again.parameters(), strict=True))
    first, second = ({name: value for name, value in json.loads(line).items() if name != "minutes"}
                     for line in (tmp_path / "key.jsonl").read_text().splitlines())
    assert first == second and {"bits_low", "bits_middle", "bits_high"} <= first.keys()
    torch.manual_seed(1)
    with pytest.raises(ValueError, match="its E and D"):
        train(material(), StillCodec(SMALL), options(3), tmp_path)


def test_without_held_back_pictures_no_figure_is_made_up(tmp_path: Path) -> None:
    torch.manual_seed(0)
    train(Material([scene(96, 96, 1)]), StillCodec(SMALL), options(2), tmp_path)
    assert "bits_low" not in json.loads((tmp_path / "key.jsonl").read_text().splitlines()[-1])


def test_half_of_the_quality_indices_are_low() -> None:
    torch.manual_seed(0)
    drawn = draw_quality(20_000, torch.device("cpu"), train_key.LOW, 0.5)
    assert int(drawn.min()) == 0 and int(drawn.max()) == 63
    share = float(((drawn >= 2) & (drawn <= 41)).float().mean())
    assert abs(share - (0.5 + 0.5 * 40 / 64)) < 0.02


def test_the_change_of_rate_is_that_at_an_equal_psnr() -> None:
    psnr = np.array([[24.0], [26.0], [28.0]])
    rate = np.log(np.array([[0.1], [0.2], [0.4]]))
    assert change_of_rate((rate, psnr), (rate + math.log(0.9), psnr), 0, 2) == pytest.approx(-10)
    # As good at half the bits, one point further down the curve: the same curve.
    assert change_of_rate((rate, psnr), (rate - math.log(2), psnr - 2), 0, 2) == pytest.approx(0)


def test_a_picture_whose_curves_have_nothing_in_common_does_not_count() -> None:
    psnr, rate = np.array([[24.0], [26.0], [28.0]]), np.log(np.array([[0.1], [0.2], [0.4]]))
    assert change_of_rate((rate, psnr), (rate, psnr + 9), 0, 2) is None
    two = np.hstack([rate, rate]), np.hstack([psnr, psnr])
    assert change_of_rate(two, (two[0] + math.log(0.9), two[1] + [[0, 9]]), 0, 2) == pytest.approx(-10)


def test_a_picture_that_is_shown_without_any_error_has_a_quality(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train_key, "code_picture", lambda codec, picture, q: (picture, 9.0))
    assert np.isfinite(curves(StillCodec(SMALL), [scene(64, 64, 0)])[1]).all()


def test_curves_rise_in_rate_and_quality_with_the_index() -> None:
    from duoview.export.restore import restore

    rates, qualities = curves(restore(PROFILES / "s").still, [scene(90, 120, 3)])
    assert rates.shape == qualities.shape == (len(train_key.MEASURED), 1)
    assert (np.diff(rates[:, 0]) > 0).all() and qualities[-1, 0] > qualities[0, 0] + 3


def test_the_command_writes_a_profile_that_codes_and_a_section_of_its_card(tmp_path: Path) -> None:
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for n in range(3):
        frame = av.VideoFrame.from_ndarray(scene(128, 128, n), format="rgb24")
        with av.open(str(pictures / f"{n}.png"), "w", format="image2") as container:
            stream = container.add_stream("png", rate=1, options={})
            stream.width, stream.height, stream.pix_fmt = 128, 128, "rgb24"
            container.mux([*stream.encode(frame), *stream.encode(None)])
    made = tmp_path / "made"
    given = ["-i", str(pictures), "--profile", str(made), "--out", str(tmp_path / "runs"), "--threads", "1", "--batch",
             "2", "--crop", "128", "--minutes", "0.02"]
    assert key_command.main(given) == 0
    old, new = Profile("s"), Profile(made)
    changed = {name for name, entry in new.manifest["networks"].items() if old.manifest["networks"][name] != entry}
    # A few steps may leave all weights of an exact network on their integers.
    assert "key_analysis" in changed <= {"key_analysis", "key_hyper", "key_context", "key_synthesis"}
    assert not np.array_equal(new.residual_scale, old.residual_scale)
    assert "## The key-frame codec, trained on" in (made / "MODEL_CARD.md").read_text()
    encoder, decoder = Encoder(64, 64, q=20, profile=new, machine="neural"), Decoder(profile=new, strict=True)
    packets = encoder.encode(av.VideoFrame.from_ndarray(scene(64, 64, 5), format="rgb24")) + encoder.encode(None)
    assert len([frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)) == 1


@pytest.mark.parametrize("wrong", ["--crop 100", "--crop 64", "--batch 1", "--minutes -1", "--rate 0", "--rate nan",
                                   "--profile FILE"])
def test_options_that_cannot_be_end_the_command_with_2_before_anything_is_read(
        wrong: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").touch()
    wrong = wrong.replace("FILE", str(tmp_path / "file"))
    assert key_command.main(["-i", str(tmp_path), "--out", str(tmp_path / "runs"), *wrong.split()]) == 2
    # What is told of material that is not there has numbers and paths in it, too.
    assert capsys.readouterr().err.startswith(f"key_command: {wrong}")


def test_a_profile_to_start_from_that_is_not_there_is_named(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert key_command.main(["-i", str(tmp_path), "--out", str(tmp_path / "runs"), "--start", "none"]) == 2
    assert "profile 'none': no such bundled profile" in capsys.readouterr().err
