"""The training loop: schedule, stopping and going on, kills, and what it writes."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from duoview.errors import ProfileError
from duoview.models import loop as loop_module
from duoview.models.fixed_point import ACCUMULATOR_LIMIT, FixedConv
from duoview.models.loop import Loop, rate_factor


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def time(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(loop_module, "time", clock)
    return clock


def new_loop(folder: Path, *, minutes: float = 1000.0, save_seconds: float = 300.0) -> Loop[nn.Conv2d]:
    torch.manual_seed(3)
    return Loop("codec", nn.Conv2d(4, 6, 1), folder / "still.pt", minutes=minutes, rate=0.01,
                report_seconds=10.0, save_seconds=save_seconds)


def test_by_steps_time_does_not_count_and_it_goes_on_where_it_was(tmp_path: Path, clock: Clock) -> None:
    def new(steps: int) -> Loop[nn.Conv2d]:
        torch.manual_seed(3)
        return Loop("codec", nn.Conv2d(4, 6, 1), tmp_path / "still.pt", minutes=0.0, rate=0.01, steps=steps,
                    save_seconds=0.0)

    assert run(new(4), clock, seconds=1e6) == [0, 0.25, 0.5, 0.75]
    assert run(new(4), clock) == []
    assert run(new(5), clock) == [0.8]
    assert run(new(0), clock) == []


def test_a_checkpoint_that_is_of_something_else_is_refused_by_name(tmp_path: Path) -> None:
    def new(**of: str) -> Loop[nn.Conv2d]:
        return Loop("codec", nn.Conv2d(4, 6, 1), tmp_path / "still.pt", minutes=1.0, rate=0.01, of=of)

    new(palettes="a").save()
    new(palettes="a").save()
    with pytest.raises(ValueError, match=r"still\.pt: its palettes: a; expected b; remove it to begin anew"):
        new(palettes="b")


def test_a_checkpoint_that_does_not_tell_what_it_is_of_is_taken_and_that_is_said(
        tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new_loop(tmp_path).save()
    Loop("codec", nn.Conv2d(4, 6, 1), tmp_path / "still.pt", minutes=1.0, rate=0.01, of={"palettes": "b"})
    assert "still.pt: does not tell its palettes; taken for b" in capsys.readouterr().out


def test_a_checkpoint_of_a_network_of_other_sizes_is_refused_by_name(tmp_path: Path) -> None:
    new_loop(tmp_path).save()
    with pytest.raises(ProfileError, match=r"still\.pt: of a network of other sizes \(weight \[6, 4, 1, 1\], expected "
                                           r"\[8, 4, 1, 1\]\); go on with"):
        Loop("codec", nn.Conv2d(4, 8, 1), tmp_path / "still.pt", minutes=1.0, rate=0.01)


def loss_of(loop: Loop[nn.Conv2d]) -> Tensor:
    """A loss that follows from weights and step alone."""
    x = torch.randn(2, 4, 5, 5, generator=torch.Generator().manual_seed(loop.step))
    return (loop.network(x) - x.sum(1, keepdim=True)).square().mean()


def run(loop: Loop[nn.Conv2d], clock: Clock, until: int | None = None, seconds: float = 1.0) -> list[float]:
    """Rounds of ``seconds`` until the time is spent, or before step ``until``; the shares of the time at each."""
    shares = []
    for done in loop.rounds(dict):
        if loop.step == until:
            break
        shares.append(done)
        clock.now += seconds
        assert loop.update(loss_of(loop))
    return shares


def tensors(value: object, name: str = "") -> Iterator[tuple[str, object]]:
    """All leaves of nested dictionaries and lists."""
    if isinstance(value, dict | list):
        for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
            yield from tensors(inner, f"{name}/{key}")
    else:
        yield name, value


def lines(folder: Path) -> list[dict[str, float]]:
    return [json.loads(line) for line in (folder / "still.jsonl").read_text().splitlines()]


def test_the_rate_warms_up_stays_and_falls_to_zero_at_the_end() -> None:
    assert rate_factor(0, 0.0) == 1 / 200
    assert rate_factor(199, 0.1) == rate_factor(5000, 0.4) == 1.0
    assert rate_factor(5000, 0.7) == pytest.approx(0.5)
    assert rate_factor(5000, 1.0) == 0.0


def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path: Path, clock: Clock) -> None:
    whole = new_loop(tmp_path / "whole", save_seconds=0)
    run(whole, clock, until=12)
    run(new_loop(tmp_path / "parts", save_seconds=0), clock, until=5)
    clock.now += 10_000
    second = new_loop(tmp_path / "parts", save_seconds=0)
    assert second.step == 5
    run(second, clock, until=12)
    states = [dict(tensors(torch.load(tmp_path / name / "still.pt", weights_only=True))) for name in ("whole", "parts")]
    assert states[0].keys() == states[1].keys()
    assert any(name.startswith("/optimisers/0/state") for name in states[0])
    assert any(name.startswith("/optimisers/1/state") for name in states[0])
    for name in states[0].keys() - {"/spent"}:
        a, b = (state[name] for state in states)
        assert torch.equal(a, b) if isinstance(a, Tensor) and isinstance(b, Tensor) else a == b, name


def test_a_finished_run_with_more_minutes_goes_on_where_the_longer_schedule_is(tmp_path: Path, clock: Clock) -> None:
    run(new_loop(tmp_path, minutes=5), clock)
    clock.now += 10_000
    longer = new_loop(tmp_path, minutes=10)
    assert longer.step == 300
    shares = run(longer, clock)
    assert shares[0] == 0.5 and len(shares) == 300
    finals = [line for line in lines(tmp_path) if line.get("final")]
    assert [(line["step"], line["minutes"]) for line in finals] == [(300, 5.0), (600, 10.0)]
    first = next(line for line in lines(tmp_path) if line["step"] > 300)
    assert first["lr"] == pytest.approx(0.01 * rate_factor(310, 310 / 600), rel=1e-3)


def test_a_run_that_has_had_its_minutes_takes_no_step(tmp_path: Path, clock: Clock) -> None:
    run(new_loop(tmp_path, minutes=0.1), clock)
    assert run(new_loop(tmp_path, minutes=0.1), clock) == []
    assert [line["step"] for line in lines(tmp_path)] == [6, 6]


KILLED = """
import os, signal, sys
from pathlib import Path
import torch
from duoview.models.loop import Loop

