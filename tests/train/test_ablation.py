"""The ablation of the machine stage: what it trains, that it goes on where it was, and its table."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from duoview.models.ablation import Outcome, Variant, main, run, table, variants
from duoview.models.data import is_held
from duoview.models.machine_fidelity import FidelityWeights
from duoview.models.machine_setup import Detectors
from duoview.models.network import Shape, StillCodec
from duoview.models.train_machine import MachineTraining

FOREIGN = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_foreign_network.py"))))
SHUFFLE = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_shufflenet.py"))))
AGREEMENT = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("test_agreement.py"))))
SMALL = Shape(latent=8, encoder=16, encoder_blocks=1, decoder=16, decoder_blocks=1, symbols=12, transform=16, hyper=6,
              parameters=16)


def bright_detector(path: Path, size: int = 352) -> Path:
    """A detector in FastestDet's form that finds things of one size where cells of 16x16 pixels are white."""
    d = FOREIGN.Draft(4)

    def conv(x: str, inputs: int, weights: list[list[float]], stride: int, bias: list[float]) -> str:
        kernel = np.zeros((len(weights), inputs, stride, stride), np.float32)
        kernel[:] = np.array(weights, np.float32)[:, :, None, None] / stride**2
        at = len(d.nodes)
        name: str = d.add("Conv", x, d.constant(kernel, f"w{at}"), d.constant(np.array(bias, np.float32), f"b{at}"),
                          kernel_shape=[stride, stride], strides=[stride, stride], pads=[0] * 4)
        return name

    mean = conv("images", 3, [[1 / 3] * 3] * 2, 4, [0, 0])
    for stride in (2, 2):
        mean = conv(d.add("Relu", mean), 2, [[1, 0], [0, 1]], stride, [0, 0])
    mean = d.add("Relu", mean)
    likely = d.add("Sigmoid", conv(mean, 2, [[40, 0]], 1, [-34]))  # white from .85 on
    kinds = d.add("Sigmoid", conv(mean, 2, [[40, 0], [0, 0]], 1, [-34, -9]))
    boxes = conv(mean, 2, [[0, 0]] * 4, 1, [0, 0, -1.5, -1.5])
    file: Path = d.write(path, d.add("Concat", likely, boxes, kinds, axis=1), size)
    return file


def options(**changes: object) -> MachineTraining:
    values = {"minutes": 0.0, "steps": 2, "crops": ((64, 2, 1.0),), "weights": FidelityWeights(1, 2, 0, 0, 0, 0),
              **changes}
    return MachineTraining(**values)  # type: ignore[arg-type]


def test_every_loss_with_a_weight_is_left_out_in_turn_and_the_zoom_too() -> None:
    found = variants(options(zooms=(0.5, 1.5)))
    assert [one.name for one in found] == ["start", "all", "without picture", "without latent", "without zoom"]
    start, whole, picture, latent, zoom = (one.options for one in found)
    assert start.steps == 0 and whole == options(zooms=(0.5, 1.5))
    assert (picture.weights.picture, picture.weights.latent) == (0, 2)
    assert (latent.weights.picture, latent.weights.latent) == (1, 0)
    assert zoom.zooms == (1.0, 1.0) and zoom.weights == whole.weights
    assert {one.steps for one in (whole, picture, latent, zoom)} == {2}
    assert [one.name for one in variants(options(), ["all"])] == ["all"]
    with pytest.raises(ValueError, match="--only 'without sound': expected some of start, all, without picture"):
        variants(options(), ["without sound"])


def test_what_is_done_is_not_done_again_and_all_begin_alike(tmp_path: Path) -> None:
    torch.manual_seed(1)
    start = StillCodec(SMALL)
    before = {name: value.clone() for name, value in start.state_dict().items()}
    fitted: list[str] = []

    def fit(codec: StillCodec, variant: Variant, folder: Path) -> StillCodec:
        assert all(torch.equal(value, before[name]) for name, value in codec.state_dict().items())
        assert folder.is_dir()  # where its checkpoint goes
        fitted.append(variant.name)
        if fitted.count("without latent") == 1 and variant.name == "without latent":
            raise KeyboardInterrupt
        with torch.no_grad():
            codec.key.analysis_out.weight.zero_()
        return codec

    def ran(**changes: object) -> list[Outcome]:
        return list(run(variants(options(**changes)), start, tmp_path, fit, lambda codec: {"q4_bpp": 0.5}, {"with": 1}))

    with pytest.raises(KeyboardInterrupt):
        ran()
    outcomes = ran()
    assert fitted == ["start", "all", "without picture", "without latent", "without latent"]
    assert [one.variant for one in outcomes] == ["start", "all", "without picture", "without latent"]
    assert outcomes[1].measured == {"q4_bpp": 0.5} and outcomes[1].options["with"] == 1
    with pytest.raises(ValueError, match=r"start.options\.json: begun with other options"):
        ran(rate=0.5)


