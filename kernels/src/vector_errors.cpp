#include "vector_errors.hpp"

#include <algorithm>
#include <atomic>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <stdexcept>
#include <string>

#include "default_arithmetic.hpp"
#include "fixed_point.hpp"
#include "parallel.hpp"

namespace duoview {
namespace {

// A part of the Haar transform adds up four differences of at most kWantedLimit + kShiftLimit.
constexpr int kMostPart = static_cast<int>(kCellPositions) * (kWantedLimit + kShiftLimit);
static_assert(kMostPart <= std::numeric_limits<std::int16_t>::max(), "parts are held in 16 bits");
// Magnitudes of a column that keep every sum of products within 32 bits.
constexpr double kMostColumn = std::numeric_limits<std::int32_t>::max() / kMostPart;
constexpr int kMostBits = 30;  // fraction bits: more than any weight that says something needs

double as_integer(float weight, int bits) { return std::round(std::ldexp(double{weight}, bits)); }

bool fits(const float* weights, std::size_t channels, int bits) {
    for (std::size_t matrix = 0; matrix < kFormMatrices; ++matrix, weights += channels * channels) {
        for (std::size_t column = 0; column < channels; ++column) {
            double total = 0;
            for (std::size_t row = 0; row < channels; ++row) {
                const double magnitude = std::abs(as_integer(weights[row * channels + column], bits));
                if (magnitude > std::numeric_limits<std::int16_t>::max()) return false;
                total += magnitude;
            }
            if (total > kMostColumn) return false;
        }
    }
    return true;
}

class Errors {
public:
    Errors(const ShiftOperators& operators, const ErrorForms& forms, const VectorErrorsJob& job)
        : operators_(operators),
          forms_(forms),
          job_(job),
          channels_(operators.channels()),
          rows_(job.height / kCellSide),
          columns_(job.width / kCellSide),
          cell_size_(channels_ * kCellPositions) {}

    void measure() {
        std::fill_n(job_.errors, job_.count * rows_ * columns_, std::numeric_limits<float>::infinity());
        list();
        if (cells_.empty()) return;
        state_.resize(channels_ * job_.height * job_.width);
        wanted_.resize(cells_.size() * cell_size_);
        convert();
        run_parallel(worthwhile(job_.threads, still_.size(), kThreadCells), (still_.size() + kJobCells - 1) / kJobCells,
                     [&](std::size_t number) { start(number); });
        operators_.each({state_.data(), job_.height, job_.width}, moved_, job_.threads,
                        [&](std::size_t i, const std::int16_t* found) {
                            offers_[i].error = forms_.error(wanted_.data() + offers_[i].cell * cell_size_, found);
                        });
        const DefaultArithmetic arithmetic;
        for (const std::vector<Offer>* some : {&offers_, &still_})
            for (const Offer& offer : *some)
                job_.errors[offer.place] =
                    static_cast<float>(std::ldexp(static_cast<double>(offer.error), -forms_.unit_bits()));
    }

private:
    static constexpr std::size_t kJobCells = 32, kThreadCells = 512, kThreadNumbers = 1 << 18;

    // A vector that is measured. place: of its error; cell: which of cells_ it is offered to.
    struct Offer {
        std::size_t place, cell;
        std::int64_t error;
    };

    // Cells that are offered anything but 0, and every vector that is offered to one of them for the first time.
    void list() {
        const std::size_t size = rows_ * columns_;
        for (std::size_t i = 0; i < size; ++i) {
            bool moves = false;
            for (std::size_t k = 0; k < job_.count; ++k) moves = moves || !is_zero(offered(k, i));
            if (!moves) continue;
            for (std::size_t k = 0; k < job_.count; ++k) {
                const std::int8_t* const vector = offered(k, i);
                if (std::abs(int{vector[0]}) > kMaxShift || std::abs(int{vector[1]}) > kMaxShift) refuse(k, i, vector);
                bool is_new = true;
                for (std::size_t before = 0; before < k; ++before)
                    is_new = is_new && (offered(before, i)[0] != vector[0] || offered(before, i)[1] != vector[1]);
                if (!is_new) continue;
                (is_zero(vector) ? still_ : offers_).push_back({k * size + i, cells_.size(), 0});
                if (!is_zero(vector))
                    moved_.push_back({static_cast<std::int64_t>(i / columns_), static_cast<std::int64_t>(i % columns_), vector[0],
                                      vector[1]});
            }
            cells_.push_back((i / columns_ * job_.width + i % columns_) * kCellSide);
        }
    }

    const std::int8_t* offered(std::size_t k, std::size_t cell) const { return job_.offered + 2 * (k * rows_ * columns_ + cell); }

    static bool is_zero(const std::int8_t* vector) { return vector[0] == 0 && vector[1] == 0; }

    [[noreturn]] void refuse(std::size_t k, std::size_t cell, const std::int8_t* vector) const {
        throw std::invalid_argument("offered has (" + std::to_string(vector[0]) + ", " + std::to_string(vector[1]) +
                                    ") at index " + std::to_string(k) + ", row " + std::to_string(cell / columns_) +
                                    ", column " + std::to_string(cell % columns_) + "; -" + std::to_string(kMaxShift) + ".." +
                                    std::to_string(kMaxShift) + " half pixels are needed");
    }

