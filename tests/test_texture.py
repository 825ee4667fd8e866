"""The texture layer in parts: depths and tiles, palettes, sections, and that samples have the coder's odds."""

from __future__ import annotations

import runpy
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview import BitstreamError, Depths, LimitError, Profile, ProfileError, TextureSettings, kernels
from duoview.backends import open_backend
from duoview.kernels import rans
from duoview.texture.adaptation import adapt
from duoview.texture.chain import Reader, Sampler, TileState, sampled, step
from duoview.texture.depths import read_map, write_map
from duoview.texture.geometry import Grid, depth_and_tile, sub_index
from duoview.texture.palettes import Palettes, chosen_leaves, read_changes, write_changes
from duoview.texture.prior import FrameContext, Nodes, Prior, ancestors
from duoview.texture.section import SectionHead, read_section, write_section
from duoview.texture.truncation import cut_to, hull
from duoview.texture.view import Seen

FILES = SimpleNamespace(**runpy.run_path(str(Path(__file__).with_name("texture_profile.py"))))
GROUPS, DEPTH = FILES.GROUPS, FILES.DEPTH


@pytest.fixture(scope="module")
def profile(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    found: Profile = FILES.write_profile(tmp_path_factory.mktemp("texture") / "profile")
    return found


@pytest.fixture(scope="module")
def prior(profile: Profile) -> Prior:
    return Prior(profile, open_backend("cpu", 1))


def context_of(prior: Prior, grid: Grid, *, key: bool = True, seed: int = 3) -> FrameContext:
    height, width = grid.shape
    decoded = FILES.Addressed(seed).integers(-400, 401, (1, FILES.SYMBOLS, height // 2, width // 2))
    return prior.frame(Seen(key, decoded.astype(np.float32), None, np.ones(grid.shape, np.bool_), 24), grid.shape)


def leaves_of(shape: tuple[int, ...], seed: int = 4) -> Nodes:
    found: Nodes = FILES.Addressed(seed).integers(0, 1 << DEPTH, shape).astype(np.uint8)
    return found


# ---- depths, tiles


def test_depths_are_written_as_they_are_read() -> None:
    depths = Depths.parse("2,0=6,3=0")
    assert (depths.of(0), depths.of(1), depths.of(3), depths.most()) == (6, 2, 0, 6)
    assert str(depths) == "2,0=6,3=0" and str(Depths.parse("4")) == "4"


@pytest.mark.parametrize("text", ["", "x", "9", "2,0", "2,0=9", "2,70000=1", "2,1=1,1=2", "-1"])
def test_depths_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(LimitError):
        Depths.parse(text)


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60))
def test_a_depth_map_comes_back(depths: list[int]) -> None:
    assert read_map(write_map(depths), len(depths), 6) == depths


@given(st.binary(max_size=12), st.integers(1, 40))
def test_any_bytes_are_the_one_form_of_a_depth_map_or_an_error(payload: bytes, tiles: int) -> None:
    try:
        depths = read_map(payload, tiles, 6)
    except BitstreamError:
        return
    assert write_map(depths) == payload and len(depths) == tiles


def test_tiles_cover_the_latent_once_and_a_sub_index_names_depth_and_tile() -> None:
    grid = Grid(640, 360, 5)
    seen = np.zeros(grid.shape, int)
    for tile in grid.tiles:
        seen[tile.area] += 1
    assert (seen == 1).all() and grid.count == len(grid.tiles) == 6
    assert depth_and_tile(sub_index(3, 70)) == (3, 70)
    with pytest.raises(LimitError):
        sub_index(9, 0)
    with pytest.raises(LimitError):
        Grid(64, 64, 2)


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in ({"frames": "some"}, {"bit_rate": -1}, {"tile_log2": 9}):
        with pytest.raises(LimitError):
            TextureSettings(Depths(2), **wrong)


# ---- profiles


def test_a_profile_without_texture_says_so_and_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match=r"no texture layer; train one with"):
        FILES.without_texture(tmp_path / "plain").texture()


def test_the_networks_are_verified_with_golden_vectors(profile: Profile) -> None:
    results = profile.verify()
    assert {"texture_features", "texture_means", "texture_prior"} <= {result.network for result in results}
    assert all(result.passed for result in results)


def test_a_damaged_table_is_refused(profile: Profile, tmp_path: Path) -> None:
    other = FILES.write_profile(tmp_path / "p")
    path = other.folder / "texture.npz"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ProfileError, match="sha256"):
        Profile(other.folder).texture()


# ---- palettes


