#include "dispatch.hpp"

#include <stdexcept>

#include "duoview/crc32c.hpp"

namespace duoview {
namespace {

#ifdef DUOVIEW_X86_64
bool has_sse42() { return __builtin_cpu_supports("sse4.2") != 0; }
bool has_avx2() { return __builtin_cpu_supports("avx2") != 0 && __builtin_cpu_supports("popcnt") != 0; }
bool has_avx512() {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}
bool has_vnni() { return __builtin_cpu_supports("avx512vnni") != 0; }
#else
constexpr bool has_avx2() { return false; }
constexpr bool has_avx512() { return false; }
constexpr bool has_sse42() { return false; }
#endif

[[noreturn]] void unknown_path(const std::string& path, const std::vector<std::string>& available) {
    std::string message = "path is '" + path + "'; available on this machine are 'auto'";
    for (const std::string& name : available) message += ", '" + name + "'";
    throw std::invalid_argument(message);
}

enum class Path { scalar, avx2, avx512 };

Path choose(const std::string& path) {
    if (has_avx2() && (path == "auto" || path == "avx2")) return Path::avx2;
    if (path == "auto" || path == "scalar") return Path::scalar;
    unknown_path(path, paths());
}

Path choose_any(const std::string& path) {
    if (has_avx512() && (path == "auto" || path == "avx512")) return Path::avx512;
    if (path != "auto" && path != "scalar" && path != "avx2") unknown_path(path, all_paths());
    return choose(path);
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

std::vector<std::string> paths() {
    std::vector<std::string> names{"scalar"};
    if (has_avx2()) names.emplace_back("avx2");
    return names;
}

std::vector<std::string> all_paths() {
    std::vector<std::string> names = paths();
    if (has_avx512()) names.emplace_back("avx512");
    return names;
}

// Paths that this build does not have are never chosen, since has_avx2() is false there.
#ifdef DUOVIEW_X86_64
#define DUOVIEW_PICK(kernel) choose(path) == Path::avx2 ? kernel##_avx2 : kernel##_scalar
#define DUOVIEW_PICK_AVX2(kernel) chosen == Path::scalar ? kernel##_scalar : kernel##_avx2
#define DUOVIEW_PICK_AVX512(kernel) chosen == Path::avx512 ? kernel##_avx512 : DUOVIEW_PICK_AVX2(kernel)
#else
#define DUOVIEW_PICK(kernel) (choose(path), kernel##_scalar)
#define DUOVIEW_PICK_AVX2(kernel) (static_cast<void>(chosen), kernel##_scalar)
#define DUOVIEW_PICK_AVX512(kernel) DUOVIEW_PICK_AVX2(kernel)
#endif

DecodeKernels choose_decode(const std::string& path) {
    return {DUOVIEW_PICK(decode), DUOVIEW_PICK(survey_classes), DUOVIEW_PICK(pack), DUOVIEW_PICK(spread)};
}
EncodeKernels choose_encode(const std::string& path) {
    return {DUOVIEW_PICK(encode), DUOVIEW_PICK(survey_symbols), DUOVIEW_PICK(pack), DUOVIEW_PICK(pack_symbols)};
}
ShiftKernels choose_shift(const std::string& path) {
    const Path chosen = choose_any(path);
#ifdef DUOVIEW_X86_64
    if (chosen == Path::avx512 && has_vnni()) return {16, add_operators_vnni, gather_patch_avx2, shift_cell_vnni};
#endif
    return {8, DUOVIEW_PICK_AVX2(add_operators), DUOVIEW_PICK_AVX2(gather_patch), DUOVIEW_PICK_AVX2(shift_cell)};
}
PictureFormFunction choose_picture_form(const std::string& path) {
    const Path chosen = choose_any(path);
    return DUOVIEW_PICK_AVX512(picture_form);
}
QuadraticForm choose_quadratic_form(const std::string& path) {
    const Path chosen = choose_any(path);
#ifdef DUOVIEW_X86_64
    if (chosen == Path::avx512 && has_vnni()) return {16, quadratic_form_vnni};
#endif
    return {8, DUOVIEW_PICK_AVX2(quadratic_form)};
}
PhiloxFunction choose_philox(const std::string& path) {
    const Path chosen = choose_any(path);
    return DUOVIEW_PICK_AVX512(philox);
}
NormalsFunction choose_normals(const std::string& path) {
    const Path chosen = choose_any(path);
    return DUOVIEW_PICK_AVX512(normals);
}
PaletteKernels choose_palette(const std::string& path) {
    const Path chosen = choose_any(path);
    return {DUOVIEW_PICK_AVX512(philox), DUOVIEW_PICK_AVX2(children), DUOVIEW_PICK_AVX2(nearest),
            DUOVIEW_PICK_AVX512(posterior)};
}

}  // namespace duoview