    // Latents as integers: the state plane by plane, and what is wanted in the cells.
    void convert() {
        const std::size_t plane = job_.height * job_.width;
        std::atomic<bool> finite{true};
        const std::size_t threads = worthwhile(job_.threads, channels_ * plane, kThreadNumbers);
        run_parallel(threads, channels_, [&](std::size_t channel) {
            if (!to_fixed_point(job_.state + channel * plane, plane, kStateBits, kShiftLimit, state_.data() + channel * plane))
                finite = false;
        });
        if (!finite) refuse_not_finite("state", {job_.state, job_.height, job_.width}, channels_);
        finite = true;
        run_parallel(threads, channels_, [&](std::size_t channel) {
            std::vector<std::int16_t> wanted(plane);
            if (!to_fixed_point(job_.wanted + channel * plane, plane, kStateBits, kWantedLimit, wanted.data())) finite = false;
            for (std::size_t i = 0; i < cells_.size(); ++i)
                copy_cell(wanted.data(), cells_[i], wanted_.data() + i * cell_size_ + channel * kCellPositions);
        });
        if (!finite) refuse_not_finite("wanted", {job_.wanted, job_.height, job_.width}, channels_);
    }

    // `place`: of the cell's first position in the plane.
    void copy_cell(const std::int16_t* plane, std::size_t place, std::int16_t* to) const {
        for (std::size_t row = 0; row < kCellSide; ++row)
            std::memcpy(to + row * kCellSide, plane + place + row * job_.width, kCellSide * sizeof *to);
    }

    // What some cells have without a vector.
    void start(std::size_t number) {
        const std::size_t plane = job_.height * job_.width;
        std::vector<std::int16_t> found(cell_size_);
        for (std::size_t i = number * kJobCells; i < std::min((number + 1) * kJobCells, still_.size()); ++i) {
            for (std::size_t channel = 0; channel < channels_; ++channel)
                copy_cell(state_.data() + channel * plane, cells_[still_[i].cell], found.data() + channel * kCellPositions);
            still_[i].error = forms_.error(wanted_.data() + still_[i].cell * cell_size_, found.data());
        }
    }

    const ShiftOperators& operators_;
    const ErrorForms& forms_;
    const VectorErrorsJob& job_;
    const std::size_t channels_, rows_, columns_, cell_size_;
    std::vector<std::int16_t> state_, wanted_;  // (channels, height, width), and (cells, channels, 2, 2)
    std::vector<std::size_t> cells_;    // places of their first positions
    std::vector<ShiftedCell> moved_;    // one for each of offers_
    std::vector<Offer> offers_, still_;  // of vectors, and of the vector 0
};

}  // namespace

ErrorForms::ErrorForms(const float* weights, std::size_t channels, const QuadraticForm& form)
    : layout_{channels, form.lanes}, form_(form.form), packed_(kFormMatrices * layout_.matrix_size()) {
    const DefaultArithmetic arithmetic;
    for (std::size_t i = 0; i < kFormMatrices * channels * channels; ++i)
        if (!std::isfinite(weights[i]))
            throw std::invalid_argument("weights is not finite at matrix " + std::to_string(i / (channels * channels)) + ", row " +
                                        std::to_string(i / channels % channels) + ", column " + std::to_string(i % channels));
    bits_ = kMostBits;
    while (!fits(weights, channels, bits_)) --bits_;
    for (std::size_t i = 0; i < kFormMatrices * channels * channels; ++i)
        packed_[place(i / (channels * channels), i / channels % channels, i % channels)] =
            static_cast<std::int16_t>(as_integer(weights[i], bits_));
}

std::vector<std::int16_t> ErrorForms::integers() const {
    const std::size_t channels = layout_.channels;
    std::vector<std::int16_t> found(kFormMatrices * channels * channels);
    for (std::size_t i = 0; i < found.size(); ++i)
        found[i] = packed_[place(i / (channels * channels), i / channels % channels, i % channels)];
    return found;
}

std::size_t ErrorForms::place(std::size_t matrix, std::size_t input, std::size_t output) const {
    return matrix * layout_.matrix_size() + output / layout_.lanes * layout_.register_size() +
           (input / 2 * layout_.lanes + output % layout_.lanes) * 2 + input % 2;
}

std::int64_t ErrorForms::error(const std::int16_t* wanted, const std::int16_t* found) const {
    const std::size_t outputs = layout_.outputs();
    std::vector<std::int16_t> parts(kFormParts * outputs);
    for (std::size_t channel = 0; channel < layout_.channels; ++channel) {
        int d[kCellPositions];
        for (std::size_t at = 0; at < kCellPositions; ++at)
            d[at] = wanted[channel * kCellPositions + at] - found[channel * kCellPositions + at];
        parts[channel] = static_cast<std::int16_t>(d[0] + d[1] - d[2] - d[3]);
        parts[outputs + channel] = static_cast<std::int16_t>(d[0] - d[1] + d[2] - d[3]);
        parts[2 * outputs + channel] = static_cast<std::int16_t>(d[0] - d[1] - d[2] + d[3]);
        parts[3 * outputs + channel] = static_cast<std::int16_t>(d[0] + d[1] + d[2] + d[3]);
    }
    // Four times a position is the sum of the parts with their signs, and products of different parts add up to nothing over a
    // cell: the mean over its positions is 1/16 of the sum of the forms of the parts. unit_bits() has those four bits.
    return form_(layout_, parts.data(), packed_.data());
}

void vector_errors(const ShiftOperators& operators, const ErrorForms& forms, const VectorErrorsJob& job) {
    if (forms.channels() != operators.channels())
        throw std::invalid_argument("forms are of " + std::to_string(forms.channels()) + " channels, operators of " +
                                    std::to_string(operators.channels()));
    if (job.height % kCellSide != 0 || job.width % kCellSide != 0)
        throw std::invalid_argument("latents of " + std::to_string(job.height) + " x " + std::to_string(job.width) +
                                    " positions; even sides are needed");
    Errors(operators, forms, job).measure();
}

}  // namespace duoview
