"""The machine stage: what it reads, that it learns, goes on, and comes into a profile."""

from __future__ import annotations

import json
import runpy
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from duoview import Decoder, Encoder, Profile
from duoview.detectors import FastestDet
from duoview.errors import ProfileError
from duoview.export.card import machine_inter_section, machine_section
from duoview.export.profile import replace_networks
from duoview.export.restore import restore
from duoview.models.agreement import AgreementValidation
from duoview.models.data import Material, is_held
from duoview.models.feature_loss import DetectorEye
from duoview.models.layers import QualityTable
from duoview.models.machine_command import TRAINED, main
from duoview.models.machine_fidelity import ClassifierEye, Eyes, FidelityWeights
from duoview.models.machine_material import Look, Looks, RegionWeights, batches, place, read_looks
from duoview.models.machine_setup import fidelity_weights, spread
from duoview.models.network import Shape, StillCodec
from duoview.models.object_labels import Found
from duoview.models.train_machine import (
    MachineTraining,
    code_picture,
    losses,
    machine_lagrangian,
    move_quality,
    object_maps,
    train,
)
from duoview.models.train_machine_inter import MachineInterTraining

FOREIGN = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_foreign_network.py"))))
SHUFFLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_shufflenet.py"))))
AGREEMENT = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_agreement.py"))))
SMALL = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=12, transform=16, hyper=6,
              parameters=16)
Picture = NDArray[np.uint8]
BUNDLED = Profile("s").folder


def label(picture: Picture) -> Found:
    """The bright square, and a faint thing beside it."""
    rows, columns = np.nonzero(picture.min(2) > 200)
    box = [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]
    return np.array([box, [0, 0, 8, 8]], np.float32), np.array([0.9, 0.1], np.float32)


def codec(seed: int = 1) -> StillCodec:
    torch.manual_seed(seed)
    return StillCodec(SMALL)


@pytest.fixture(scope="module")
def looks() -> list[Look]:
    pictures = [AGREEMENT.scene(n, 96, 128) for n in range(12)]
    return [Look("set", picture, None, label(picture)[0][:1]) for picture in pictures]


@pytest.fixture(scope="module")
def eyes(tmp_path_factory: pytest.TempPathFactory) -> Eyes:
    path = FOREIGN.grid_detector(tmp_path_factory.mktemp("eyes") / "grid.onnx")
    return Eyes((DetectorEye(path, FastestDet(), (1.0, 1.0)),), (ClassifierEye(SHUFFLE.backbone(), 1.0),))


# ---- material


def test_looks_are_read_with_sure_boxes_and_every_tenth_image_is_held_back(tmp_path: Path) -> None:
    names = [f"street{n:02d}.png" for n in range(24)]
    for n, name in enumerate(names):
        Image.fromarray(AGREEMENT.scene(n, 200, 260)).save(tmp_path / name)
    Image.fromarray(AGREEMENT.scene(5, 64, 260)).save(tmp_path / "flat.png")
    (tmp_path / "broken.png").write_bytes(b"no picture")
    found = read_looks([tmp_path], label, least=96)
    held = sum(map(is_held, names))
    assert 0 < held < len(names) and len(found.held) == held
    # Those that are trained on come at half their size too.
    assert sorted(look.picture.shape for look in found.train) == sorted(
        [(200, 260, 3), (100, 130, 3)] * (len(names) - held))
    assert all(len(look.boxes) == 1 and look.source == tmp_path.name for look in (*found.train, *found.held))


def test_a_clip_to_hold_back_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="held back 'crossing': no clip of that name"):
        read_looks([tmp_path], label, hold_clips=("crossing",))


def test_a_folder_without_pictures_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=f"at least 192x192 pixels to train on in {tmp_path}"):
        read_looks([tmp_path], label)


def test_crops_are_on_the_latents_grid_and_hold_an_object_where_they_aim(looks: list[Look]) -> None:
    random = np.random.default_rng(3)
    for look in looks:
        for _ in range(10):
            top, left = place(look, 64, 1.0, random)
            assert top % 8 == left % 8 == 0 and 0 <= top <= 32 and 0 <= left <= 64
            x0, y0, x1, y1 = look.boxes[0]
            assert min(x1, left + 64) > max(x0, left) and min(y1, top + 64) > max(y0, top)


