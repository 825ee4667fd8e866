"""Children that the prior is certain of: they cost nothing, and encoders, samplers and both decoders take them."""

from __future__ import annotations

import dataclasses
import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from duoview import Depths, Profile, ProfileError, TextureSettings
from duoview.access_unit import AccessUnit, SectionType, parse, serialize
from duoview.backends import CpuBackend
from duoview.texture.chain import Mask, Sampler, TileState, Writer, sampled, step
from duoview.texture.cutting import TextureCutter
from duoview.texture.decoder import TextureDecoder
from duoview.texture.geometry import Grid, depth_and_tile
from duoview.texture.palettes import Palettes
from duoview.texture.prior import Nodes, Prior
from duoview.texture.section import SectionHead, read_section, write_section
from duoview.texture.tables import check_tables
from duoview.texture.view import Seen

HERE = Path(__file__).parent
STREAM = SimpleNamespace(**runpy.run_path(str(HERE / "golden" / "texture_stream.py")))
REFERENCE = SimpleNamespace(**runpy.run_path(str(HERE / "texture_reference.py")))
FILES = STREAM.FILES
GROUPS, DEPTH = FILES.GROUPS, FILES.DEPTH
BOUNDS = (2, 12, 40, 100)
#: What moves is coded anew, in part by the texture alone.
MOTION = STREAM.Motion(frozenset((0, 4)), {n: (slice(0, 8), slice(4 * n, 4 * n + 8)) for n in (1, 2, 3)}, (40,) * 5,
                       frozenset((2,)))
FRAMES = list(STREAM.frames_of(MOTION))
TILES = 6


@pytest.fixture(scope="module")
def profiles(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Profile]:
    """By the least logit that makes a child certain."""
    folder = tmp_path_factory.mktemp("certain")
    return {bound: FILES.write_profile(folder / str(bound), bound, certain=bound) for bound in BOUNDS}


def encoded(profile: Profile, depths: Depths) -> list[AccessUnit]:
    found: list[AccessUnit] = STREAM.encode(profile, MOTION, TextureSettings(depths, frames="all", tile_log2=3))
    return found


@pytest.fixture(scope="module")
def streams(profiles: dict[int, Profile]) -> dict[int, list[AccessUnit]]:
    return {bound: encoded(profile, Depths(DEPTH)) for bound, profile in profiles.items()}


def states(profile: Profile, units: list[AccessUnit], limit: Depths | None = None, fill: str = "mean"
           ) -> list[list[tuple[int, bytes]]]:
    """Of every unit: depth and nodes of all tiles, and what is shown of it."""
    decoder = TextureDecoder(profile, CpuBackend(1), limit=limit, fill=fill)
    found = []
    for unit, frame in zip(units, FRAMES, strict=True):
        if unit.sequence is not None:
            decoder.begin(unit.sequence)
        latent = decoder.decode(unit, frame.seen)
        assert not decoder.faults
        found.append([(one.depth, one.nodes.tobytes()) for one in decoder.states] + [(0, latent.tobytes())])
    return found


def texture(units: list[AccessUnit]) -> list[dict[int, bytes]]:
    return [{one.sub_index or 0: one.payload for one in unit.sections if one.type == SectionType.TEXTURE}
            for unit in units]


@pytest.mark.parametrize("bound", BOUNDS)
def test_a_second_decoder_takes_the_same_children(
        profiles: dict[int, Profile], streams: dict[int, list[AccessUnit]], bound: int) -> None:
    reference = REFERENCE.Reference(profiles[bound].folder)
    for unit, frame, told in zip(streams[bound], FRAMES, states(profiles[bound], streams[bound]), strict=True):
        reference.unit(serialize(unit), frame.decoded, frame.moved)
        assert told[:-1] == [(one.depth, one.nodes.astype(np.uint8).tobytes()) for one in reference.tiles]


@settings(max_examples=12)
@given(bound=st.sampled_from(BOUNDS), other=st.integers(1, DEPTH),
       tiles=st.dictionaries(st.integers(0, TILES - 1), st.integers(0, DEPTH)),
       fill=st.sampled_from(["mean", "sample"]))