def test_changes_of_a_palette_come_back_and_move_what_is_below() -> None:
    palettes = Palettes(FILES.tables())
    changes = FILES.Addressed(5).integers(-3, 4, palettes.nodes[1].shape).astype(np.int16)
    found, shift = read_changes(write_changes(changes, 2, 40), changes.shape)
    assert (found == changes).all() and shift == 2
    moved = palettes.changed(1, found, shift)
    for depth in range(1, DEPTH + 1):
        expected = (changes.astype(np.int32) << 2).repeat(1 << depth - 1, 1)
        assert (moved.nodes[depth] - palettes.nodes[depth] == expected).all()
    assert (moved.nodes[0] == palettes.nodes[0]).all() and moved.adapted == 1


@given(st.binary(max_size=40))
def test_any_bytes_are_changes_in_range_or_an_error(payload: bytes) -> None:
    try:
        changes, shift = read_changes(payload, (2, 2, 3))
    except BitstreamError:
        return
    assert np.abs(changes).max() <= 127 and 0 <= shift <= 12


def test_palettes_adapt_to_content_that_is_not_theirs_and_only_then() -> None:
    palettes = Palettes(FILES.tables())
    random = FILES.Addressed(6)
    own = palettes.vectors[-1][np.arange(GROUPS), random.integers(0, 1 << DEPTH, (600, GROUPS))]
    assert adapt(palettes, np.ascontiguousarray(own), 24, 1e-3)[1] == []
    shifted = np.ascontiguousarray(own + np.float32(1))
    adapted, payloads = adapt(palettes, shifted, 24, 1.0)
    assert payloads
    before, after = (one.errors(shifted, one.leaves_of(shifted, 24), DEPTH, 24).mean() for one in (palettes, adapted))
    assert after < before / 2


def test_a_leaf_is_chosen_by_error_and_rate() -> None:
    vectors = np.array([[[0.4]], [[0.6]], [[2.0]]], np.float32)
    leaves = np.array([[[0.0], [1.0]]], np.float32)
    rate = np.array([[1.0, 3.0]], np.float32)

    def chosen(price: float) -> list[int]:
        found: list[int] = chosen_leaves(vectors, leaves, rate, np.array([price], np.float32))[:, 0].tolist()
        return found

    # Squared errors 0.16 and 0.36, 0.36 and 0.16, 4 and 1; the second leaf costs two bits more.
    assert chosen(1000) == [0, 1, 1] and chosen(5) == [0, 0, 1] and chosen(0.5) == [0, 0, 0]


# ---- sections


def code(prior: Prior, context: FrameContext, state: TileState, leaves: Nodes, refresh: bool = True) -> list[bytes]:
    return [write_section(prior, context, state, ancestors(leaves, DEPTH - depth + 1), ancestors(leaves, DEPTH - depth),
                          depth, SectionHead(False, 0 if refresh else 1), None)[0] for depth in range(1, DEPTH + 1)]


def test_nodes_of_every_depth_come_back(prior: Prior) -> None:
    grid = Grid(192, 128, 4)
    context = context_of(prior, grid)
    for tile in grid.tiles:
        state = TileState(GROUPS, tile, DEPTH)
        leaves, part = leaves_of((GROUPS, tile.height, tile.width), tile.number), context.of(tile.area)
        nodes: Nodes = np.zeros_like(leaves)
        for depth, payload in enumerate(code(prior, part, state, leaves), 1):
            head, at = SectionHead.read(payload)
            nodes, _ = read_section(prior, part, state, nodes, depth, head, payload[at:], 0, None)
            assert (nodes == leaves >> DEPTH - depth).all()


@pytest.mark.parametrize("path", rans.paths())
def test_every_path_of_the_entropy_coder_reads_the_same_nodes(prior: Prior, path: str) -> None:
    grid = Grid(128, 128)
    context, (tile,) = context_of(prior, grid), grid.tiles
    state, leaves = TileState(GROUPS, tile, DEPTH), leaves_of((GROUPS, 16, 16))
    nodes: Nodes = np.zeros_like(leaves)
    for depth, payload in enumerate(code(prior, context, state, leaves)):
        decoder = kernels.Decoder(payload[1:], path=path)
        nodes = step(prior, context, nodes, depth, Reader(decoder), previous=np.zeros(nodes.shape, np.int8))
        decoder.finish()
    assert (nodes == leaves).all()


