"""The loop that the training stages share: schedule, optimisers, averaged weights, log and checkpoints.

A stage makes its network and, round after round, a loss; what the loss is of and how the result is measured stays with
the stage.
"""

from __future__ import annotations

import copy
import hashlib
import json
import math
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Generic, TextIO, TypeVar

import torch
from torch import Tensor, nn

from duoview.errors import ProfileError
from duoview.models.fixed_point import keep_accumulators_in_range
from duoview.models.network import average_weights
from duoview.models.optimiser import Muon, split_parameters

Network = TypeVar("Network", bound=nn.Module)

WARM_UP_STEPS = 200
FALL_SHARE = 0.6
GRADIENT_NORM = 5.0
RANGE_STEPS = 50


def rate_factor(step: int, done: float) -> float:
    """Share of the full learning rate after ``step`` steps and a share ``done`` of the schedule.

    A trapezoid: a short warm-up, a plateau, and a long linear fall to zero, which is where most of the gain comes.
    """
    return min(1.0, (step + 1) / WARM_UP_STEPS) * min(1.0, (1 - done) / FALL_SHARE)


def weights_sha256(*networks: nn.Module) -> str:
    """Of all weights and buffers of some networks, to tell them from others of the same sizes."""
    found = hashlib.sha256()
    for network in networks:
        for name, value in network.state_dict().items():
            found.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


