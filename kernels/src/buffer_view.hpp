// A read-only view of any C-contiguous bytes-like Python object, held without copying.
#pragma once

#include <nanobind/nanobind.h>

#include <cstddef>
#include <cstdint>

namespace duoview {

class BufferView {
public:
    explicit BufferView(nanobind::handle object) {
        // Fails with Python's own TypeError or BufferError, which name the offending type.
        if (PyObject_GetBuffer(object.ptr(), &view_, PyBUF_SIMPLE) != 0) throw nanobind::python_error();
    }
    ~BufferView() {
        nanobind::gil_scoped_acquire acquire;
        PyBuffer_Release(&view_);
    }
    BufferView(const BufferView&) = delete;
    BufferView& operator=(const BufferView&) = delete;

    const std::uint8_t* data() const { return static_cast<const std::uint8_t*>(view_.buf); }
    std::size_t size() const { return static_cast<std::size_t>(view_.len); }

private:
    Py_buffer view_{};
};

}  // namespace duoview
