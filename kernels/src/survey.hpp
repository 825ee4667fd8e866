// One pass over classes and symbols before coding: is all of it codable, and is there anything of class 0?
//
// Plain loops that compilers turn into vector code; every instruction set compiles them for itself.
#pragma once

#include <cstddef>
#include <cstdint>

#include "duoview/rans.hpp"

namespace duoview {

struct ClassSurvey {
    std::size_t zeros;      // elements of class 0
    std::uint8_t largest;   // class
};

struct SymbolSurvey {
    ClassSurvey classes;
    bool codable;  // every symbol is one of its class
};

using ClassSurveyFunction = ClassSurvey (*)(const std::uint8_t* classes, std::size_t count);
using SymbolSurveyFunction = SymbolSurvey (*)(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count);

ClassSurvey survey_classes_scalar(const std::uint8_t* classes, std::size_t count);
ClassSurvey survey_classes_avx2(const std::uint8_t* classes, std::size_t count);
SymbolSurvey survey_symbols_scalar(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count);
SymbolSurvey survey_symbols_avx2(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count);

// Small enough that a count of bytes fits one.
static constexpr std::size_t kSurveyBlock = 240;

static inline ClassSurvey survey_classes(const std::uint8_t* classes, std::size_t count) {
    ClassSurvey survey{0, 0};
    for (std::size_t start = 0; start < count; start += kSurveyBlock) {
        const std::size_t end = count - start < kSurveyBlock ? count : start + kSurveyBlock;
        std::uint8_t zeros = 0, largest = 0;
        for (std::size_t i = start; i < end; ++i) {
            zeros = static_cast<std::uint8_t>(zeros + (classes[i] == 0 ? 1 : 0));
            largest = classes[i] > largest ? classes[i] : largest;
        }
        survey.zeros += zeros;
        survey.largest = largest > survey.largest ? largest : survey.largest;
    }
    return survey;
}

static inline SymbolSurvey survey_symbols(const std::int16_t* symbols, const std::uint8_t* classes, std::size_t count) {
    std::uint16_t uncodable = 0;
    for (std::size_t i = 0; i < count; ++i) {
        const std::uint16_t k = classes[i];
        // Bits a symbol of the class may have set: none, the lowest, or all.
        const std::uint16_t any = static_cast<std::uint16_t>(k < kGaussianClasses ? 0xFFFF : 1);
        const std::uint16_t allowed = static_cast<std::uint16_t>(k == 0 ? 0 : any);
        uncodable = static_cast<std::uint16_t>(uncodable | (static_cast<std::uint16_t>(symbols[i]) & ~allowed));
    }
    return {survey_classes(classes, count), uncodable == 0};
}

}  // namespace duoview
