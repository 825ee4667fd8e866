#include "rans_stream.hpp"

#include <cstring>
#include <string>
#include <vector>

#include "rans_tables.hpp"

namespace duoview {
namespace {

constexpr std::uint8_t kFourLanes = 0xE1;
constexpr std::uint8_t kThirtyTwoLanes = 0xE2;

// A lane more costs about 3 bytes: from these sizes on neither 4 nor 32 lanes cost more than 0.15 %.
constexpr std::uint64_t kFourLaneBytes = 8192;
constexpr std::uint64_t kThirtyTwoLaneBytes = 65536;

std::uint32_t lanes_for(std::uint64_t bytes) {
    return bytes < kFourLaneBytes ? 1u : bytes < kThirtyTwoLaneBytes ? 4u : kMaxLanes;
}

std::uint32_t length_of(std::uint32_t value) {  // floor(log2(value)), value >= 1
    std::uint32_t n = 0;
    while (value >> (n + 1)) ++n;
    return n;
}

// First pass: checks every element and turns the coded ones into places in the encode table.
struct Prepared {
    std::unique_ptr<std::uint16_t[]> places;
    std::size_t count = 0;
    std::vector<std::uint32_t> escapes;
    std::uint64_t cost = 0;  // estimated size in 1/256 bit
};

[[noreturn]] void bad_element(const char* array, std::size_t index, long value, const std::string& expected) {
    throw std::invalid_argument(std::string(array) + "[" + std::to_string(index) + "] is " + std::to_string(value) + expected);
}

// What follows an escape of `symbol`: n | bits << 8 (see rans.hpp).
std::uint32_t escape_of(std::int32_t symbol, std::uint32_t width) {
    const std::uint32_t excess = static_cast<std::uint32_t>(symbol < 0 ? -symbol : symbol) - width;
    const std::uint32_t length = length_of(excess);
    return length | ((excess ^ (1u << length)) << 1 | (symbol < 0 ? 1u : 0u)) << 8;
}

template <typename Symbol>
Prepared prepare(const Symbol* symbols, const std::uint8_t* classes, std::size_t count, const RansTables& tables) {
    Prepared out;
    out.places.reset(new std::uint16_t[count ? count : 1]);
    std::uint16_t* place = out.places.get();
    std::uint64_t cost = 0;
    const EncodeEntry* const entries = tables.encode.data();
    const Alphabet* const alphabet = tables.alphabet;
    for (std::size_t i = 0; i < count; ++i) {
        // Loads that the compiler may not repeat: what is checked is what is used, whatever another thread writes meanwhile.
        const std::uint32_t k = __atomic_load_n(classes + i, __ATOMIC_RELAXED);
        const std::int32_t symbol = __atomic_load_n(symbols + i, __ATOMIC_RELAXED);
        std::int32_t coded = symbol;
        if (__builtin_expect(static_cast<std::uint32_t>(symbol - alphabet[k].least) >= alphabet[k].count, 0)) {
            if (k == 0) bad_element("symbols", i, symbol, " at class 0, where only 0 can be coded");
            if (k >= kClasses) bad_element("classes", i, k, "; classes are 0..191");
            if (k >= kGaussianClasses)
                bad_element("symbols", i, symbol, " at Bernoulli class " + std::to_string(k) + ", which codes 0 or 1");
            out.escapes.push_back(escape_of(symbol, tables.width[k]));
            cost += 512 * ((out.escapes.back() & 0xFFu) + 1);
            coded = kEscape;
        }
        const std::size_t at = k * kEncodeStride + static_cast<std::size_t>(coded + kEncodeOffset);
        cost += entries[at].cost;  // 0 for class 0
        *place = static_cast<std::uint16_t>(at);
        place += k != 0 ? 1 : 0;
    }
    out.cost = cost;
    out.count = static_cast<std::size_t>(place - out.places.get());
    return out;
}

void put_big_endian(std::uint8_t* p, std::uint64_t value, int bytes) {
    for (int i = bytes; i-- > 0; value >>= 8) p[i] = static_cast<std::uint8_t>(value);
}

std::uint64_t get_big_endian(const std::uint8_t* p, std::size_t bytes) {
    std::uint64_t value = 0;
    for (std::size_t i = 0; i < bytes; ++i) value = value << 8 | p[i];
    return value;
}

// Writes the states in front of `position`; returns the first byte.
std::uint8_t* put_states(const std::uint32_t* x, std::uint32_t lanes, std::uint8_t* position) {
    if (lanes == 1) {
        const int bytes = x[0] < 1u << 23 ? 3 : x[0] < 1u << 30 ? 4 : 5;
        const std::uint64_t prefix = bytes == 3 ? 0 : bytes == 4 ? std::uint64_t{0x80} << 24 : std::uint64_t{0xC0} << 32;
        position -= bytes;
        put_big_endian(position, prefix | x[0], bytes);
        return position;
    }
    for (std::uint32_t lane = lanes; lane-- > 0;)
        for (int shift = 24; shift >= 0; shift -= 8) *--position = static_cast<std::uint8_t>(x[lane] >> shift);
    *--position = lanes == 4 ? kFourLanes : kThirtyTwoLanes;
    return position;
}

// Reads the states at the start of the data; returns their size in bytes.
std::size_t get_states(DecodeState& state, std::size_t size) {
    const std::uint8_t* data = state.begin;
    const std::uint8_t first = data[0];
    const auto need = [size](std::size_t bytes) {
        if (size < bytes)
            throw BitstreamFault("entropy-coded data ends within its first " + std::to_string(bytes) + " bytes", size);
    };
    std::size_t bytes;
    if (first < 0xE0) {
        state.lanes = 1;
        bytes = first < 0x80 ? 3 : first < 0xC0 ? 4 : 5;
        need(bytes);
        if (first > 0xC0) throw BitstreamFault("unknown first byte " + std::to_string(first) + " of entropy-coded data", 0);
        const std::uint64_t mask = bytes == 3 ? (1u << 23) - 1 : bytes == 4 ? (1u << 30) - 1 : 0xFFFFFFFFu;
        const std::uint64_t least = bytes == 3 ? kLow : bytes == 4 ? 1u << 23 : 1u << 30;
        const std::uint64_t value = get_big_endian(data, bytes) & mask;
        if (value < least) throw BitstreamFault("state " + std::to_string(value) + " is not in its shortest form", 0);
        state.x[0] = static_cast<std::uint32_t>(value);
        return bytes;
    }
    if (first != kFourLanes && first != kThirtyTwoLanes)
        throw BitstreamFault("unknown first byte " + std::to_string(first) + " of entropy-coded data", 0);
    state.lanes = first == kFourLanes ? 4 : kMaxLanes;
    bytes = 1 + 4 * std::size_t{state.lanes};
    need(bytes);
    for (std::uint32_t lane = 0; lane < state.lanes; ++lane) {
        const std::uint8_t* p = data + 1 + 4 * lane;
        state.x[lane] = load_word(p) | load_word(p + 2) << 16;
        if (state.x[lane] < kLow)
            throw BitstreamFault("state of lane " + std::to_string(lane) + " is " + std::to_string(state.x[lane]) +
                                     "; states start at 65536", 1 + 4 * std::size_t{lane});
    }
    return bytes;
}

}  // namespace

template <typename Symbol>
EncodedStream encode_stream(const Symbol* symbols, const std::uint8_t* classes, std::size_t count, std::uint32_t lanes,
                            EncodeFunction encode) {
    const RansTables& tables = rans_tables();
    const Prepared prepared = prepare(symbols, classes, count, tables);
    EncodedStream out;
    if (prepared.count == 0) return out;
    if (lanes == 0) lanes = lanes_for(prepared.cost >> 11);
    const EncodeJob job{tables.encode.data(), prepared.places.get(), prepared.count,
                        prepared.escapes.data(), prepared.escapes.size(), lanes};
    // One word per symbol, three more per escape, the states, and the word the branch-free flush may write in vain.
    const std::size_t worst = 2 * prepared.count + 6 * prepared.escapes.size() + 4 * kMaxLanes + 1 + 2;
    out.buffer.reset(new std::uint8_t[worst]);
    std::uint8_t* const end = out.buffer.get() + worst;
    std::uint32_t states[kMaxLanes];
    for (std::uint32_t& x : states) x = kLow;
    std::uint8_t* const words = encode(job, states, end);
    out.data = put_states(states, lanes, words);
    out.size = static_cast<std::size_t>(end - out.data);
    return out;
}

template EncodedStream encode_stream(const std::int16_t*, const std::uint8_t*, std::size_t, std::uint32_t, EncodeFunction);
template EncodedStream encode_stream(const std::int8_t*, const std::uint8_t*, std::size_t, std::uint32_t, EncodeFunction);

// Two threads in one decoder would race for its position: the second is refused.
class StreamDecoder::Turn {
public:
    explicit Turn(std::atomic_flag& busy) : busy_(busy) {
        if (busy_.test_and_set(std::memory_order_acquire))
            throw std::runtime_error("this decoder is in use by another thread; use one decoder per thread");
    }
    ~Turn() { busy_.clear(std::memory_order_release); }
    Turn(const Turn&) = delete;
    Turn& operator=(const Turn&) = delete;

private:
    std::atomic_flag& busy_;
};

StreamDecoder::StreamDecoder(const std::uint8_t* data, std::size_t size, const DecodeKernels& kernels)
    : kernels_(kernels) {
    state_.begin = state_.position = data;
    state_.end = data + size;
    state_.lanes = 1;
    state_.x[0] = kLow;
    state_.fault = Fault::none;
    if (size == 0) return;
    state_.position = data + get_states(state_, size);
    if ((state_.end - state_.position) % 2 != 0)
        throw BitstreamFault("entropy-coded data ends in the middle of a 16-bit word", size);
}

void StreamDecoder::fail() const { throw BitstreamFault(failure_, failure_offset_); }

void StreamDecoder::remember(const std::string& message, std::size_t offset) {
    failed_ = true;
    failure_ = message;
    failure_offset_ = offset;
    fail();
}

void StreamDecoder::decode(const std::uint8_t* classes, std::size_t count, std::int16_t* symbols) {
    const Turn turn(busy_);
    if (failed_) fail();
    const RansTables& tables = rans_tables();
    std::uint8_t largest = 0;
    for (std::size_t i = 0; i < count; ++i) largest = classes[i] > largest ? classes[i] : largest;
    if (largest >= kClasses)
        for (std::size_t i = 0; i < count; ++i)
            if (classes[i] >= kClasses) bad_element("classes", i, classes[i], "; classes are 0..191");

    std::size_t zeros = 0;
    for (std::size_t i = 0; i < count; ++i) zeros += classes[i] == 0 ? 1 : 0;
    const std::size_t coded = count - zeros;
    if (coded == 0) {
        std::memset(symbols, 0, count * sizeof *symbols);
        return;
    }
    coded_ = true;
    std::unique_ptr<std::uint8_t[]> packed;
    const std::uint8_t* coded_classes = classes;
    if (zeros != 0) {
        packed.reset(new std::uint8_t[count]);
        kernels_.pack(classes, count, packed.get());
        coded_classes = packed.get();
    }
    kernels_.decode(state_, tables.decode.data(), tables.width, coded_classes, coded, symbols);
    if (state_.fault != Fault::none) {
        const std::size_t offset = static_cast<std::size_t>(state_.position - state_.begin);
        remember(state_.fault == Fault::truncated ? "entropy-coded data ends before its symbols do"
                                                  : "escaped symbol is beyond 16 bits", offset);
    }
    if (zeros != 0) kernels_.spread(classes, count, coded, symbols);
}

void StreamDecoder::finish() {
    const Turn turn(busy_);
    if (failed_) fail();
    const std::size_t offset = static_cast<std::size_t>(state_.position - state_.begin);
    const std::size_t left = static_cast<std::size_t>(state_.end - state_.position);
    if (left != 0) remember(std::to_string(left) + " bytes of entropy-coded data are left over", offset);
    if (!coded_ && state_.end != state_.begin) remember("entropy-coded data is there, but no symbol was to be decoded", 0);
    for (std::uint32_t lane = 0; lane < state_.lanes; ++lane)
        if (state_.x[lane] != kLow)
            remember("entropy-coded data is damaged: lane " + std::to_string(lane) + " ends at state " +
                         std::to_string(state_.x[lane]) + " instead of 65536", offset);
}

}  // namespace duoview
