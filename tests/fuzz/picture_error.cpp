// The error of a picture: every path and any number of threads give the same bits, those of sums in the order of the definition.
// What a latent gains in the place of another is the difference of two such errors, where they are finite.
//
// Input: channels (1 byte, of 1..16), rows, columns (1 each, of 0..7 pairs), mode (1: bit 0 leaves numbers as they come), weights
// of a pattern (1), each (4, a float, or the first 2 a number), the rest errors of the latent, in the same way.
#include "picture_error.hpp"

#include <cmath>
#include <cstring>

#include "dispatch.hpp"
#include "input.hpp"

namespace {

float number(std::uint32_t bits, bool as_it_comes) {
    float value = static_cast<float>(static_cast<std::int16_t>(bits)) / 256;
    if (as_it_comes) std::memcpy(&value, &bits, sizeof value);
    return value;
}

bool alike(float a, float b) { return (std::isnan(a) && std::isnan(b)) || std::memcmp(&a, &b, sizeof a) == 0; }

struct Planes {
    std::size_t channels, height, width;
    fuzz::Array<float> error, mean;

    Planes(std::size_t count, std::size_t rows, std::size_t columns)
        : channels(count), height(rows), width(columns), error(count * rows * columns), mean(error.size()) {}

    float* row(fuzz::Array<float>& planes, std::size_t channel, std::size_t y) {
        return planes.data() + (channel * height + y) * width;
    }
    void find_mean() {
        std::vector<float> sums(width);
        for (std::size_t channel = 0; channel < channels; ++channel)
            for (std::size_t y = 0; y < height; ++y) {
                float down = 1, right;
                for (std::size_t x = 0; x < width; ++x) {
                    sums[x] = row(error, channel, y)[x];
                    if (y > 0) sums[x] += row(error, channel, y - 1)[x];
                    if (y + 1 < height) sums[x] += row(error, channel, y + 1)[x];
                }
                down += static_cast<float>(y > 0) + static_cast<float>(y + 1 < height);
                for (std::size_t x = 0; x < width; ++x) {
                    float total = sums[x];
                    if (x > 0) total += sums[x - 1];
                    if (x + 1 < width) total += sums[x + 1];
                    right = 1 + static_cast<float>(x > 0) + static_cast<float>(x + 1 < width);
                    row(mean, channel, y)[x] = total * ((1 / down) * (1 / right));
                }
            }
    }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
    fuzz::Input input(data, size);
    const std::size_t channels = 1 + input.number<std::uint8_t>() % 16;
    const std::size_t height = 2 * (input.number<std::uint8_t>() % 8), width = 2 * (input.number<std::uint8_t>() % 8);
    const bool as_it_comes = input.number<std::uint8_t>() & 1;
    std::vector<float> pattern(1 + input.number<std::uint8_t>());
    for (float& weight : pattern) weight = number(input.number<std::uint32_t>(), as_it_comes);
    fuzz::Array<float> weights(2 * channels * channels);
    for (std::size_t i = 0; i < weights.size(); ++i) weights[i] = pattern[i % pattern.size()];
    std::vector<std::uint8_t> rest = input.rest();
    if (rest.empty()) rest.push_back(0);
    Planes planes(channels, height, width);
    for (std::size_t i = 0; i < planes.error.size(); ++i) {
        std::uint32_t bits = 0;
        for (std::size_t k = 0; k < 4; ++k) bits |= static_cast<std::uint32_t>(rest[(4 * i + k) % rest.size()]) << 8 * k;
        planes.error[i] = number(bits, as_it_comes);
    }
    planes.find_mean();

    std::vector<float> seen(height * width);
    for (std::size_t at = 0; at < seen.size(); ++at) {
        float parts[2] = {0, 0};
        for (std::size_t part = 0; part < 2; ++part)
            for (std::size_t o = 0; o < channels; ++o) {
                const auto value = [&](std::size_t channel) {
                    const float mean = planes.mean[channel * seen.size() + at];
                    return part == 0 ? planes.error[channel * seen.size() + at] - mean : mean;
                };
                float sum = 0;
                for (std::size_t i = 0; i < channels; ++i) sum += value(i) * weights[(part * channels + o) * channels + i];
                parts[part] += value(o) * sum;
            }
        seen[at] = parts[0] + parts[1];
    }
    for (const std::string& path : duoview::all_paths())
        for (std::size_t threads = 1; threads <= 3; ++threads) {
            fuzz::Array<float> found(height * width / 4);
            duoview::picture_error({planes.error.data(), weights.data(), channels, height, width, threads, found.data()},
                                   duoview::choose_picture_form(path));
            for (std::size_t i = 0; i < found.size(); ++i) {
                const float* const top = seen.data() + i / (width / 2) * 2 * width + i % (width / 2) * 2;
                const float mean = ((top[0] + top[1]) + (top[width] + top[width + 1])) * 0.25f;
                fuzz::require(alike(found[i], mean), "sums are those of the definition", path);
            }
        }

    // In the place of 0 everywhere: half of the error on some rows, which a number of the input says.
    fuzz::Array<float> zero(planes.error.size()), half(planes.error.size()), left(planes.error.size());
    for (std::size_t i = 0; i < half.size(); ++i) {
        zero[i] = 0;
        half[i] = i / width % height % (2 + rest[0] % 4) == 0 ? planes.error[i] * 0.5f : 0.0f;
        left[i] = planes.error[i] - half[i];
    }
    for (const std::string& path : duoview::all_paths())
        for (std::size_t threads = 1; threads <= 3; ++threads) {
            fuzz::Array<float> had(height * width / 4), has(had.size()), found(had.size());
            const auto form = duoview::choose_picture_form(path);
            duoview::picture_error({planes.error.data(), weights.data(), channels, height, width, threads, had.data()}, form);
            duoview::picture_error({left.data(), weights.data(), channels, height, width, threads, has.data()}, form);
            duoview::picture_gain({planes.error.data(), zero.data(), half.data(), weights.data(), channels, height, width,
                                   threads, found.data()}, form);
            for (std::size_t i = 0; i < found.size(); ++i) {
                const float gain = had[i] - has[i];
                fuzz::require(!std::isfinite(gain) || found[i] == gain, "a gain is a difference of errors", path);
            }
        }
    return 0;
}
