"""Optimisers: Muon for the pointwise convolutions of float networks, Adam for everything else.

Muon (Jordan et al., 2024) replaces a matrix's momentum by the nearest semi-orthogonal matrix, found by a few
Newton-Schulz steps; scaled as in Liu et al. (2025) so that one learning rate serves both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from duoview.models.fixed_point import FixedConv

#: Coefficients of the quintic iteration: fast inflation of small singular values, tolerant near one.
QUINTIC = (3.4445, -4.7750, 2.0315)


def orthogonalise(stack: Tensor, steps: int = 5) -> Tensor:
    """Nearest semi-orthogonal matrices of a stack (B, rows, columns)."""
    a, b, c = QUINTIC
    wide = stack.shape[1] <= stack.shape[2]
    x = (stack if wide else stack.transpose(1, 2)).bfloat16()
    x = x / (x.flatten(1).float().norm(dim=1).bfloat16()[:, None, None] + 1e-7)
    for _ in range(steps):
        gram = x @ x.transpose(1, 2)
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x if wide else x.transpose(1, 2)).float()


class Muon(torch.optim.Optimizer):
    """Momentum orthogonalised per matrix; matrices of one shape are handled together."""

    def __init__(self, parameters: Iterable[nn.Parameter], lr: float = 1e-3, momentum: float = 0.95) -> None:
        super().__init__(parameters, {"lr": lr, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            shapes: dict[tuple[int, int], list[nn.Parameter]] = defaultdict(list)
            for p in group["params"]:
                if p.grad is not None:
                    shapes[(p.shape[0], p.numel() // p.shape[0])].append(p)
            for (rows, columns), parameters in shapes.items():
                updates = []
                for p in parameters:
                    assert p.grad is not None
                    state = self.state[p]
                    if "momentum" not in state:
                        state["momentum"] = torch.zeros_like(p)
                    state["momentum"].lerp_(p.grad, 1 - group["momentum"])
                    updates.append(p.grad.lerp(state["momentum"], group["momentum"]).reshape(rows, columns))
                size = 0.2 * max(rows, columns) ** 0.5
                for p, update in zip(parameters, orthogonalise(torch.stack(updates)), strict=True):
                    p.add_(update.reshape(p.shape), alpha=-group["lr"] * size)


def split_parameters(networks: Iterable[nn.Module]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """(for Muon, for Adam): pointwise convolutions of float networks, and everything else."""
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for network in networks:
        fixed = {id(p) for m in network.modules() if isinstance(m, FixedConv) for p in m.parameters()}
        for p in network.parameters():
            if not p.requires_grad:
                continue
            is_matrix = p.dim() == 4 and p.shape[2] == p.shape[3] == 1 and p.shape[1] > 1 and id(p) not in fixed
            (matrices if is_matrix else others).append(p)
    return matrices, others
