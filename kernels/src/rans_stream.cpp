#include "rans_stream.hpp"

#include <algorithm>
#include <cstring>
#include <memory>
#include <string>
#include <type_traits>

#include "parallel.hpp"
#include "rans_tables.hpp"

namespace duoview {
namespace {

constexpr std::uint8_t kSeveralChunks = 0xE3;

[[noreturn]] void bad_element(const char* array, std::size_t index, long value, const std::string& expected) {
    throw std::invalid_argument(std::string(array) + "[" + std::to_string(index) + "] is " + std::to_string(value) + expected);
}

// Names the first element that cannot be coded; returns where there is none (another thread has mended it).
void name_uncodable(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint32_t k = classes[i];
        const std::int32_t symbol = symbols[i];
        if (k >= kClasses) bad_element("classes", i, static_cast<long>(k), "; classes are 0..191");
        if (k == 0 && symbol != 0) bad_element("symbols", i, symbol, " at class 0, where only 0 can be coded");
        if (k >= kGaussianClasses && (symbol & ~1) != 0)
            bad_element("symbols", i, symbol, " at Bernoulli class " + std::to_string(k) + ", which codes 0 or 1");
    }
}

void name_bad_class(const std::uint8_t* classes, std::size_t count) {
    for (std::size_t i = 0; i < count; ++i)
        if (classes[i] >= kClasses) bad_element("classes", i, classes[i], "; classes are 0..191");
}

// The coded elements: the caller's arrays, or copies where those hold elements of class 0 or of another width.
struct Coded {
    std::unique_ptr<std::int16_t[]> own_symbols;
    std::unique_ptr<std::uint8_t[]> own_classes;
    const std::int16_t* symbols;
    const std::uint8_t* classes;
    std::size_t count;
};

template <typename Symbol>
Coded coded_elements(const Symbol* symbols, const std::uint8_t* classes, std::size_t count, const EncodeKernels& kernels) {
    Coded coded{nullptr, nullptr, nullptr, classes, count};
    if constexpr (std::is_same_v<Symbol, std::int16_t>) {
        coded.symbols = symbols;
    } else {
        coded.own_symbols.reset(new std::int16_t[count]);
        std::copy(symbols, symbols + count, coded.own_symbols.get());
        coded.symbols = coded.own_symbols.get();
    }
    const SymbolSurvey survey = kernels.survey(coded.symbols, classes, count);
    if (!survey.codable || survey.classes.largest >= kClasses) name_uncodable(coded.symbols, classes, count);
    if (survey.classes.zeros == 0) return coded;
    coded.own_classes.reset(new std::uint8_t[count]);
    std::unique_ptr<std::int16_t[]> packed(new std::int16_t[count]);
    const std::size_t kept = kernels.pack_symbols(classes, coded.symbols, count, packed.get());
    coded.count = kernels.pack(classes, count, coded.own_classes.get());
    if (kept != coded.count) throw std::invalid_argument("classes was changed by another thread while it was encoded");
    coded.own_symbols = std::move(packed);
    coded.symbols = coded.own_symbols.get();
    coded.classes = coded.own_classes.get();
    return coded;
}

void put_varint(std::vector<std::uint8_t>& out, std::size_t value) {
    for (; value >= 0x80; value >>= 7) out.push_back(static_cast<std::uint8_t>(value | 0x80));
    out.push_back(static_cast<std::uint8_t>(value));
}

// Reads a varint below 2^32 at `position`, in its shortest form.
std::size_t get_varint(const std::uint8_t* data, std::size_t size, std::size_t& position) {
    const std::size_t start = position;
    std::uint64_t value = 0;
    for (int shift = 0; shift < 35; shift += 7) {
        if (position == size) throw BitstreamFault("entropy-coded data ends within its list of chunks", size);
        const std::uint8_t byte = data[position++];
        value |= std::uint64_t{byte & 0x7Fu} << shift;
        if (byte & 0x80) continue;
        if (value >> 32 || (byte == 0 && shift != 0)) break;
        return static_cast<std::size_t>(value);
    }
    throw BitstreamFault("number in the list of chunks is not in its shortest form or beyond 32 bits", start);
}

}  // namespace