def test_a_cut_decodes_as_the_whole_stream_at_most_that_deep(
        profiles: dict[int, Profile], streams: dict[int, list[AccessUnit]], bound: int, other: int,
        tiles: dict[int, int], fill: str) -> None:
    limit = Depths(other, tuple(tiles.items()))
    cutter = TextureCutter(limit)
    cut = [cutter.cut(parse(serialize(unit))) for unit in streams[bound]]
    assert states(profiles[bound], cut, fill=fill) == states(profiles[bound], streams[bound], limit, fill)


@pytest.mark.parametrize("bound", [12, 40])
@pytest.mark.parametrize("depths", ["1", "3", "4,0=1,2=0,3=2", "2,1=4"])
def test_what_is_certain_of_deeper_nodes_counts_when_they_are_not_sent(
        profiles: dict[int, Profile], streams: dict[int, list[AccessUnit]], bound: int, depths: str) -> None:
    limit = Depths.parse(depths)
    whole, part = texture(streams[bound]), texture(encoded(profiles[bound], limit))
    assert part == [{sub: payload for sub, payload in one.items()
                     if depth_and_tile(sub)[0] <= limit.of(depth_and_tile(sub)[1])} for one in whole]
    assert any(part[n] for n in (1, 2, 3)), "P frames have texture"


def test_what_is_certain_makes_a_stream_smaller(streams: dict[int, list[AccessUnit]], tmp_path: Path) -> None:
    never = encoded(FILES.write_profile(tmp_path / "never", 40), Depths(DEPTH))
    sizes = [sum(len(payload) for payload in texture(units)[0].values()) for units in (streams[40], never)]
    assert 0 < sizes[0] < sizes[1]


# ---- sections of a prior whose logits are given


class Given:
    """Stands in for the networks: random logits, another for each half."""

    def __init__(self, prior: Prior, seed: int, spread: float) -> None:
        self._logits = np.rint(np.random.default_rng(seed).normal(0, spread, (2, 1, GROUPS, 8, 8))).astype(np.int16)
        prior._prior = self  # type: ignore[assignment]

    def __call__(self, *, conditions: NDArray[np.float32], **_: NDArray[np.float32]) -> tuple[NDArray[np.int16]]:
        return (self._logits[int(conditions[0, -2, 0, 0] > 0)],)


@settings(max_examples=30)
@given(bound=st.sampled_from(BOUNDS), seed=st.integers(0, 1 << 30), spread=st.sampled_from([0, 5, 60, 4000]),
       depth=st.integers(1, DEPTH))
def test_what_is_certain_costs_no_bit_and_any_children_come_back_but_for_that(
        profiles: dict[int, Profile], bound: int, seed: int, spread: float, depth: int) -> None:
    prior = Prior(profiles[bound], CpuBackend(1))
    grid = Grid(64, 64)
    (tile,) = grid.tiles
    context = prior.frame(Seen(True, np.zeros((1, FILES.SYMBOLS, 4, 4), np.float32), None, np.ones((8, 8), np.bool_),
                               24), grid.shape)
    Given(prior, seed, spread)
    random = np.random.default_rng(seed)
    nodes = random.integers(0, 1 << depth - 1, (GROUPS, 8, 8)).astype(np.uint8)
    wanted = (nodes << np.uint8(1)) + random.integers(0, 2, nodes.shape).astype(np.uint8)
    state = TileState(GROUPS, tile, DEPTH)
    payload, became = write_section(prior, context, state, nodes, wanted, depth, SectionHead(False, 0), None)
    read, _ = read_section(prior, context, state, nodes, depth, SectionHead(False, 0), payload[1:], 0, None)
    assert (read == became).all() and (became >> 1 == nodes).all()
    classes: list[Nodes] = []
    seen: list[Mask] = []

    class Watching(Writer):
        def __call__(self, found: Nodes, mine: Mask) -> Nodes:
            seen.append(mine & (found == 0))
            return super().__call__(found, mine)

    step(prior, context, nodes, depth - 1, Watching(wanted & np.uint8(1), [], classes),
         previous=np.zeros(nodes.shape, np.int8))
    certain = seen[0] | seen[1]
    own = prior.tables.logits[depth - 1][np.arange(GROUPS)[:, None, None], nodes]
    summed = np.where(seen[0], prior._prior._logits[0, 0], prior._prior._logits[1, 0]) + own  # type: ignore[attr-defined]
    assert (became == wanted)[~certain].all()
    assert ((became & 1) == (summed >= 0))[certain].all() and (np.abs(summed[certain]) >= bound).all()
    if certain.all():
        assert len(payload) == 1, "a head and nothing else"


