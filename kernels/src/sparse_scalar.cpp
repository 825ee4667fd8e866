#include "sparse.hpp"
#include "survey.hpp"

namespace duoview {

std::size_t pack_scalar(const std::uint8_t* classes, std::size_t count, std::uint8_t* packed) {
    std::size_t coded = 0;
    for (std::size_t i = 0; i < count; ++i) {
        packed[coded] = classes[i];  // overwritten by the next one where the class is 0
        coded += classes[i] != 0 ? 1 : 0;
    }
    return coded;
}

std::size_t pack_symbols_scalar(const std::uint8_t* classes, const std::int16_t* symbols, std::size_t count,
                                std::int16_t* packed) {
    std::size_t coded = 0;
    for (std::size_t i = 0; i < count; ++i) {
        packed[coded] = symbols[i];
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

ClassSurvey survey_classes_scalar(const std::uint8_t* classes, std::size_t count) { return survey_classes(classes, count); }

SymbolSurvey survey_symbols_scalar(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count) {
    return survey_symbols(symbols, classes, count);
}

}  // namespace duoview
