#include "sparse.hpp"

namespace duoview {

std::size_t pack_scalar(const std::uint8_t* classes, std::size_t count, std::uint8_t* packed) {
    std::size_t coded = 0;
    for (std::size_t i = 0; i < count; ++i) {
        packed[coded] = classes[i];  // overwritten by the next one where the class is 0
        coded += classes[i] != 0 ? 1 : 0;
    }
    return coded;
}

void spread_scalar(const std::uint8_t* classes, std::size_t count, std::size_t coded, std::int16_t* symbols) {
    for (std::size_t i = count; i-- > 0;) {
        if (classes[i] != 0)
            symbols[i] = symbols[--coded];
        else
            symbols[i] = 0;
    }
}

}  // namespace duoview
