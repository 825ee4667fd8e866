// The GPU's decoder, run on the CPU lane by lane, on arbitrary bytes: it stays within the data, and gives the symbols that
// the CPU's decoder gives, or a fault where that gives one, in one call and in several.
//
// Input: as of rans_decode. Classes out of range are brought into it and those of class 0 are left out, as the programs
// before the decoder do.
#include <algorithm>

#include "rans_calls.hpp"
#include "warp_run.hpp"
#include "warp_tables.hpp"

namespace {

constexpr std::size_t kMostClasses = 4096;

struct Outcome {
    bool fault;
    std::vector<std::int16_t> symbols;
};

Outcome decode_by_warps(const std::vector<std::uint8_t>& data, const fuzz::Array<std::uint8_t>& classes,
                        const std::vector<std::size_t>& cuts) {
    static const duoview::WarpDecodeTables tables = duoview::make_warp_decode_tables();
    fuzz::Array<duoview::StreamHead> head(1);
    // Room for the greatest number of chunks that the data can announce: every one takes a byte of it at least.
    fuzz::Array<duoview::ChunkState> chunks(std::min<std::size_t>(std::max<std::size_t>(data.size(), 1), duoview::kMostChunks));
    fuzz::run(duoview::OpenStream{data.data(), data.size(), nullptr, head.data(), chunks.data(), chunks.size()}, 1);
    fuzz::require(head[0].chunks <= chunks.size(), "chunks fit their room");
    fuzz::run(duoview::OpenChunks{data.data(), head.data(), chunks.data()}, chunks.size());
    Outcome out{false, {}};
    for (std::size_t part = 0, begin = 0; part <= cuts.size(); ++part) {
        const std::size_t end = part < cuts.size() ? cuts[part] : classes.size();
        fuzz::Array<std::uint8_t> piece(end - begin);
        for (std::size_t i = begin; i < end; ++i) piece[i - begin] = classes[i];
        fuzz::Array<std::int16_t> symbols(end - begin);
        fuzz::Array<std::uint64_t> blocks(1);
        blocks[0] = piece.size();
        fuzz::run(duoview::BeginDecode{head.data(), blocks.data(), 1}, 1);
        fuzz::run(duoview::DecodeChunks{data.data(), head.data(), chunks.data(), piece.data(), symbols.data(), &tables}, chunks.size());
        out.symbols.insert(out.symbols.end(), symbols.data(), symbols.data() + symbols.size());
        begin = end;
    }
    fuzz::run(duoview::FinishStream{head.data(), chunks.data()}, chunks.size());
    out.fault = head[0].error != duoview::kNoError || head[0].faulty_chunk != duoview::kNoError ||
                head[0].unfinished != duoview::kNoError;
    return out;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    input.number<std::uint8_t>();
    std::vector<std::size_t> cuts(input.number<std::uint8_t>() % 4);
    for (std::size_t& cut : cuts) cut = input.number<std::uint16_t>();
    const std::size_t wanted = input.number<std::uint16_t>() % (kMostClasses + 1);
    std::vector<std::uint8_t> pattern;
    for (const std::uint8_t k : input.bytes(input.number<std::uint8_t>()))
        if (k % duoview::kClasses != 0) pattern.push_back(static_cast<std::uint8_t>(k % duoview::kClasses));
    if (pattern.empty()) pattern.push_back(1);
    const std::vector<std::uint8_t> stream = input.rest();
    fuzz::Array<std::uint8_t> classes(wanted);
    for (std::size_t i = 0; i < wanted; ++i) classes[i] = pattern[i % pattern.size()];
    for (std::size_t& cut : cuts) cut %= wanted + 1;
    std::sort(cuts.begin(), cuts.end());

    const fuzz::Decoded expected = fuzz::decode(stream, classes, {}, 1, "scalar");
    for (const std::vector<std::size_t>& parts : {std::vector<std::size_t>{}, cuts}) {
        const Outcome found = decode_by_warps(stream, classes, parts);
        fuzz::require(found.fault == !expected.error.empty(), "a fault is noticed exactly where the CPU notices one");
        fuzz::require(found.fault || found.symbols == expected.symbols, "symbols are the CPU's");
    }
    return 0;
}