def test_batches_hold_pictures_and_their_weights(looks: list[Look]) -> None:
    batch = next(batches(looks, 64, 5, RegionWeights(outside=0.25), np.random.default_rng(4)))
    assert batch.picture.shape == (5, 3, 64, 64) and batch.weight.shape == (5, 1, 64, 64)
    assert float(batch.picture.min()) >= 0 and float(batch.picture.max()) <= 1
    bright = batch.picture.min(1, keepdim=True).values > 0.85
    assert bright.any() and (batch.weight[bright] == 1).all() and float(batch.weight.min()) >= 0.25


def test_crops_larger_than_every_picture_are_refused(looks: list[Look]) -> None:
    with pytest.raises(ValueError, match="crops of 192 pixels: every picture is smaller"):
        next(batches(looks, 192, 2, RegionWeights(), np.random.default_rng(4)))


# ---- the quality scale


def test_a_moved_table_is_the_old_one_at_other_places_and_goes_on_beyond_its_ends() -> None:
    table = QualityTable(1, 1.0, 64.0)
    table.move(-21.0, 42.0)
    factor = 64 ** (1 / 63)
    assert table.table()[0, 0].item() == pytest.approx(factor**-21, rel=1e-4)
    assert table.table()[63, 0].item() == pytest.approx(factor**42, rel=1e-4)
    assert table.table()[21, 0].item() == pytest.approx(1.0, rel=1e-4)


def test_moving_the_quality_gives_the_same_lagrangian_at_another_index() -> None:
    moved, old = codec(), codec()
    # At q 63 an error has the weight that it had at q 21; what is lower is beyond the old scale.
    move_quality(moved.key, (1e-5 / 2, 1e-3 / 2), 2.0)
    assert torch.allclose(moved.key.gain.table()[63], old.key.gain.table()[21], rtol=1e-4)
    assert (moved.key.gain.table()[0] < old.key.gain.table()[0]).all()


def test_the_weight_of_the_distances_is_log_linear_in_the_quality() -> None:
    weights = machine_lagrangian(torch.tensor([0, 63]), (1e-5, 1e-2))
    assert weights.tolist() == pytest.approx([1e-5, 1e-2], rel=1e-4)


# ---- training


def options(**changes: object) -> MachineTraining:
    values = {"minutes": 0.05, "crops": ((64, 4, 1.0),), "rate": 2e-3, **changes}
    return MachineTraining(**values)  # type: ignore[arg-type]


def test_training_changes_the_key_codec_alone_and_goes_on(
        looks: list[Look], eyes: Eyes, tmp_path: Path) -> None:
    start = codec()
    before = {name: value.clone() for name, value in start.state_dict().items()}
    train(looks, [eyes], start, options(), tmp_path, report_seconds=0)
    trained = torch.load(tmp_path / "machine.pt", weights_only=True)
    for name, value in trained["codec"].items():
        if not name.startswith("key."):
            assert torch.equal(value, before[name]), name
    assert not torch.equal(trained["codec"]["key.analysis_out.weight"], before["key.analysis_out.weight"])
    log = [json.loads(line) for line in (tmp_path / "machine.jsonl").read_text().splitlines()]
    assert {"picture", "features", "answers", "classes", "bpp", "log_cost"} <= set(log[0])
    assert "latent" not in log[0]
    steps = trained["step"]
    train(looks, [eyes], codec(), options(minutes=trained["spent"] / 60 + 0.1), tmp_path)
    assert torch.load(tmp_path / "machine.pt", weights_only=True)["step"] > steps


def test_a_checkpoint_of_another_latent_space_is_refused(looks: list[Look], eyes: Eyes, tmp_path: Path) -> None:
    train(looks, [eyes], codec(), options(minutes=0.01), tmp_path)
    train(looks, [eyes], codec(), options(minutes=0.01), tmp_path)
    with pytest.raises(ValueError, match=r"machine\.pt: its E and D: \w+; expected \w+; remove it to begin anew"):
        train(looks, [eyes], codec(seed=2), options(minutes=0.01), tmp_path)


def test_steps_against_the_loss_lower_the_cost_of_a_batch(looks: list[Look], eyes: Eyes) -> None:
    network = codec()
    batch = next(batches(looks, 64, 4, RegionWeights(), np.random.default_rng(4)))
    steps = torch.optim.Adam(network.key.parameters(), lr=2e-3)
    q, costs = torch.tensor([10, 30, 45, 60]), []
    for _ in range(25):
        loss, shown = losses(network, batch, q, eyes, options())
        steps.zero_grad()
        loss.backward()
        steps.step()
        costs.append(float(shown["log_cost"]))
    assert np.mean(costs[-3:]) < np.mean(costs[:3]) - 0.1