def test_samples_take_what_is_certain(profiles: dict[int, Profile]) -> None:
    prior = Prior(profiles[2], CpuBackend(1))
    grid = Grid(64, 64)
    (tile,) = grid.tiles
    context = prior.frame(Seen(True, np.zeros((1, FILES.SYMBOLS, 4, 4), np.float32), None, np.ones((8, 8), np.bool_),
                               24), grid.shape)
    Given(prior, 3, 4000)
    drawn = [sampled(prior, context, np.zeros((GROUPS, 8, 8), np.uint8), 0, tile, seed) for seed in (1, 2)]
    assert (drawn[0] == drawn[1]).all() and len(np.unique(drawn[0])) > 1
    classes = np.zeros((GROUPS, 8, 8), np.uint8)
    assert Sampler(1, 0, tile)(classes, np.ones(classes.shape, np.bool_)).max() <= 1


# ---- leaves and tables


@pytest.mark.parametrize("depth", range(DEPTH + 1))
def test_leaves_below_a_node_are_the_best_of_those(depth: int) -> None:
    random = np.random.default_rng(depth)
    tables = FILES.tables()
    tables = dataclasses.replace(tables, rate=random.uniform(0, 20, tables.rate.shape).astype(np.float32))
    palettes = Palettes(tables)
    vectors = random.normal(0, 3, (100, GROUPS, FILES.LATENT // GROUPS)).astype(np.float32)
    nodes = random.integers(0, 1 << depth, (100, GROUPS)).astype(np.uint8)
    found = palettes.leaves_below(nodes, depth, vectors, 30)
    assert (found >> np.uint8(DEPTH - depth) == nodes).all()
    apart = ((vectors[:, :, None] - palettes.vectors[-1][None]) ** 2).sum(-1) + tables.rate / tables.price[30][:, None]
    apart[np.arange(1 << DEPTH) >> (DEPTH - depth) != nodes[:, :, None]] = np.inf
    mine = np.take_along_axis(apart, found[:, :, None].astype(np.int64), 2)[:, :, 0]
    assert np.allclose(mine, apart.min(-1), rtol=1e-5)


@pytest.mark.parametrize("uncoded", [slice(0, 256), slice(100, 110), slice(0, 128), slice(128, 256)])
def test_tables_that_are_certain_of_what_they_know_nothing_of_are_refused(uncoded: slice) -> None:
    tables = FILES.tables()
    tables.classes[uncoded] = 0
    with pytest.raises(ProfileError, match="classes"):
        check_tables(tables, FILES.LATENT, "tables")


@pytest.mark.parametrize("depth", range(DEPTH + 1))
def test_what_is_sampled_lies_half_way_to_the_mean_of_four_draws_but_of_the_last_two_depths(
        profiles: dict[int, Profile], streams: dict[int, list[AccessUnit]], depth: int) -> None:
    (unit, frame), shown = (streams[BOUNDS[-1]][0], FRAMES[0]), {}
    for fill in ("mean", "sample"):
        decoder = TextureDecoder(profiles[BOUNDS[-1]], CpuBackend(1), limit=Depths(depth), fill=fill, seed=9)
        assert unit.sequence is not None
        decoder.begin(unit.sequence)
        shown[fill] = decoder.decode(unit, frame.seen)
    expected, prior = shown["mean"].copy(), decoder.prior
    whole = prior.frame(frame.seen, expected.shape[2:])
    for state in decoder.states if depth < DEPTH - 2 else ():
        rows, columns = state.tile.area
        assert state.depth == depth
        context = whole.of(state.tile.area)
        draws = [sampled(prior, context, state.nodes, depth, state.tile, 9, number) for number in range(4)]
        assert len({one.tobytes() for one in draws}) == 4
        drawn = np.mean([decoder.palettes[-1].residual(one, DEPTH, context.q) for one in draws], 0)
        part = expected[0, :, rows, columns]
        part[:] = 0.5 * part + 0.5 * drawn
    np.testing.assert_allclose(shown["sample"], expected, atol=1e-5)
    assert np.array_equal(shown["sample"], shown["mean"]) == (depth >= DEPTH - 2)