def test_threads_change_no_class(profile: Profile, prior: Prior) -> None:
    grid = Grid(256, 192)
    nodes = ancestors(leaves_of((GROUPS, *grid.shape)), 1)
    nothing = np.zeros(nodes.shape, np.int8)
    one = prior.at(context_of(prior, grid), nodes, 3, nothing).decisions(nothing, 0).classes
    many = Prior(profile, open_backend("cpu", 3))
    assert (many.at(context_of(many, grid), nodes, 3, nothing).decisions(nothing, 0).classes == one).all()
    assert len(np.unique(one)) > 20


def test_what_the_frame_before_had_is_context_only_where_it_is_known_and_the_same_node(prior: Prior) -> None:
    (tile,) = Grid(64, 64).tiles
    state = TileState(GROUPS, tile, DEPTH)
    leaves = leaves_of((GROUPS, 8, 8))
    state.take(leaves, DEPTH, DEPTH, 0)
    moved = np.zeros((8, 8), np.bool_)
    moved[0] = True
    state.forget(moved)
    parents = ancestors(leaves, 2)
    parents[:, 1] ^= 1
    seen = state.previous(parents, 2)
    assert (seen[:, :2] == 0).all()
    assert (seen[:, 2:] == (leaves >> 1 & 1)[:, 2:].astype(int) * 2 - 1).all()
    assert (TileState(GROUPS, tile, DEPTH).previous(parents, 2) == 0).all()


@given(st.data())
def test_a_changed_section_is_refused_or_gives_nodes(prior: Prior, data: st.DataObject) -> None:
    (tile,) = Grid(64, 64).tiles
    context, state = context_of(prior, Grid(64, 64)), TileState(GROUPS, tile, DEPTH)
    payload = bytearray(code(prior, context, state, leaves_of((GROUPS, 8, 8)))[0])
    at = data.draw(st.integers(0, len(payload) - 1))
    payload[at] ^= data.draw(st.integers(1, 255))
    try:
        head, symbols = SectionHead.read(bytes(payload))
        roots = np.zeros((GROUPS, 8, 8), np.uint8)
        nodes, _ = read_section(prior, context, state, roots, 1, head, bytes(payload[symbols:]), 0, None)
    except BitstreamError:
        return
    assert nodes.max() <= 1


# ---- sampling


def test_samples_depend_on_seed_and_place_alone(prior: Prior) -> None:
    grid = Grid(128, 128, 3)
    classes = leaves_of((GROUPS, 8, 8), 9) + np.uint8(100)
    mine = np.ones(classes.shape, np.bool_)
    first, second = (Sampler(7, 2, tile)(classes, mine) for tile in grid.tiles[:2])
    assert (first == Sampler(7, 2, grid.tiles[0])(classes, mine)).all()
    assert (first != second).any() and (first != Sampler(8, 2, grid.tiles[0])(classes, mine)).any()
    assert (first != Sampler(7, 3, grid.tiles[0])(classes, mine)).any()


def test_samples_are_drawn_with_the_coders_probabilities(prior: Prior) -> None:
    (tile,) = Grid(512, 512).tiles
    for class_, share in ((64, 0.5 / 128), (128, 64.5 / 128), (180, 116.5 / 128)):
        classes = np.full((GROUPS, 64, 64), class_, np.uint8)
        found = float(Sampler(1, 0, tile)(classes, np.ones(classes.shape, np.bool_)).mean())
        assert abs(found - share) < 4 * (share * (1 - share) / classes.size) ** 0.5


def test_leaves_that_are_sampled_lie_below_the_nodes_that_are_known(prior: Prior) -> None:
    grid = Grid(128, 64)
    (tile,) = grid.tiles
    nodes = ancestors(leaves_of((GROUPS, 8, 16)), 2)
    leaves = sampled(prior, context_of(prior, grid), nodes, 2, tile, 11)
    assert (leaves >> 2 == nodes).all() and len(np.unique(leaves & 3)) == 4


# ---- cutting to a rate


def test_the_hull_skips_what_is_not_worth_it_alone() -> None:
    assert [step[0] for step in hull([100, 10], [50.0, 49.0, 10.0])] == [2]
    assert [step[0] for step in hull([10, 10], [50.0, 20.0, 10.0])] == [1, 2]
    assert hull([10], [5.0, 6.0]) == []


def test_bytes_go_where_they_take_most_error_away() -> None:
    tiles = [([10, 10], [100.0, 10.0, 9.0]), ([10, 10], [20.0, 10.0, 0.0])]
    assert cut_to(0, tiles) == [0, 0]
    assert cut_to(10, tiles) == [1, 0]
    assert cut_to(30, tiles) == [1, 2]
    assert cut_to(1000, tiles) == [2, 2]
