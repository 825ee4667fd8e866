// The warp programs on the CPU, lane by lane, and the tables they need: the tests' stand-in for a GPU, and what the loader of
// the kernels uploads. Arguments are raw addresses; kernels/cuda.py makes them from arrays it has checked.
#include <nanobind/nanobind.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/unordered_map.h>
#include <nanobind/stl/vector.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <unordered_map>
#include <vector>

#include "duoview/normal_table.hpp"
#include "duoview/octave_table.hpp"
#include "duoview/warp_programs.hpp"
#include "module.hpp"
#include "warp_tables.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

struct HostProgram {
    std::size_t words;
    void (*run)(const std::uint64_t* arguments, std::uint64_t warps, bool backwards);
};

template <typename Program>
void run_on_host(const std::uint64_t* arguments, std::uint64_t warps, bool backwards) {
    Program program;
    std::memcpy(static_cast<void*>(&program), arguments, sizeof program);
    const Warp warp(backwards);
    for (std::uint64_t item = 0; item < warps; ++item) program.run(warp, backwards ? warps - 1 - item : item);
}

const std::unordered_map<std::string, HostProgram>& host_programs() {
#define DUOVIEW_ENTRY(name, program, ...) {#name, {sizeof(program) / 8, &run_on_host<program>}},
    static const std::unordered_map<std::string, HostProgram> programs{DUOVIEW_WARP_PROGRAMS(DUOVIEW_ENTRY, DUOVIEW_ENTRY)};
#undef DUOVIEW_ENTRY
    return programs;
}

std::unordered_map<std::string, std::size_t> warp_programs() {
    std::unordered_map<std::string, std::size_t> words;
    for (const auto& [name, program] : host_programs()) words[name] = program.words;
    return words;
}

void warp_run(const std::string& name, std::uint64_t warps, const std::vector<std::uint64_t>& arguments, bool backwards) {
    const auto found = host_programs().find(name);
    if (found == host_programs().end()) throw std::invalid_argument("unknown warp program '" + name + "'");
    if (found->second.words != arguments.size())
        throw std::invalid_argument("warp program '" + name + "' takes " + std::to_string(found->second.words) +
                                    " arguments, not " + std::to_string(arguments.size()));
    nb::gil_scoped_release release;
    found->second.run(arguments.data(), warps, backwards);
}

template <typename T>
nb::bytes bytes_of(const T& table) {
    return nb::bytes(reinterpret_cast<const char*>(&table), sizeof table);
}

OctaveTable make_octave_table() {
    OctaveTable table{};
    std::copy_n(kOctaveCoarse, 16, table.coarse);
    std::copy_n(kOctaveFine, 16, table.fine);
    for (std::uint32_t i = 0; i < 256; ++i) table.weight[i] = octave_mantissa(i, kOctaveCoarse, kOctaveFine) << kWeightShift;
    return table;
}

nb::bytes warp_table(const std::string& name) {
    if (name == "decode") return bytes_of(make_warp_decode_tables());
    if (name == "encode") return bytes_of(make_warp_encode_tables());
    if (name == "normal") return bytes_of(kNormalQuantile);
    if (name == "octave") return bytes_of(make_octave_table());
    throw std::invalid_argument("unknown table '" + name + "'; there are decode, encode, normal and octave");
}

}  // namespace

void bind_warp(nb::module_& m) {
    m.def("warp_programs", &warp_programs);
    m.def("warp_run", &warp_run, nb::arg("name"), nb::arg("warps"), nb::arg("arguments"), nb::arg("backwards"));
    m.def("warp_table", &warp_table, nb::arg("name"));
}

}  // namespace duoview
