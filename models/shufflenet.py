"""The backbone of ShuffleNetV2 (Ma et al., ECCV 2018), read from a file of its weights, never stored with us.

Its features make a loss that keeps what tells kinds of things apart; it is trained on photographs, not on boxes.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

#: Blocks of the three stages.
REPEATS = (4, 8, 4)


def _normed(inputs: int, outputs: int, kernel: int, *, stride: int = 1, depthwise: bool = False
            ) -> tuple[nn.Conv2d, nn.BatchNorm2d]:
    layer = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=inputs if depthwise else 1, bias=False)
    return layer, nn.BatchNorm2d(outputs)


class ShuffleBlock(nn.Module):
    """One unit: at stride 1 half of the channels pass by, at stride 2 both branches see all of them."""

    def __init__(self, inputs: int, outputs: int, middle: int, stride: int) -> None:
        super().__init__()
        self.branch_main = nn.Sequential(
            *_normed(inputs, middle, 1), nn.ReLU(), *_normed(middle, middle, 3, stride=stride, depthwise=True),
            *_normed(middle, outputs - inputs, 1), nn.ReLU())
        self.branch_proj = nn.Sequential(
            *_normed(inputs, inputs, 3, stride=stride, depthwise=True), *_normed(inputs, inputs, 1), nn.ReLU()
        ) if stride == 2 else None

    def forward(self, x: Tensor) -> Tensor:
        if self.branch_proj is None:
            return torch.cat([x[:, ::2], self.branch_main(x[:, 1::2])], 1)
        return torch.cat([self.branch_proj(x), self.branch_main(x)], 1)


class ShuffleNet(nn.Module):
    """RGB in [0, 1], (N, 3, H, W), both sides multiples of 32 -> features at 1/8, 1/16 and 1/32, float32.

    The published weights of the .35 size take blue first, in [0, 1], without mean or deviation taken off. Frozen, and
    always in its state of use: statistics are never updated.
    """

    def __init__(self, widths: tuple[int, int, int, int]) -> None:
        super().__init__()
        self.first_conv = nn.Sequential(*_normed(3, widths[0], 3, stride=2), nn.ReLU())
        for number, (inputs, outputs, repeats) in enumerate(zip(widths, widths[1:], REPEATS, strict=False), 2):
            units = [ShuffleBlock(inputs, outputs, outputs // 2, 2)]
            units += [ShuffleBlock(outputs // 2, outputs, outputs // 2, 1) for _ in range(repeats - 1)]
            self.add_module(f"stage{number}", nn.Sequential(*units))
        self.requires_grad_(False)
        super().train(False)

    def train(self, mode: bool = True) -> ShuffleNet:
        """Stays as it is: this network is looked through, not trained."""
        return self

    def forward(self, pictures: Tensor) -> tuple[Tensor, ...]:
        x = F.max_pool2d(self.first_conv(pictures.flip(1)), 3, stride=2, padding=1)
        features = []
        for number in range(len(REPEATS)):
            x = self.get_submodule(f"stage{number + 2}")(x)
            features.append(x)
        return tuple(features)


def open_shufflenet(path: Path) -> ShuffleNet:
    """The backbone from a file of its weights as torch saves them; what the file has beyond the backbone is left out.

    Raises FileNotFoundError when it is not there, ValueError for weights of another network.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file of weights")
    state = torch.load(path, weights_only=True, map_location="cpu")
    state = state.get("state_dict", state)
    try:
        widths = [state["first_conv.0.weight"].shape[0]]
        for number in range(len(REPEATS)):
            unit = f"stage{number + 2}.0."
            widths.append(state[unit + "branch_main.5.weight"].shape[0] + state[unit + "branch_proj.2.weight"].shape[0])
    except KeyError as error:
        raise ValueError(f"{path}: no ShuffleNetV2 backbone: it has no {error}") from None
    network = ShuffleNet((widths[0], widths[1], widths[2], widths[3]))
    try:
        network.load_state_dict({name: state[name] for name in network.state_dict()})
    except (KeyError, RuntimeError) as error:
        raise ValueError(f"{path}: no ShuffleNetV2 backbone: {error}") from None
    return network
