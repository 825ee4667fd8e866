// All warp programs by name. A program is a struct whose members are pointers and numbers of 64 bits, 8 bytes each, so that its
// arguments are the same array of words for a kernel's launch and for the CPU; run(warp, item) is what one warp does.
#pragma once

#include "duoview/warp_checkerboard.hpp"
#include "duoview/warp_compaction.hpp"
#include "duoview/warp_decode.hpp"
#include "duoview/warp_encode.hpp"
#include "duoview/warp_gains.hpp"
#include "duoview/warp_motion_band.hpp"
#include "duoview/warp_noise.hpp"
#include "duoview/warp_palette.hpp"
#include "duoview/warp_pictures.hpp"
#include "duoview/warp_planes.hpp"
#include "duoview/warp_posterior.hpp"
#include "duoview/warp_shift.hpp"
#include "duoview/warp_texture.hpp"
#include "duoview/warp_tree.hpp"
#include "duoview/warp_windows.hpp"

// X(name, program) where the program reads global memory only; Y(name, program, tables) where its `tables` are copied to
// shared memory first.
#define DUOVIEW_WARP_PROGRAMS(X, Y)                           \
    X(fill_words, FillWords)                                  \
    X(count_classes, CountClasses)                            \
    X(count_symbols, CountSymbols)                            \
    X(sum_tiles, SumTiles)                                    \
    X(pack_classes, PackClasses)                              \
    X(spread_symbols, SpreadSymbols)                          \
    X(open_stream, OpenStream)                                \
    X(open_chunks, OpenChunks)                                \
    X(begin_decode, BeginDecode)                              \
    Y(decode_chunks, DecodeChunks, WarpDecodeTables)          \
    X(finish_stream, FinishStream)                            \
    X(begin_encode, BeginEncode)                              \
    X(pack_symbols, PackSymbols)                              \
    X(place_words, PlaceWords)                                \
    Y(encode_chunks, EncodeChunks, WarpEncodeTables)          \
    X(place_chunks, PlaceChunks)                              \
    X(gather_chunks, GatherChunks)                            \
    X(philox, PhiloxNoise)                                    \
    Y(normals, NormalNoise, NormalTable)                      \
    X(sample_child, SampleChild)                              \
    X(gather_classes, GatherClasses)                          \
    X(gather_symbols, GatherSymbols)                          \
    X(quantise_half, QuantiseHalf)                            \
    X(dequantise_half, DequantiseHalf)                        \
    X(pad_picture, PadPicture)                                \
    X(widen_symbols, WidenSymbols)                            \
    X(narrow_values, NarrowValues)                            \
    X(embed_nodes, EmbedNodes)                                \
    X(previous_children, PreviousChildren)                    \
    X(child_classes, ChildClasses)                            \
    X(take_children, TakeChildren)                            \
    X(offer_children, OfferChildren)                          \
    X(draw_children, DrawChildren)                            \
    X(held_positions, HeldPositions)                          \
    X(look_up_nodes, LookUpNodes)                             \
    X(mark_positions, MarkPositions)                          \
    X(floats_without_marked, FloatsWithoutMarked)             \
    X(bytes_without_marked, BytesWithoutMarked)               \
    X(coded_positions, CodedPositions)                        \
    X(touched_positions, TouchedPositions)                    \
    X(gather_vectors, GatherVectors)                          \
    X(take_leaves, TakeLeaves)                                \
    X(node_errors, NodeErrors)                                \
    X(cut_window, CutWindow)                                  \
    X(blend_window, BlendWindow)                              \
    X(find_difference, FindDifference)                        \
    X(add_noise, AddNoise)                                    \
    X(channels_first, ChannelsFirst)                          \
    X(add_scaled, AddScaled)                                  \
    X(known_residual, KnownResidual)                          \
    X(apply_change, ApplyChange)                              \
    X(sum_generated, SumGenerated)                            \
    X(picture_to_nv12, PictureToNv12)                         \
    X(nv12_to_picture, Nv12ToPicture)                         \
    X(gain_classes, GainClasses)                              \
    X(gain_values, GainValues)                                \
    X(gain_decoded, GainDecoded)                              \
    X(picture_luma, PictureLuma)                              \
    X(update_reference, UpdateReference)                      \
    X(extend_plane, ExtendPlane)                              \
    X(shrink_plane, ShrinkPlane)                              \
    X(zero_differences, ZeroDifferences)                      \
    X(search_cells, SearchCells)                              \
    X(band_motion, BandMotion)                                \
    X(round_latent, RoundLatent)                              \
    X(compensate_cells, CompensateCells)                      \
    X(vector_errors, VectorErrors)                            \
    X(check_leaves, CheckLeaves)                              \
    X(nearest, NearestLeaf)                                   \
    X(grid_vectors, GridVectors)                              \
    X(tree_sums, TreeSums)                                    \
    X(tree_spread, TreeSpread)                                \
    X(check_weight, CheckWeight)                              \
    X(tree_centres, TreeCentres)                              \
    X(tree_widest, TreeWidest)                                \
    X(tree_split, TreeSplit)                                  \
    X(tree_offsets, TreeOffsets)                              \
    X(tree_assign, TreeAssign)                                \
    X(tree_settle, TreeSettle)                                \
    X(tree_move, TreeMove)                                    \
    X(tree_nodes, TreeNodes)                                  \
    Y(posterior_uniform_16, PosteriorUniform<1>, OctaveTable) \
    Y(posterior_uniform_32, PosteriorUniform<2>, OctaveTable) \
    Y(posterior_uniform_64, PosteriorUniform<4>, OctaveTable) \
    Y(posterior_uniform_128, PosteriorUniform<8>, OctaveTable)\
    Y(posterior_uniform_256, PosteriorUniform<16>, OctaveTable)\
    Y(posterior_absorbing_16, PosteriorAbsorbing<1>, OctaveTable)\
    Y(posterior_absorbing_32, PosteriorAbsorbing<2>, OctaveTable)\
    Y(posterior_absorbing_64, PosteriorAbsorbing<4>, OctaveTable)\
    Y(posterior_absorbing_128, PosteriorAbsorbing<8>, OctaveTable)\
    Y(posterior_tree_16, PosteriorTree<1>, OctaveTable)       \
    Y(posterior_tree_32, PosteriorTree<2>, OctaveTable)       \
    Y(posterior_tree_64, PosteriorTree<4>, OctaveTable)       \
    Y(posterior_tree_128, PosteriorTree<8>, OctaveTable)      \
    Y(posterior_tree_256, PosteriorTree<16>, OctaveTable)     \
    Y(posterior_any, PosteriorAny, OctaveTable)

namespace duoview {

#define DUOVIEW_CHECK(name, program, ...) static_assert(sizeof(program) % 8 == 0, "arguments are words of 8 bytes");
DUOVIEW_WARP_PROGRAMS(DUOVIEW_CHECK, DUOVIEW_CHECK)
#undef DUOVIEW_CHECK

}  // namespace duoview