def test_a_gain_map_around_objects_takes_bits_from_what_is_far_from_them(looks: list[Look], eyes: Eyes) -> None:
    weight = torch.full((2, 1, 64, 64), 0.2)
    weight[0, :, 40:44, 8:20] = 1
    levels = object_maps(weight, torch.tensor([2.0, 5.0]))
    assert levels[:, 0].tolist() == [[[-2, -2], [0, -2]], [[-5, -5], [-5, -5]]]
    network = codec()
    batch = next(batches(looks, 64, 2, RegionWeights(), np.random.default_rng(4)))
    plain, coarse = (losses(network, batch, torch.tensor([30, 50]), eyes, options(), given)[1]
                     for given in (None, torch.full((2, 1, 2, 2), -5.0)))
    assert coarse["bpp"] < plain["bpp"]


def test_training_goes_on_with_gain_maps_in_all_steps(looks: list[Look], eyes: Eyes, tmp_path: Path) -> None:
    train(looks, [eyes], codec(), options(minutes=0.02, mapped=1.0), tmp_path)
    assert torch.load(tmp_path / "machine.pt", weights_only=True)["step"] > 0


def test_the_log_sets_it_against_x265(looks: list[Look], eyes: Eyes, tmp_path: Path) -> None:
    validation = AgreementValidation([look.picture for look in looks[:2]], [], {"bright": AGREEMENT.bright}, None,
                                     factors=(30, 51))
    train(looks, [eyes], codec(), options(minutes=0.02), tmp_path, validation=validation)
    (final,) = [json.loads(line) for line in (tmp_path / "machine.jsonl").read_text().splitlines()]
    assert final["final"] and {"q4_bpp", "q40_psnr", "q16_bright50"} <= set(final)
    assert final["q4_bpp"] < final["q40_bpp"]


def test_as_many_kinds_of_eyes_as_of_crops_are_wanted(looks: list[Look], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 sets of eyes for 1 kinds of crops"):
        train(looks, [Eyes(), Eyes()], codec(), options(), tmp_path)


def test_options_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="two rising numbers"):
        MachineTraining(lagrangian=(1e-2, 1e-3))
    with pytest.raises(ValueError, match="expected a share of 0 to 1"):
        MachineTraining(mapped=1.5)
    with pytest.raises(ValueError, match="multiples of 64"):
        MachineTraining(crops=((100, 4, 1.0),))


def test_a_picture_of_any_size_comes_back_with_its_size() -> None:
    picture = AGREEMENT.scene(3, 70, 101)
    decoded, bits = code_picture(codec(), picture, 20)
    assert decoded.shape == picture.shape and decoded.dtype == np.uint8 and bits > 0


# ---- the profile


def test_trained_networks_come_into_a_profile_that_codes_with_them(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "new")
    networks = restore(tmp_path / "new")
    with torch.no_grad():
        networks.still.key.gain.log_anchors.sub_(0.7)  # half the steps: fewer bits
    digest = replace_networks(networks, TRAINED, tmp_path / "new")
    old, new = Profile("s"), Profile(tmp_path / "new")
    assert new.sha256.hex() == digest != old.sha256.hex()
    changed = {name for name in old.manifest["networks"] if old.manifest["networks"][name] !=
               new.manifest["networks"][name]}
    # The gain is in the analysis alone; float weights went through their own precision, exact ones are what they were.
    assert "key_analysis" in changed <= {"key_analysis", "key_synthesis"}
    assert old.manifest["golden"] == new.manifest["golden"]
    picture = AGREEMENT.scene(7, 128, 192)
    sizes = []
    for profile in (old, new):
        encoder, decoder = (Encoder(192, 128, rate=1, q=40, profile=profile, machine="neural"),
                            Decoder(profile=profile, strict=True))
        packets = encoder.encode(frame_of(picture)) + encoder.encode(None)
        shown = [frame for packet in packets for frame in decoder.decode(packet)] + decoder.decode(None)
        assert len(shown) == 1
        sizes.append(sum(len(bytes(packet)) for packet in packets))
    assert sizes[1] < 0.9 * sizes[0]


