// Baseline path: decode and encode without vector instructions.
#include <cstring>

#include "rans_decoder.hpp"
#include "rans_encoder.hpp"

namespace duoview {
namespace {

// Symbols decoded between two checks of the end pointer; a multiple of every lane count.
constexpr std::size_t kBatch = 32;
constexpr std::ptrdiff_t kBatchBytes = kBatch * kMaxWordsPerSymbol * 2;

// Whole batches for as long as even their worst case cannot pass the end. Starts and ends at lane 0.
template <std::uint32_t Lanes>
std::size_t decode_batches(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* width,
                           const std::uint8_t* classes, std::size_t count, std::int16_t* symbols) {
    std::uint32_t x[Lanes];
    std::memcpy(x, state.x, sizeof x);
    const std::uint8_t* position = state.position;
    std::size_t done = 0;
    while (count - done >= kBatch && state.end - position >= kBatchBytes && state.fault == Fault::none) {
        for (std::size_t i = 0; i < kBatch; i += Lanes) {
            for (std::uint32_t lane = 0; lane < Lanes; ++lane) {
                const std::uint32_t class_index = classes[done + i + lane];
                const DecodeEntry entry = lut[class_index * kProbabilityScale + (x[lane] & (kProbabilityScale - 1u))];
                const std::uint32_t popped = pop_symbol(x[lane], entry);
                // Branch-free refill: which symbols need a word is as good as random.
                const std::uint32_t take = popped < kLow ? 1u : 0u;
                const std::uint32_t refilled = popped << 16 | load_word(position);
                x[lane] = take ? refilled : popped;
                position += 2 * take;
                const std::int32_t value = entry_symbol(entry);
                symbols[done + i + lane] = static_cast<std::int16_t>(value);
                if (__builtin_expect(value == kEscape, 0)) {
                    const Fault fault = decode_escape(x[lane], position, state.end, width[class_index], symbols[done + i + lane]);
                    if (fault != Fault::none) {
                        state.fault = fault;
                        state.position = position;
                        return done;
                    }
                }
            }
        }
        done += kBatch;
    }
    std::memcpy(state.x, x, sizeof x);
    state.position = position;
    return done;
}

}  // namespace

void decode_scalar(DecodeState& state, const DecodeEntry* lut, const std::uint8_t* width, const std::uint8_t* classes,
                   std::size_t count, std::int16_t* symbols) {
    const std::size_t lead = (state.lanes - state.next) % state.lanes;
    std::size_t done = decode_run(state, lut, width, classes, lead < count ? lead : count, symbols);
    if (state.fault != Fault::none) return;
    const auto batches = state.lanes == 1 ? decode_batches<1> : state.lanes == 4 ? decode_batches<4> : decode_batches<32>;
    if (done < count) done += batches(state, lut, width, classes + done, count - done, symbols + done);
    if (state.fault != Fault::none) return;
    decode_run(state, lut, width, classes + done, count - done, symbols + done);
}

namespace {

template <std::uint32_t Lanes>
void encode_blocks(EncodeState& state, const EncodeTables& tables, const std::int16_t* symbols, const std::uint8_t* classes) {
    std::uint32_t x[Lanes];
    std::memcpy(x, state.x, sizeof x);
    std::uint8_t* position = state.position;
    std::size_t left = state.left;
    while (left > 0 && static_cast<std::size_t>(position - state.begin) >= encode_room(left) && !state.uncodable) {
        for (std::size_t i = 0; i < kEncodeBlock && !state.uncodable; i += Lanes) {
            for (std::uint32_t lane = Lanes; lane-- > 0;) {
                if (!encode_symbol(x[lane], position, tables, symbols[left - 1], classes[left - 1])) {
                    state.uncodable = true;
                    break;
                }
                --left;
            }
        }
    }
    std::memcpy(state.x, x, sizeof x);
    state.position = position;
    state.left = left;
}

}  // namespace

void encode_scalar(EncodeState& state, const EncodeTables& tables, const std::int16_t* symbols, const std::uint8_t* classes) {
    if (!has_room(state) || !encode_run(state, tables, symbols, classes, state.left % kEncodeBlock)) return;
    const auto blocks = state.lanes == 1 ? encode_blocks<1> : state.lanes == 4 ? encode_blocks<4> : encode_blocks<kMaxLanes>;
    blocks(state, tables, symbols, classes);
}

}  // namespace duoview
