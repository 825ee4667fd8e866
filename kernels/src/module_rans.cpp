// Python's view of the entropy coder. Shapes, dtypes and contiguity are explained to the caller by kernels/rans.py; the
// types here only make sure that nothing else can get in.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

#include <cstring>
#include <memory>

#include "buffer_view.hpp"
#include "dispatch.hpp"
#include "module.hpp"
#include "rans_stream.hpp"
#include "rans_tables.hpp"

namespace nb = nanobind;

namespace duoview {
namespace {

template <typename T>
using Input = nb::ndarray<const T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Symbols = nb::ndarray<nb::numpy, std::int16_t, nb::ndim<1>>;

template <typename T>
nb::bytes encode(Input<T> symbols, Input<std::uint8_t> classes, std::uint32_t lanes, const std::string& path) {
    if (symbols.size() != classes.size()) throw std::invalid_argument("symbols and classes differ in length");
    if (lanes != 0 && lanes != 1 && lanes != 4 && lanes != kMaxLanes) throw std::invalid_argument("lanes are 1, 4 or 32");
    const EncodeFunction function = choose_encode(path);
    EncodedStream stream;
    {
        nb::gil_scoped_release release;
        stream = encode_stream(symbols.data(), classes.data(), classes.size(), lanes, function);
    }
    return nb::bytes(reinterpret_cast<const char*>(stream.data), stream.size);
}

// Keeps the coded bytes alive (and unresizable) for as long as the decoder lives.
class Decoder {
public:
    Decoder(nb::handle data, const std::string& path)
        : view_(data), stream_(view_.data(), view_.size(), choose_decode(path)) {}

    Symbols decode(Input<std::uint8_t> classes) {
        const std::size_t count = classes.size();
        // The decoder goes over the classes several times, and table indices depend on the first: another thread that
        // writes to the caller's array meanwhile must not be seen.
        std::unique_ptr<std::uint8_t[]> own(new std::uint8_t[count ? count : 1]);
        if (count) std::memcpy(own.get(), classes.data(), count);
        std::unique_ptr<std::int16_t[]> symbols(new std::int16_t[count ? count : 1]);
        {
            nb::gil_scoped_release release;
            stream_.decode(own.get(), count, symbols.get());
        }
        std::int16_t* const data = symbols.get();
        nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<std::int16_t*>(p); });
        symbols.release();
        return Symbols(data, {count}, owner);
    }

    void finish() { stream_.finish(); }

private:
    BufferView view_;
    StreamDecoder stream_;
};

void translate(const std::exception_ptr& pointer, void*) {
    try {
        std::rethrow_exception(pointer);
    } catch (const BitstreamFault& fault) {
        const nb::object type = nb::module_::import_("duoview.kernels.errors").attr("BitstreamError");
        const nb::object error = type(fault.what(), fault.offset());
        PyErr_SetObject(type.ptr(), error.ptr());
    }
}

}  // namespace

void bind_rans(nb::module_& m) {
    nb::register_exception_translator(&translate);
    m.def("rans_encode", &encode<std::int16_t>, nb::arg("symbols").noconvert(), nb::arg("classes").noconvert(),
          nb::arg("lanes"), nb::arg("path"));
    m.def("rans_encode", &encode<std::int8_t>, nb::arg("symbols").noconvert(), nb::arg("classes").noconvert(),
          nb::arg("lanes"), nb::arg("path"));
    m.def("rans_frequencies", &class_frequencies, nb::arg("class_index"));
    nb::class_<Decoder>(m, "RansDecoder")
        .def(nb::init<nb::handle, const std::string&>(), nb::arg("data"), nb::arg("path"))
        .def("decode", &Decoder::decode, nb::arg("classes").noconvert())
        .def("finish", &Decoder::finish);
}

}  // namespace duoview