std::size_t EncodedStream::size() const {
    std::size_t total = header.size();
    for (const EncodedChunk& chunk : chunks) total += chunk.size;
    return total;
}

void EncodedStream::copy(std::uint8_t* out) const {
    out = std::copy(header.begin(), header.end(), out);
    for (const EncodedChunk& chunk : chunks) out = std::copy(chunk.data, chunk.data + chunk.size, out);
}

template <typename Symbol>
EncodedStream encode_stream(const Symbol* symbols, const std::uint8_t* classes, std::size_t count,
                            const EncodeOptions& options, const EncodeKernels& kernels) {
    EncodedStream out;
    if (count == 0) return out;
    const Coded coded = coded_elements(symbols, classes, count, kernels);
    if (coded.count == 0) return out;
    const Layout layout = choose_layout(coded.symbols, coded.classes, coded.count, options.lanes, options.chunk);
    const std::size_t chunks = layout.chunk >= coded.count ? 1 : (coded.count + layout.chunk - 1) / layout.chunk;
    if (chunks > kMaxChunks)
        throw std::invalid_argument("chunk is " + std::to_string(layout.chunk) + ", which makes " + std::to_string(chunks) +
                                    " chunks of " + std::to_string(coded.count) + " coded symbols; at most 65536 are allowed");
    out.chunks.resize(chunks);
    run_parallel(options.threads, chunks, [&](std::size_t c) {
        const std::size_t start = c * layout.chunk;
        const std::size_t length = std::min(coded.count - start, layout.chunk);
        out.chunks[c] = encode_chunk(coded.symbols + start, coded.classes + start, length, layout.lanes, kernels.encode);
    });
    if (chunks == 1) return out;
    out.header.push_back(kSeveralChunks);
    put_varint(out.header, layout.chunk);
    put_varint(out.header, chunks);
    for (const EncodedChunk& chunk : out.chunks) {
        if (std::uint64_t{chunk.size} >> 32)
            throw std::invalid_argument("chunk is " + std::to_string(layout.chunk) + ", of which one takes " +
                                        std::to_string(chunk.size) + " bytes; a chunk has less than 4 GiB");
        put_varint(out.header, chunk.size);
    }
    return out;
}

template EncodedStream encode_stream(const std::int16_t*, const std::uint8_t*, std::size_t, const EncodeOptions&,
                                     const EncodeKernels&);
template EncodedStream encode_stream(const std::int8_t*, const std::uint8_t*, std::size_t, const EncodeOptions&,
                                     const EncodeKernels&);

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

StreamDecoder::StreamDecoder(const std::uint8_t* data, std::size_t size, std::size_t threads, const DecodeKernels& kernels)
    : data_(data), size_(size), threads_(threads), kernels_(kernels), chunk_(SIZE_MAX) {
    if (size == 0) return;
    if (data[0] == kSeveralChunks)
        open(data, size);
    else
        chunks_.push_back(open_chunk(data, size, data));
}

void StreamDecoder::open(const std::uint8_t* data, std::size_t size) {
    std::size_t position = 1;
    chunk_ = get_varint(data, size, position);
    if (chunk_ == 0 || chunk_ % kMaxLanes != 0)
        throw BitstreamFault("chunks are of " + std::to_string(chunk_) + " symbols; a multiple of 32 is needed", 1);
    const std::size_t at = position;
    const std::size_t chunks = get_varint(data, size, position);
    if (chunks < 2 || chunks > kMaxChunks)
        throw BitstreamFault(std::to_string(chunks) + " chunks; 2..65536 are possible", at);
    if (chunks > size - position)  // before memory is taken for them
        throw BitstreamFault("entropy-coded data ends within its list of chunks", size);
    std::vector<std::size_t> lengths(chunks);
    for (std::size_t& length : lengths) length = get_varint(data, size, position);
    chunks_.reserve(chunks);
    for (const std::size_t length : lengths) {
        if (length > size - position)
            throw BitstreamFault("chunk " + std::to_string(chunks_.size()) + " of " + std::to_string(length) +
                                     " bytes ends behind the data", position);
        if (length != 0 && data[position] == kSeveralChunks)
            throw BitstreamFault("chunk " + std::to_string(chunks_.size()) + " consists of chunks itself", position);
        chunks_.push_back(open_chunk(data + position, length, data));
        position += length;
    }
    if (position != size)
        throw BitstreamFault(std::to_string(size - position) + " bytes of entropy-coded data are left over", position);
}

