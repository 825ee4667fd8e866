"""The CUDA programs of the texture layer, run on the CPU lane by lane."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from duoview.kernels import checkerboard, palette
from duoview.kernels.cuda import Device
from duoview.kernels.cuda_driver import HostDriver

DEVICES = st.sampled_from([Device.on_cpu(), Device.on(HostDriver(backwards=True))])
DEVICE = Device.on_cpu()
SEEDS = st.integers(0, 2**32 - 1)
GROUPS, HEIGHT, WIDTH = 3, 16, 40
SHAPE = GROUPS, HEIGHT, WIDTH


def nodes_of(depth: int, seed: int = 0, shape: tuple[int, ...] = SHAPE) -> Any:
    return np.random.default_rng(seed).integers(0, 1 << depth, shape).astype(np.uint8)


def status_word() -> Any:
    return np.zeros(1, np.uint64)


def mask_of(half: int) -> Any:
    """(G, H, W), True for the half's places."""
    places: Any = np.arange(GROUPS * HEIGHT * WIDTH, dtype=np.int16).reshape(SHAPE)
    found = np.zeros(SHAPE, bool)
    found.reshape(-1)[checkerboard.gather(places, half)] = True
    return found


@given(DEVICES, SEEDS, st.integers(0, 8), st.integers(1, 5))
def test_networks_see_of_nodes_what_the_table_says(device: Device, seed: int, depth: int, numbers: int) -> None:
    nodes = nodes_of(depth, seed)
    table = np.random.default_rng(seed).integers(-127, 128, (GROUPS, 1 << depth, numbers)).astype(np.float32)
    planes = np.zeros((1, GROUPS * numbers, HEIGHT, WIDTH), np.float32)
    device.embed_nodes(nodes, table, planes)
    expected = np.stack([table[group][nodes[group]] for group in range(GROUPS)]).transpose(0, 3, 1, 2)
    np.testing.assert_array_equal(planes.reshape(expected.shape), expected)


@given(DEVICES, SEEDS, st.integers(0, 5), st.integers(1, 3))
def test_children_of_the_frame_before_are_told_where_the_node_is_the_same(device: Device, seed: int, depth: int,
                                                                          deeper: int) -> None:
    rng = np.random.default_rng(seed)
    before, known = nodes_of(depth + deeper, seed), rng.random((HEIGHT, WIDTH)) < 0.7
    nodes = np.where(rng.random(SHAPE) < 0.2, nodes_of(depth, seed + 1), before >> deeper).astype(np.uint8)
    signs = np.full((1, *SHAPE), 9, np.float32)
    device.previous_children(before, known.astype(np.uint8), nodes, signs, levels=deeper - 1)
    children = before >> (deeper - 1)
    same = known & (children >> 1 == nodes)
    assert same.any() and not same.all()
    np.testing.assert_array_equal(signs[0], np.where(same, (children & 1) * 128.0 - 64, 0))


