"""The learned baseline of `bench accuracy`: a short training writes networks that code pictures into real files."""

from __future__ import annotations

import runpy
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image
from skimage import data

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")
if find_spec("compressai") is None:  # imported whole it wants more than is used of it
    pytest.skip("compressai is not installed (extra train)", allow_module_level=True)

BENCH = SimpleNamespace(**runpy.run_path(str(Path(__file__).parents[1] / "accuracy_bench.py")))
clips = BENCH.module("bench.accuracy.clip")
codec = BENCH.module("bench.accuracy.codec")
codecs = BENCH.module("bench.accuracy.codecs")
hyperprior = BENCH.module("bench.accuracy.hyperprior")
train = BENCH.module("bench.accuracy.train_hyperprior")

LAMBDAS = (0.02, 0.005)


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    Image.fromarray(data.chelsea()[:150, :200]).save(folder / "a.png")
    Image.fromarray(data.astronaut()[:60, :90]).save(folder / "b.png")  # smaller than a patch
    return folder


def trained(pictures: Path, out: Path) -> int:
    code: int = train.main(["--pictures", str(pictures), "--out", str(out), "--lambdas", *map(str, LAMBDAS), "--steps",
                            "4", "--batch", "2", "--patch", "64", "--channels", "8", "12", "--rate", "1e-3"])
    return code


@pytest.fixture(scope="module")
def networks(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("networks")
    assert trained(pictures, folder) == 0
    return folder


def made(folder: Path | None) -> Any:
    (found,) = codecs.make(["hyperprior"], [codec.Variant()], codec.Setup(learned=folder))
    return found


def test_training_writes_a_network_per_lambda_and_skips_those_that_are_there(
        networks: Path, pictures: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert sorted(path.name for path in networks.iterdir()) == ["0.005.pt", "0.02.pt"]
    assert trained(pictures, networks) == 0
    assert capsys.readouterr().out.count(": there") == 2


@pytest.mark.parametrize("bf16", [False, True])
def test_the_loss_falls(pictures: Path, bf16: bool) -> None:
    torch.manual_seed(1)
    network = hyperprior.Hyperprior(8, 12)
    batch = next(iter(train._Patches(sorted(pictures.iterdir()), 64, 4, (0,))))

    def loss() -> float:
        with torch.no_grad():
            decoded, bits = network(batch)
            return float(0.02 * 255**2 * ((decoded - batch) ** 2).mean() + bits / (4 * 64 * 64))

    before = loss()
    train._train(network, iter([batch] * 30), 0.02, 30, 1e-3, bf16)
    assert loss() < 0.8 * before


def test_training_that_was_stopped_goes_on_from_its_checkpoint(pictures: Path, tmp_path: Path,
                                                                monkeypatch: pytest.MonkeyPatch,
                                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(train, "KEEP_EVERY", 2)
    part = tmp_path / "0.02.part"
    patches = [next(iter(train._Patches(sorted(pictures.iterdir()), 64, 2, (seed,)))) for seed in range(6)]
    torch.manual_seed(2)
    whole = hyperprior.Hyperprior(8, 12)
    start = {name: value.clone() for name, value in whole.state_dict().items()}
    noise = torch.get_rng_state()
    train._train(whole, iter(patches[:4]), 0.02, 4, 1e-3, False, part)
    torch.set_rng_state(noise)
    stopped = hyperprior.Hyperprior(8, 12)
    stopped.load_state_dict(start)
    part.unlink()
    torch.set_rng_state(noise)
    with pytest.raises(StopIteration):
        train._train(stopped, iter(patches[:2]), 0.02, 4, 1e-3, False, part)
    noise = torch.get_rng_state()
    other = hyperprior.Hyperprior(8, 12)  # its weights are not those of the run that was stopped
    torch.set_rng_state(noise)
    train._train(other, iter(patches[2:4]), 0.02, 4, 1e-3, False, part)
    assert "going on at step 2" in capsys.readouterr().out
    for name, value in whole.state_dict().items():
        torch.testing.assert_close(other.state_dict()[name], value, atol=1e-5, rtol=1e-4)


def test_a_decoded_picture_is_what_the_network_makes_of_it(networks: Path) -> None:
    network, trade = hyperprior.load(networks / "0.02.pt")
    picture = data.chelsea()[:128, :192]
    decoded = network.decode(network.encode(picture))
    tensor = torch.from_numpy(picture.copy()).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = (network(tensor)[0][0].clamp(0, 1) * 255).round().byte().permute(1, 2, 0).numpy()
    assert trade == 0.02 and np.abs(decoded.astype(int) - expected).max() <= 1


def test_the_coder_writes_files_of_pictures_of_any_size(networks: Path, pictures: Path) -> None:
    clip = clips.load_pictures(pictures)
    coder = made(networks)
    assert coder.qualities == (0, 1) and coder.label == "hyperprior, key every, zero latency"
    coded = coder.code(clip, 1)
    assert [(frame.width, frame.height) for frame in coded.frames] == [(200, 150), (90, 60)]
    assert coded.data.count(b"nut/multimedia container") == 2 and len(coded.data) == coder.size(clip, 1)
    assert coder.code(clip, 1).data == coded.data != coder.code(clip, 0).data
    assert coder.version == made(networks).version


def test_what_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="codec hyperprior: --learned, the folder of its networks, is needed"):
        made(None)
    with pytest.raises(FileNotFoundError, match=r"0 files LAMBDA\.pt, expected 1 to 255"):
        made(tmp_path)
    torch.save({"weights": {}}, tmp_path / "1.pt")
    with pytest.raises(ValueError, match=r"1\.pt: no network of the learned baseline"):
        made(tmp_path)