saves = 0
whole_save = torch.save

def save(state, path):
    global saves
    saves += 1
    whole_save(state, path)
    if saves == 4:
        os.truncate(path, path.stat().st_size // 2)
        os.kill(os.getpid(), signal.SIGKILL)

torch.save = save
loop = Loop("codec", torch.nn.Conv2d(4, 6, 1), Path(sys.argv[1]) / "still.pt", minutes=5, rate=0.01, save_seconds=-1)
for _ in loop.rounds(lambda: {}):
    loop.update(loop.network(torch.ones(1, 4, 2, 2)).square().mean())
"""


def test_a_kill_while_a_checkpoint_is_written_leaves_the_one_before(tmp_path: Path, clock: Clock) -> None:
    killed = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert killed.returncode == -9, killed.stderr
    left = new_loop(tmp_path)
    assert left.step == 3
    run(left, clock, until=6)
    left.save()
    assert new_loop(tmp_path).step == 6


def test_steps_after_the_last_checkpoint_are_taken_again(tmp_path: Path, clock: Clock) -> None:
    run(new_loop(tmp_path, save_seconds=6.5), clock, until=10)
    again = new_loop(tmp_path)
    assert again.step == 7
    # The time of what is lost does not count either: the checkpoint knows when its last step began.
    assert again.spent == 6.0


def test_a_gradient_that_is_not_finite_changes_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    loop = new_loop(tmp_path)
    before = [p.clone() for p in loop.network.parameters()]
    assert not loop.update(loss_of(loop) * float("inf"))
    assert "step 0: gradient is not finite, skipped" in capsys.readouterr().out
    assert loop.step == 0
    assert all(torch.equal(a, b) for a, b in zip(before, loop.network.parameters(), strict=True))
    assert loop.update(loss_of(loop))
    assert not any(torch.equal(a, b) for a, b in zip(before, loop.network.parameters(), strict=True))


def test_a_log_line_holds_means_since_the_one_before(tmp_path: Path, clock: Clock) -> None:
    loop = new_loop(tmp_path, minutes=0.5)
    for _ in loop.rounds(lambda: {"bpp": 0.25}):
        odd = {"odd": torch.tensor(2.0)} if loop.step % 2 else {}
        loop.update(loss_of(loop), rate=torch.tensor(float(loop.step)), **odd)
        clock.now += 1
    first, second, last = lines(tmp_path)
    assert (first["step"], first["rate"], first["odd"]) == (11, 5.0, 2.0)
    assert (second["step"], second["rate"], second["odd"]) == (22, 16.0, 2.0)
    assert last == {"step": 30, "minutes": 0.5, "final": True, "bpp": 0.25}


def test_what_a_stage_keeps_comes_back_with_its_checkpoint(tmp_path: Path) -> None:
    first = new_loop(tmp_path)
    first.kept = {"scale": torch.arange(3.0), "shape": {"latent": 48}}
    first.save()
    again = new_loop(tmp_path).kept
    assert torch.equal(again["scale"], torch.arange(3.0)) and again["shape"] == {"latent": 48}


def test_a_checkpoint_of_weights_alone_starts_with_fresh_optimisers(tmp_path: Path, clock: Clock) -> None:
    first = new_loop(tmp_path, save_seconds=0)
    run(first, clock, until=3)
    state = torch.load(tmp_path / "still.pt", weights_only=True)
    torch.save({**state, "optimisers": []}, tmp_path / "still.pt")
    again = new_loop(tmp_path)
    assert again.step == 3 and not any(o.state for o in again.optimisers)
    assert torch.equal(again.network.weight, first.network.weight)


def test_a_checkpoint_with_states_of_other_optimisers_is_refused(tmp_path: Path, clock: Clock) -> None:
    run(new_loop(tmp_path, save_seconds=0), clock, until=3)
    state = torch.load(tmp_path / "still.pt", weights_only=True)
    torch.save({**state, "optimisers": state["optimisers"][:1]}, tmp_path / "still.pt")
    with pytest.raises(ValueError, match="states of 1 optimisers, expected 2 or none"):
        new_loop(tmp_path)


def test_exact_layers_are_brought_into_range_during_training(tmp_path: Path) -> None:
    torch.manual_seed(0)
    layer = FixedConv(4, 4)
    with torch.no_grad():
        layer.bias[0] = 3000.0
    loop = Loop("inter", layer, tmp_path / "inter.pt", minutes=1, rate=1e-4)
    loop.update(layer(torch.ones(1, 4, 2, 2)).sum())
    assert loop.network.accumulator_bound() < ACCUMULATOR_LIMIT
