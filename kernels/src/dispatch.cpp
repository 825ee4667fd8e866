#include "dispatch.hpp"

#include <stdexcept>

#include "duoview/crc32c.hpp"

namespace duoview {
namespace {

#ifdef DUOVIEW_X86_64
bool has_sse42() { return __builtin_cpu_supports("sse4.2") != 0; }
#else
constexpr bool has_sse42() { return false; }
#endif

[[noreturn]] void unknown_path(const std::string& path, const std::vector<std::string>& available) {
    std::string message = "path is '" + path + "'; available on this machine are 'auto'";
    for (const std::string& name : available) message += ", '" + name + "'";
    throw std::invalid_argument(message);
}

}  // namespace

std::vector<std::string> crc32c_paths() {
    std::vector<std::string> names{"table"};
    if (has_sse42()) names.emplace_back("sse4.2");
    return names;
}

Crc32cFunction choose_crc32c(const std::string& path) {
#ifdef DUOVIEW_X86_64
    if (has_sse42() && (path == "auto" || path == "sse4.2")) return crc32c_sse42;
#endif
    if (path == "auto" || path == "table") return crc32c_table;
    unknown_path(path, crc32c_paths());
}

}  // namespace duoview
