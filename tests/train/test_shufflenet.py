"""The backbone of ShuffleNetV2: its units, its file, and that it is never trained."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from duoview.models.shufflenet import ShuffleBlock, ShuffleNet, open_shufflenet


def backbone(seed: int = 3) -> ShuffleNet:
    """A backbone of random weights whose statistics are not those of a fresh one."""
    torch.manual_seed(seed)
    network = ShuffleNet((8, 16, 24, 32))
    for name, buffer in network.named_buffers():
        if name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    return network


def test_a_unit_shuffles_as_the_published_code_does() -> None:
    torch.manual_seed(1)
    unit, x = ShuffleBlock(6, 12, 6, 1).eval(), torch.randn(2, 12, 5, 7)
    # The published code: pairs of channels, transposed, split in two.
    split = x.reshape(12, 2, 35).permute(1, 0, 2).reshape(2, -1, 6, 5, 7)
    with torch.no_grad():
        assert torch.equal(unit(x), torch.cat([split[0], unit.branch_main(split[1])], 1))


def test_features_are_at_an_eighth_a_sixteenth_and_a_thirtysecond() -> None:
    shapes = [tuple(one.shape) for one in backbone()(torch.rand(2, 3, 64, 96))]
    assert shapes == [(2, 16, 8, 12), (2, 24, 4, 6), (2, 32, 2, 3)]


def test_blue_comes_first() -> None:
    network = backbone()
    with torch.no_grad():
        network.state_dict()["first_conv.0.weight"][:, 1:].zero_()  # what is left sees the first channel only
        red, blue = torch.zeros(2, 1, 3, 64, 64).unbind()
        red[:, 0], blue[:, 2] = 1, 1
        assert torch.equal(network(red)[0], network(torch.zeros(1, 3, 64, 64))[0])
        assert not torch.equal(network(blue)[0], network(red)[0])


def test_it_stays_as_it_is_in_training_but_hands_gradients_on() -> None:
    network = backbone()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    picture = torch.rand(2, 3, 64, 64, requires_grad=True)
    network.train()
    torch.stack([one.square().mean() for one in network(picture)]).sum().backward()
    assert picture.grad is not None and float(picture.grad.abs().max()) > 0
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items())
    assert not any(parameter.requires_grad for parameter in network.parameters())


def test_a_file_of_weights_with_a_head_gives_the_same_backbone(tmp_path: Path) -> None:
    network = backbone()
    torch.save({**network.state_dict(), "fc.weight": torch.zeros(10, 32)}, tmp_path / "backbone.pth")
    picture = torch.rand(1, 3, 64, 64)
    for here, there in zip(network(picture), open_shufflenet(tmp_path / "backbone.pth")(picture), strict=True):
        assert torch.equal(here, there)


def test_other_weights_are_refused_by_what_they_lack(tmp_path: Path) -> None:
    torch.save({"conv1.weight": torch.zeros(8, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=r"other\.pth: no ShuffleNetV2 backbone: it has no 'first_conv"):
        open_shufflenet(tmp_path / "other.pth")
    with pytest.raises(FileNotFoundError, match=r"absent\.pth: no such file"):
        open_shufflenet(tmp_path / "absent.pth")