def frame_of(picture: Picture) -> av.VideoFrame:
    return av.VideoFrame.from_ndarray(picture, format="rgb24")


def test_networks_of_other_sizes_and_names_that_are_none_are_refused(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "s")
    networks = restore(tmp_path / "s")
    with pytest.raises(ValueError, match="network 'kee': expected some of encoder, decoder"):
        replace_networks(networks, ("kee",), tmp_path / "s")
    networks.still.shape = SMALL
    with pytest.raises(ValueError, match="a profile of "):
        replace_networks(networks, TRAINED, tmp_path / "s")
    with pytest.raises(ProfileError):
        replace_networks(networks, TRAINED, tmp_path / "absent")


def test_the_card_tells_weights_data_and_curves(looks: list[Look], tmp_path: Path) -> None:
    (tmp_path / "machine.jsonl").write_text('{"step": 7, "minutes": 1.0, "loss": 0.9, "q4_bpp": 0.02}\n')
    made = machine_section(options(), Looks(looks, looks[:1]), "s", ["YOLOX, scores .1 to .3"], "Terms.", tmp_path)
    for text in ('"features": 800.0', "12 pictures of 1 sources (set 12) with 12 objects", "Held back: set 1.",
                 "Terms.", "YOLOX, scores .1 to .3", "| 7 | 1.0 | 0.9 | 0.02 |"):
        assert text in made, text


def test_the_card_of_p_frames_tells_regions_data_and_curves(looks: list[Look], tmp_path: Path) -> None:
    (tmp_path / "machine_inter.jsonl").write_text('{"step": 9, "minutes": 2.0, "loss": 0.8, "q16_bpp": 0.004}\n')
    material = Material([look.picture for look in looks], {}, [], {"crossing": looks[0].picture[None]})
    made = machine_inter_section(MachineInterTraining(), material, "s", "YOLOX, scores .1 to .3", "Terms.", tmp_path)
    for text in ('"eagerness": 1.5', "12 pictures and 0 clips; held back: crossing.", "boxes of YOLOX, scores .1 to .3",
                 "Terms.", "| 9 | 2.0 | 0.8 | 0.004 |"):
        assert text in made, text


def test_what_an_error_is_worth_to_p_frames_stays_with_a_profile(tmp_path: Path) -> None:
    shutil.copytree(BUNDLED, tmp_path / "s")
    networks = restore(tmp_path / "s")
    assert networks.lagrangian is not None
    old = Profile("s").lagrangian
    assert np.array_equal(networks.lagrangian.numpy(), old)
    replace_networks(replace(networks, lagrangian=networks.lagrangian / 2), (), tmp_path / "s")
    assert np.array_equal(Profile(tmp_path / "s").lagrangian, old / 2)


# ---- the command


def test_weights_are_read_and_wrong_ones_named() -> None:
    weights = fidelity_weights(["features=0", "latent=2.5"])
    assert weights == FidelityWeights(features=0, latent=2.5)
    with pytest.raises(ValueError, match="--weight feature=1: expected one of picture, latent, features"):
        fidelity_weights(["feature=1"])
    with pytest.raises(ValueError, match="--weight features=much: expected NAME=VALUE"):
        fidelity_weights(["features=much"])


def test_validation_pictures_are_of_every_source_but_the_photographs(looks: list[Look]) -> None:
    several = [Look(source, look.picture, None, look.boxes) for source in ("a", "b", "photographs") for look in looks]
    chosen = spread(several, "photographs", 8)
    assert len(chosen) == 8
    assert sum(any(one is look.picture for look in several[:12]) for one in chosen) >= 4


def test_the_command_says_what_it_cannot_use(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = ["--yolox", str(tmp_path / "y.onnx"), "--fastestdet", str(tmp_path / "f.onnx"), "--shufflenet",
             str(tmp_path / "s.pth"), "--folders", str(tmp_path), "--out", str(tmp_path)]
    for given, message in ((["--minutes", "-1"], "--minutes -1.0: expected 0 or more"),
                           (["--lagrangian", "1", "0.5"], "two rising numbers"),
                           (["--weight", "sound=1"], "--weight sound=1"),
                           ([], "s.pth: no such file of weights"), (["--start", "none"], "profile 'none'")):
        assert main([*files, *given]) == 2
        assert message in capsys.readouterr().err