def test_the_table_sets_every_variant_against_the_whole_and_names_who_was_held_back() -> None:
    text = table([Outcome("all", {}, {"rate_yolox50": -0.2, "rate_fastestdet50": 0.1, "q4_bpp": 0.02}),
                  Outcome("without answers", {}, {"rate_yolox50": -0.1, "q4_bpp": 0.03})], "fastestdet")
    assert "| variant | fastestdet50 (held back) | yolox50 | bpp at q 4 |" in text
    assert "| all | +10.0 | -20.0 | 0.0200 |" in text
    assert "| without answers | - | -10.0 (+12.5) | 0.0300 |" in text


def test_the_held_back_detector_teaches_nothing_and_is_measured() -> None:
    given = SimpleNamespace(yolox=Path("y"), fastestdet=Path("f"), held_detector=None)
    assert list(Detectors.of(given).teachers) == ["yolox", "fastestdet"]  # type: ignore[arg-type]
    given.held_detector = "yolox"
    found = Detectors.of(given)  # type: ignore[arg-type]
    assert list(found.teachers) == ["fastestdet"] and list(found.judges) == ["yolox", "fastestdet"]
    given.fastestdet = None
    with pytest.raises(ValueError, match=r"expected a detector to learn from: .* beside the held-back yolox"):
        Detectors.of(given)  # type: ignore[arg-type]
    given.yolox = None
    with pytest.raises(ValueError, match="--held-detector yolox: its file is needed"):
        Detectors.of(given)  # type: ignore[arg-type]


def test_two_steps_of_every_variant_are_trained_measured_and_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]
                                                                 ) -> None:
    pictures = tmp_path / "street"
    pictures.mkdir()
    names = [f"street{n:02d}.png" for n in range(24)]
    assert 0 < sum(map(is_held, names)) < 12
    for n, name in enumerate(names):
        scene = np.minimum(AGREEMENT.scene(n, 288, 288), 180)
        scene[64 + n:160 + n, 96:192] = 255
        Image.fromarray(scene).save(pictures / name)
    torch.save(SHUFFLE.backbone().state_dict(), tmp_path / "shuffle.pth")
    command = ["--folders", str(pictures), "--fastestdet", str(bright_detector(tmp_path / "bright.onnx")),
               "--shufflenet", str(tmp_path / "shuffle.pth"), "--out", str(tmp_path / "out"), "--check", "2",
               "--threads", "1", "--zoom", "0.5", "1.5", "--weight", "features=0", "classes=0", "picture=1.5",
               "clusters=50", "contrast=50", "--only", "start", "all", "without contrast"]
    assert main([*command, "--steps", "2"]) == 0, capsys.readouterr().err
    written = json.loads((tmp_path / "out" / "ablation.json").read_text())
    assert written["teachers"] == ["fastestdet"] and written["held_detector"] is None
    _, whole, without = written["outcomes"]
    assert whole["options"]["weights"]["picture"] == 1.5 and without["options"]["weights"]["contrast"] == 0
    assert "q16_fastestdet50" in whole["measured"]
    # Both have left the start, each on a way of its own.
    steps = [torch.load(tmp_path / "out" / name / "machine.pt", weights_only=True)
             for name in ("start", "all", "without_contrast")]
    assert [one["step"] for one in steps] == [0, 2, 2]
    first, second, third = (one["codec"]["key.analysis_out.weight"] for one in steps)
    assert not torch.equal(first, second) and not torch.equal(second, third)
    assert (tmp_path / "out" / "clusters.pt").is_file()
    shown = (tmp_path / "out" / "ablation.md").read_text()
    assert "| without contrast |" in shown and "psnr" in shown
    capsys.readouterr()
    assert main([*command, "--steps", "2"]) == 0
    assert capsys.readouterr().out.count(": there") == 3
    assert main([*command, "--steps", "3"]) == 2
    assert "begun with other options" in capsys.readouterr().err