@given(DEVICES, SEEDS, st.integers(0, 1), st.booleans())
def test_decisions_are_coded_certain_or_held(device: Device, seed: int, half: int, masked: bool) -> None:
    rng, depth = np.random.default_rng(seed), 3
    logits, nodes = rng.integers(-128, 128, (1, *SHAPE)).astype(np.int16), nodes_of(depth, seed)
    own = rng.integers(-100, 101, (GROUPS, 1 << depth)).astype(np.int8)
    table = np.clip(np.arange(256) // 2 + 64, 64, 191).astype(np.uint8)
    table[:40] = table[-40:] = 0
    held = (rng.random((HEIGHT, WIDTH)) < 0.3).astype(np.uint8) if masked else None
    previous = 64 * rng.integers(-1, 2, (1, *SHAPE)).astype(np.float32)
    classes, fixed = (np.full(SHAPE, 99, np.uint8) for _ in range(2))
    device.child_classes(logits, nodes, own, table, half, previous=previous, classes=classes, fixed=fixed, held=held)
    mine = mask_of(half)
    summed = np.clip(logits[0] + np.stack([own[g][nodes[g]] for g in range(GROUPS)]).astype(np.int32), -128, 127)
    plain = table[summed + 128]
    keeps = np.zeros(SHAPE, bool) if held is None else np.broadcast_to(held > 0, SHAPE)
    np.testing.assert_array_equal(classes, np.where(mine, np.where(keeps, 0, plain), 99))
    child = np.where(keeps, previous[0] > 0, np.where(plain == 0, summed >= 0, 2))
    np.testing.assert_array_equal(fixed, np.where(mine, child, 99))


@given(DEVICES, SEEDS, st.integers(1, 7))
def test_what_is_offered_is_what_is_taken(device: Device, seed: int, depth: int) -> None:
    rng = np.random.default_rng(seed)
    wanted = nodes_of(depth + 1, seed)
    nodes, fixed = (wanted >> 2).astype(np.uint8), rng.integers(0, 3, SHAPE).astype(np.uint8)
    if depth == 1:
        nodes = np.zeros_like(nodes)
    children, again, signs = np.zeros(SHAPE, np.uint8), np.zeros(SHAPE, np.uint8), np.zeros((1, *SHAPE), np.float32)
    for half in (0, 1):
        coded: Any = np.full(checkerboard.size(SHAPE, half), 7, np.int16)
        device.offer_children(wanted, fixed, nodes, half, levels=1, coded=coded, children=children, decided=signs)
        free = checkerboard.gather(fixed, half) == 2
        np.testing.assert_array_equal(coded[~free], 0)
        device.take_children(coded, fixed, nodes, half, children=again, decided=signs)
    bits = np.where(fixed == 2, wanted >> 1 & 1, fixed)
    np.testing.assert_array_equal(children, nodes * 2 + bits)
    np.testing.assert_array_equal(again, children)
    np.testing.assert_array_equal(signs[0], 128.0 * bits - 64)


@given(DEVICES, SEEDS, st.integers(0, 1), st.integers(0, 2**64 - 1), st.integers(0, 7), st.integers(0, 3))
def test_children_are_drawn_as_by_sample_child(device: Device, seed: int, half: int, key: int, depth: int, draw: int
                                               ) -> None:
    rng = np.random.default_rng(seed)
    classes, fixed = rng.integers(64, 192, SHAPE).astype(np.uint8), np.full(SHAPE, 2, np.uint8)
    nodes, children = np.zeros(SHAPE, np.uint8), np.full(SHAPE, 9, np.uint8)
    top, left = (int(one) for one in rng.integers(0, 500, 2))
    device.draw_children(classes, fixed, nodes, half, children=children, decided=np.zeros((1, *SHAPE), np.float32),
                         seed=key, draw=draw, depth=depth, top=top, left=left, row_positions=2048)
    expected = np.stack([[palette.sample_child(np.zeros(WIDTH, np.uint8), classes[group, row], seed=key,
                                               stream=draw << 16 | depth << 8 | group, offset=(top + row) * 2048 + left)
                          for row in range(HEIGHT)] for group in range(GROUPS)])
    np.testing.assert_array_equal(children, np.where(mask_of(half), expected, 9))


@given(DEVICES, SEEDS)
def test_blocks_without_a_flag_are_held(device: Device, seed: int) -> None:
    rng = np.random.default_rng(seed)
    flags = rng.integers(0, 2, HEIGHT * WIDTH // 64).astype(np.int16)
    held, status = np.full((HEIGHT, WIDTH), 7, np.uint8), status_word()
    device.held_positions(flags, np.ones((HEIGHT, WIDTH), np.uint8), held, status)
    device.check(status)
    np.testing.assert_array_equal(held, (flags.reshape(HEIGHT // 8, -1) == 0).repeat(8, 0).repeat(8, 1))


def test_a_held_position_that_nobody_knows_is_told() -> None:
    known, status = np.ones((HEIGHT, WIDTH), np.uint8), status_word()
    known[9, 12] = known[15, 39] = 0
    flags: Any = np.zeros(HEIGHT * WIDTH // 64, np.int16)
    DEVICE.held_positions(flags, known, np.zeros((HEIGHT, WIDTH), np.uint8), status)
    with pytest.raises(ValueError, match=f"flags holds a block with position {9 * WIDTH + 12}, which is not known"):
        DEVICE.check(status)
    flags[:] = 1
    flags[0] = 0
    DEVICE.held_positions(flags, known, np.zeros((HEIGHT, WIDTH), np.uint8), status)
    DEVICE.check(status)


@given(DEVICES, SEEDS, st.booleans(), st.booleans(), st.booleans())
def test_nodes_are_looked_up_where_they_are_not_held(device: Device, seed: int, masked: bool, mixed: bool,
                                                     nothing: bool) -> None:
    rng, channels = np.random.default_rng(seed), 6
    nodes, others = nodes_of(3, seed), nodes_of(5, seed + 1)
    table, other_table = (rng.standard_normal((GROUPS, count, channels)).astype(np.float32) for count in (8, 32))
    held = (rng.random((HEIGHT, WIDTH)) < 0.3).astype(np.uint8) if masked else None
    planes = rng.standard_normal((1, channels, 30, 60)).astype(np.float32)
    expected = planes.copy()
    more: dict[str, Any] = {"others": others, "other_table": other_table, "share": np.array([0.5], np.float32)}
    device.look_up_nodes(nodes, None if nothing else table, planes, top=5, left=11, held=held,
                         **(more if mixed else {}))
    found = sum(table[g][nodes[g]] for g in range(GROUPS)) * (not nothing)
    if mixed:
        found = found + 0.5 * (sum(other_table[g][others[g]] for g in range(GROUPS)) - found)
    part = expected[0, :, 5:5 + HEIGHT, 11:11 + WIDTH]
    keeps = np.zeros((HEIGHT, WIDTH), bool) if held is None else held > 0
    part[:] = np.where(keeps, part, np.asarray(found).transpose(2, 0, 1))
    np.testing.assert_allclose(planes, expected, atol=1e-5)


@given(DEVICES, SEEDS, st.booleans())
def test_what_planes_hold_goes_a_share_towards_what_nodes_stand_for(device: Device, seed: int, masked: bool) -> None:
    rng, channels = np.random.default_rng(seed), 6
    nodes, table = nodes_of(5, seed), rng.standard_normal((GROUPS, 32, channels)).astype(np.float32)
    held = (rng.random((HEIGHT, WIDTH)) < 0.3).astype(np.uint8) if masked else None
    planes = rng.standard_normal((1, channels, 30, 60)).astype(np.float32)
    expected = planes.copy()
    device.look_up_nodes(None, None, planes, top=5, left=11, held=held, others=nodes, other_table=table,
                         share=np.array([0.2], np.float32))
    part = expected[0, :, 5:5 + HEIGHT, 11:11 + WIDTH]
    wanted = sum(table[g][nodes[g]] for g in range(GROUPS)).transpose(2, 0, 1)
    share = np.full((HEIGHT, WIDTH), 0.2) if held is None else 0.2 * (held == 0)
    part[:] = part + share * (wanted - part)
    np.testing.assert_allclose(planes, expected, atol=1e-5)


def test_a_share_without_nodes_or_with_a_table_of_none_is_refused() -> None:
    nodes, table = nodes_of(3, 1), np.zeros((GROUPS, 8, 6), np.float32)
    planes: Any = np.zeros((1, 6, HEIGHT, WIDTH), np.float32)
    for given_table, others in ((None, None), (table, nodes)):
        with pytest.raises(ValueError, match="no nodes: expected others, and no table"):
            DEVICE.look_up_nodes(None, given_table, planes, top=0, left=0, others=others, other_table=table,
                                 share=np.zeros(1, np.float32))


@given(DEVICES, SEEDS, st.integers(1, 4), st.integers(1, 20), st.integers(1, 40), st.booleans())
def test_what_a_frame_may_have_changed_is_around_its_symbols_and_where_it_moves(
        device: Device, seed: int, channels: int, height: int, width: int, moves: bool) -> None:
    rng = np.random.default_rng(seed)
    symbols = (rng.random((channels, height, width)) < 0.02).astype(np.int16) * -3
    moving = (rng.random((height, width)) < 0.1).astype(np.uint8) if moves else None
    found, coded = np.full((2 * height, 2 * width), 9, np.uint8), np.zeros((height, width), np.uint8)
    device.touched(symbols, found, coded, moving=moving)
    coded_around = np.pad(symbols.any(0), 1)
    near = np.zeros((height, width), bool)
    for down in range(3):
        for right in range(3):
            near |= coded_around[down:down + height, right:right + width]
    expected = near.repeat(2, 0).repeat(2, 1)
    if moving is not None:
        expected = expected | (moving > 0).repeat(2, 0).repeat(2, 1)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_marked_positions_become_zero(dtype: type) -> None:
    rng = np.random.default_rng(1)
    planes: Any = rng.integers(1, 99, (2, HEIGHT, WIDTH)).astype(dtype)
    marked = (rng.random((50, 90)) < 0.5).astype(np.uint8)
    output = np.zeros_like(planes)
    DEVICE.without_marked(planes, marked, output, top=30, left=45)
    expected = np.where(marked[30:30 + HEIGHT, 45:45 + WIDTH] > 0, 0, planes)
    np.testing.assert_array_equal(output, expected)
    DEVICE.without_marked(planes, marked, planes, top=30, left=45)
    np.testing.assert_array_equal(planes, expected)


def test_a_part_of_a_plane_is_marked_where_it_is_not_held() -> None:
    plane, held = np.zeros((20, 30), np.uint8), np.zeros((4, 5), np.uint8)
    held[1, 2] = 1
    DEVICE.mark_positions(plane, 6, (3, 7, 4, 5), held=held)
    assert plane.sum() == 6 * 19 and plane[4, 9] == 0 and (plane[3:7, 7:12] == np.where(held, 0, 6)).all()


@given(DEVICES, SEEDS, st.integers(1, 4), st.booleans())
def test_vectors_are_those_that_leaves_are_sought_for(device: Device, seed: int, numbers: int, below: bool) -> None:
    rng = np.random.default_rng(seed)
    components = rng.standard_normal((1, GROUPS * numbers, 30, 60)).astype(np.float32)
    scale, nodes = (0.5 + rng.random(GROUPS)).astype(np.float32), nodes_of(3, seed)
    vectors = np.full((HEIGHT * WIDTH, GROUPS, numbers + 1 + below), 9, np.float32)
    apart = np.array([2.0**40], np.float32)
    device.gather_vectors(components, scale, vectors, (5, 11, HEIGHT, WIDTH), nodes=nodes if below else None,
                          apart=apart if below else None)
    part = components[0, :, 5:5 + HEIGHT, 11:11 + WIDTH].reshape(GROUPS, numbers, -1).transpose(2, 0, 1)
    np.testing.assert_array_equal(vectors[:, :, :numbers], part / scale[:, None])
    assert not vectors[:, :, numbers].any()
    if below:
        np.testing.assert_array_equal(vectors[:, :, -1], nodes.reshape(GROUPS, -1).T * np.float32(2.0**40))


def test_leaves_are_taken_everywhere_or_where_the_node_is_another() -> None:
    found, leaves = nodes_of(6, 1, (HEIGHT * WIDTH, GROUPS)), nodes_of(6, 2)
    before, nodes = leaves.copy(), np.where(nodes_of(1, 3) > 0, leaves >> 2, nodes_of(4, 4)).astype(np.uint8)
    ordered = found.T.reshape(SHAPE)
    DEVICE.take_leaves(found, leaves, nodes=nodes, levels=2)
    np.testing.assert_array_equal(leaves, np.where(before >> 2 == nodes, before, ordered))
    DEVICE.take_leaves(found, leaves)
    np.testing.assert_array_equal(leaves, ordered)


@given(DEVICES, SEEDS)
def test_positions_that_are_held_take_the_leaves_of_before(device: Device, seed: int) -> None:
    found, before, leaves = nodes_of(6, seed, (HEIGHT * WIDTH, GROUPS)), nodes_of(6, seed + 1), nodes_of(6, seed + 2)
    held = (np.random.default_rng(seed).random((HEIGHT, WIDTH)) < 0.4).astype(np.uint8)
    device.take_leaves(found, leaves, held=held, before=before)
    np.testing.assert_array_equal(leaves, np.where(held > 0, before, found.T.reshape(SHAPE)))


@given(DEVICES, SEEDS, st.integers(0, 8), st.integers(1, 5), st.integers(0, 2))
def test_errors_of_nodes_are_those_of_the_host_to_the_bit(device: Device, seed: int, depth: int, numbers: int,
                                                          beside: int) -> None:
    rng = np.random.default_rng(seed)
    vectors = rng.standard_normal((HEIGHT * WIDTH, GROUPS, numbers + beside)).astype(np.float32)
    table = rng.standard_normal((GROUPS, 1 << depth, numbers)).astype(np.float32)
    scale, factor = rng.random(GROUPS).astype(np.float32), rng.random(1).astype(np.float32)
    nodes, errors = nodes_of(depth, seed), np.full((HEIGHT, WIDTH), 9, np.float32)
    device.node_errors(vectors, nodes, table, errors, scale=scale, factor=factor)
    expected = palette.node_errors(np.ascontiguousarray(vectors[:, :, :numbers]),
                                   np.ascontiguousarray(nodes.reshape(GROUPS, -1).T), table, scale, float(factor[0]))
    np.testing.assert_array_equal(errors.reshape(-1), expected)


def test_where_there_are_no_nodes_yet_all_of_a_vector_is_error() -> None:
    vectors = np.random.default_rng(5).standard_normal((HEIGHT * WIDTH, GROUPS, 4)).astype(np.float32)
    errors, scale = np.zeros((HEIGHT, WIDTH), np.float32), np.ones(GROUPS, np.float32)
    DEVICE.node_errors(vectors, nodes_of(3), None, errors, scale=scale, factor=np.ones(1, np.float32))
    np.testing.assert_allclose(errors.reshape(-1), np.square(vectors[:, :, :3]).sum((1, 2)), rtol=1e-5)


def test_vectors_that_are_shorter_than_nodes_are_refused() -> None:
    with pytest.raises(ValueError, match=r"table has shape \(3, 8, 5\); \(3, 8, 4\) is needed"):
        DEVICE.node_errors(np.zeros((HEIGHT * WIDTH, GROUPS, 4), np.float32), nodes_of(3),
                           np.zeros((GROUPS, 8, 5), np.float32), np.zeros((HEIGHT, WIDTH), np.float32),
                           scale=np.ones(GROUPS, np.float32), factor=np.ones(1, np.float32))


def test_what_is_not_as_it_must_be_is_refused_by_name() -> None:
    nodes, planes = nodes_of(2), np.zeros((1, 6, HEIGHT, WIDTH), np.float32)
    table = np.zeros((GROUPS, 4, 2), np.float32)
    with pytest.raises(ValueError, match=r"planes has shape \(1, 6, 16, 40\); \(1, 9, 16, 40\) is needed"):
        DEVICE.embed_nodes(nodes, np.zeros((GROUPS, 4, 3), np.float32), planes)
    with pytest.raises(TypeError, match="nodes is an array of int16; uint8 is needed"):
        DEVICE.embed_nodes(nodes.astype(np.int16), table, planes)
    with pytest.raises(ValueError, match=r"the nodes' place is \(0, 1, 16, 40\).*a part of 16 rows and 40 columns"):
        DEVICE.look_up_nodes(nodes, np.zeros((GROUPS, 4, 6), np.float32), planes, top=0, left=1)
    with pytest.raises(ValueError, match="children and nodes are one array"):
        DEVICE.take_children(np.zeros(960, np.int16), nodes, nodes, 0, children=nodes,
                             decided=np.zeros((1, *SHAPE), np.float32))
    with pytest.raises(ValueError, match=r"held has shape \(15, 40\); multiples of 8 are needed"):
        DEVICE.held_positions(np.zeros(9, np.int16), np.zeros((15, 40), np.uint8), np.zeros((15, 40), np.uint8),
                              status_word())
    with pytest.raises(ValueError, match="half is 2"):
        DEVICE.child_classes(np.zeros((1, *SHAPE), np.int16), nodes, np.zeros((GROUPS, 4), np.int8),
                             np.zeros(256, np.uint8), 2, previous=np.zeros((1, *SHAPE), np.float32), classes=nodes,
                             fixed=nodes)
    signs, found = np.zeros((1, *SHAPE), np.float32), np.zeros((HEIGHT * WIDTH, GROUPS), np.uint8)
    for levels in (-1, 8):
        with pytest.raises(ValueError, match=rf"levels is {levels}; 0\.\.7 is needed"):
            DEVICE.offer_children(nodes, nodes, nodes, 0, levels=levels, coded=np.zeros(960, np.int16),
                                  children=nodes.copy(), decided=signs)
        with pytest.raises(ValueError, match=rf"levels is {levels}; 0\.\.7 is needed"):
            DEVICE.take_leaves(found, nodes.copy(), nodes=nodes, levels=levels)
    for draw, depth, row in ((0, 8, 0), (0, 0, -1), (-1, 0, 0), (1 << 48, 0, 0)):
        with pytest.raises(ValueError, match=f"row_positions are 0, {draw}, {depth}, 0, 0, {row}; 0 or more, a seed "):
            DEVICE.draw_children(nodes, nodes, nodes, 0, children=nodes.copy(), decided=signs, seed=0, draw=draw,
                                 depth=depth, top=0, left=0, row_positions=row)