void StreamDecoder::check_usable() const {
    if (failed_) throw BitstreamFault(failure_, failure_offset_);
}

void StreamDecoder::remember(const BitstreamFault& fault) {
    failed_ = true;
    failure_ = fault.what();
    failure_offset_ = fault.offset();
    throw fault;
}

void StreamDecoder::decode(const std::uint8_t* classes, std::size_t count, std::int16_t* symbols) {
    const Turn turn(busy_);
    check_usable();
    const ClassSurvey survey = kernels_.survey(classes, count);
    if (survey.largest >= kClasses) name_bad_class(classes, count);
    if (survey.zeros == count)
        std::memset(symbols, 0, count * sizeof *symbols);
    else if (survey.zeros == 0)
        decode_coded(classes, count, symbols);
    else
        decode_sparse(classes, count, symbols);
}

// With elements of class 0 among them: the others' classes are packed, and their symbols spread out again. Both go by a
// copy, since they have to agree about the places.
void StreamDecoder::decode_sparse(const std::uint8_t* classes, std::size_t count, std::int16_t* symbols) {
    const std::unique_ptr<std::uint8_t[]> own(new std::uint8_t[count]);
    std::memcpy(own.get(), classes, count);
    const std::unique_ptr<std::uint8_t[]> packed(new std::uint8_t[count]);
    const std::size_t coded = kernels_.pack(own.get(), count, packed.get());
    decode_coded(packed.get(), coded, symbols);
    kernels_.spread(own.get(), count, coded, symbols);
}

void StreamDecoder::decode_coded(const std::uint8_t* classes, std::size_t count, std::int16_t* symbols) {
    if (count == 0) return;
    const std::size_t first = consumed_ / chunk_;
    const std::size_t last = (consumed_ + count - 1) / chunk_;
    if (last >= chunks_.size()) remember(BitstreamFault("entropy-coded data ends before its symbols do", size_));
    const RansTables& tables = rans_tables();
    run_parallel(threads_, last - first + 1, [&](std::size_t job) {
        const std::size_t c = first + job;
        const std::size_t start = c == first ? consumed_ : c * chunk_;
        const std::size_t end = c == last ? consumed_ + count : (c + 1) * chunk_;
        const std::size_t at = start - consumed_;
        kernels_.decode(chunks_[c], tables.decode.get(), tables.width, classes + at, end - start, symbols + at);
    });
    consumed_ += count;
    for (std::size_t c = first; c <= last; ++c) {
        const DecodeState& state = chunks_[c];
        if (state.fault == Fault::none) continue;
        remember(BitstreamFault(state.fault == Fault::truncated ? "entropy-coded data ends before its symbols do"
                                                                : "escaped symbol is beyond 16 bits",
                                static_cast<std::size_t>(state.position - data_)));
    }
}

void StreamDecoder::finish() {
    const Turn turn(busy_);
    check_usable();
    try {
        if (consumed_ == 0 && size_ != 0)
            throw BitstreamFault("entropy-coded data is there, but no symbol was to be decoded", 0);
        if (!chunks_.empty() && chunks_.size() > 1 && consumed_ <= (chunks_.size() - 1) * chunk_)
            throw BitstreamFault("the last chunk of entropy-coded data was not begun", size_);
        for (const DecodeState& state : chunks_) check_end(state, data_);
    } catch (const BitstreamFault& fault) {
        remember(fault);
    }
}

}  // namespace duoview
