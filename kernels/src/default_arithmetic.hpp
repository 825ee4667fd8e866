// The floating-point environment that results are defined in.
#pragma once

#include <cfenv>

namespace duoview {

// Rounding to nearest with denormals, whatever the thread was set to: other libraries change it for their own arithmetic.
class DefaultArithmetic {
public:
    DefaultArithmetic() {
        std::fegetenv(&before_);
        std::fesetenv(FE_DFL_ENV);
    }
    ~DefaultArithmetic() { std::fesetenv(&before_); }
    DefaultArithmetic(const DefaultArithmetic&) = delete;
    DefaultArithmetic& operator=(const DefaultArithmetic&) = delete;

private:
    std::fenv_t before_;
};

}  // namespace duoview