class Loop(Generic[Network]):
    """Training of one network, from its checkpoint where there is one, until its time is spent.

        loop = Loop("codec", codec, folder / "still.pt", minutes=60, rate=2e-3)
        for done in loop.rounds(lambda: validate(loop.average)):
            loop.update(loss_of(next(batches)))

    ``minutes`` is wall time over all runs that went on from one another. A finished run that is resumed with more
    minutes goes on at the learning rate that the longer schedule has at the time already spent: it rises again if the
    old one had fallen further. Time between runs, and what was trained after the last checkpoint, does not count.
    With ``steps`` the schedule is over that many steps and time does not count: for runs that are to be compared.

    Args:
        key: what the checkpoint calls the network's weights; the others are ``average``, ``step``, ``spent`` (seconds)
            and ``optimisers``, ``of``, and what the stage puts into ``kept``.
        network: trained in place, parameters without gradient excepted.
        checkpoint: where to save; the log is beside it with the suffix ``.jsonl``.
        steps: as many in place of ``minutes``; None for by time.
        rate: the full learning rate. muon: Muon for pointwise convolutions of float networks, else Adam for all.
        report_seconds, save_seconds: how often at most a line is logged and a checkpoint written.
        of: what weights of the same sizes may not have in common, by name, such as the palettes that they are for.
    Raises ValueError when the checkpoint has states of other optimisers or is ``of`` something else, ProfileError when
    its network has other sizes, RuntimeError when it has other weights.
    """

    def __init__(self, key: str, network: Network, checkpoint: Path, *, minutes: float, rate: float,
                 steps: int | None = None, muon: bool = True, report_seconds: float = 150.0,
                 save_seconds: float = 300.0, of: Mapping[str, str] | None = None) -> None:
        self.of = dict(of or {})
        self.key, self.network, self.checkpoint = key, network, checkpoint
        self.minutes, self.steps, self.rate, self.rate_now = minutes, steps, rate, 0.0
        self.report_seconds, self.save_seconds = report_seconds, save_seconds
        self.average: Network = copy.deepcopy(network)
        self.device = next(network.parameters()).device
        matrices, others = split_parameters([network])
        if not muon:
            matrices, others = [], others + matrices
        self.optimisers: list[torch.optim.Optimizer] = [torch.optim.Adam(others, lr=rate, betas=(0.9, 0.98))]
        if matrices:
            self.optimisers.append(Muon(matrices, lr=rate))
        self.step, self.spent = 0, 0.0
        self.kept: dict[str, Any] = {}
        self._shown: defaultdict[str, list[float]] = defaultdict(list)
        checkpoint.parent.mkdir(parents=True, exist_ok=True)
        if checkpoint.exists():
            self._resume()

    def _resume(self) -> None:
        state = torch.load(self.checkpoint, weights_only=True, map_location=self.device)
        self._check_of(state.pop("of", {}))
        weights = state.pop(self.key)
        unlike = [f"{name} {list(weights[name].shape)}, expected {list(one.shape)}"
                  for name, one in self.network.state_dict().items()
                  if name in weights and weights[name].shape != one.shape]
        if unlike:
            raise ProfileError(f"{self.checkpoint}: of a network of other sizes ({unlike[0]}); go on with the sizes "
                               "that it began with, or give another folder")
        self.network.load_state_dict(weights)
        self.average.load_state_dict(state.pop("average"))
        self.step, self.spent = state.pop("step"), state.pop("spent")
        saved = state.pop("optimisers", [])
        # Weights that come from elsewhere have no optimiser states; they start as they do in a new run.
        if saved and len(saved) != len(self.optimisers):
            raise ValueError(f"{self.checkpoint}: states of {len(saved)} optimisers, expected "
                             f"{len(self.optimisers)} or none")
        for optimiser, one in zip(self.optimisers, saved, strict=False):
            optimiser.load_state_dict(one)
        self.kept = state

    def _check_of(self, told: Mapping[str, str]) -> None:
        for name, wanted in self.of.items():
            if name not in told:
                # Written before checkpoints told it.
                print(f"{self.checkpoint}: does not tell its {name}; taken for {wanted}", flush=True)
            elif told[name] != wanted:
                raise ValueError(f"{self.checkpoint}: its {name}: {told[name]}; expected {wanted}; remove it to begin "
                                 "anew, or give another folder")

    def save(self) -> None:
        """Write a checkpoint beside the old one and swap it in, so that a kill at any time leaves one that loads."""
        temporary = self.checkpoint.with_suffix(".tmp")
        torch.save({self.key: self.network.state_dict(), "average": self.average.state_dict(), "step": self.step,
                    "spent": self.spent, "optimisers": [o.state_dict() for o in self.optimisers], "of": self.of,
                    **self.kept},
                   temporary)
        temporary.replace(self.checkpoint)

    def rounds(self, measure: Callable[[], dict[str, float]]) -> Iterator[float]:
        """The share of the schedule that is spent, once per round until it is 1; the caller's body calls ``update``.

        Between rounds it logs the means of what was given to ``update`` and what ``measure`` returns, and saves; at the
        end it does both once more. Leaving early leaves the last checkpoint.
        """
        began = time.time() - self.spent
        last_report = last_save = time.time()
        with self.checkpoint.with_suffix(".jsonl").open("a") as log:
            while True:
                self.spent = time.time() - began
                done = self._done()
                if done >= 1:
                    break
                self.rate_now = self.rate * rate_factor(self.step, done)
                for optimiser in self.optimisers:
                    for group in optimiser.param_groups:
                        group["lr"] = self.rate_now
                before = self.step
                yield done
                if self.step == before:
                    continue
                now = time.time()
                if now - last_report > self.report_seconds:
                    means = {name: round(sum(values) / len(values), 4) for name, values in self._shown.items()}
                    self._log(log, {**means, "lr": round(self.rate_now, 6), **measure()})
                    self._shown.clear()
                    last_report = time.time()
                if now - last_save > self.save_seconds:
                    self.save()
                    last_save = now
            self.save()
            self._log(log, {"final": True, **measure()})

    def _done(self) -> float:
        whole, part = (self.minutes * 60, self.spent) if self.steps is None else (self.steps, self.step)
        return part / whole if part < whole else 1.0

    def _log(self, log: TextIO, what: dict[str, float]) -> None:
        line = json.dumps({"step": self.step, "minutes": round(self.spent / 60, 2), **what})
        print(line, flush=True)
        log.write(line + "\n")
        log.flush()

    def update(self, loss: Tensor, **shown: Tensor) -> bool:
        """One step against the gradient of ``loss``; means of it and of ``shown`` (scalars) go into the log.

        A name that is not shown in every step has the mean over the steps in which it is.

        Returns False, with a message and all weights as they were, where the gradient is not finite.
        """
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), GRADIENT_NORM)
        if not math.isfinite(float(norm)):
            print(f"step {self.step}: gradient is not finite, skipped", flush=True)
            return False
        for optimiser in self.optimisers:
            optimiser.step()
        if self.step % RANGE_STEPS == 0:
            keep_accumulators_in_range(self.network)
        average_weights(self.average, self.network, min(0.999, (self.step + 1) / (self.step + 10)))
        self.step += 1
        for name, value in {"loss": loss, **shown}.items():
            self._shown[name].append(value.item())
        return True
