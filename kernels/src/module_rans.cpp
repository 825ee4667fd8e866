// Python's view of the entropy coder. Shapes, dtypes and contiguity are explained to the caller by kernels/rans.py; the
// types here only make sure that nothing else can get in.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/string.h>
#include <nanobind/stl/vector.h>

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
template <typename T>
using Output = nb::ndarray<T, nb::ndim<1>, nb::c_contig, nb::device::cpu>;
using Symbols = nb::ndarray<nb::numpy, std::int16_t, nb::ndim<1>>;

template <typename T>
nb::bytes encode(Input<T> symbols, Input<std::uint8_t> classes, std::uint32_t lanes, std::size_t chunk, std::size_t threads,
                 const std::string& path) {
    if (symbols.size() != classes.size()) throw std::invalid_argument("symbols and classes differ in length");
    if (lanes != 0 && lanes != 1 && lanes != 4 && lanes != kMaxLanes) throw std::invalid_argument("lanes are 1, 4 or 32");
    if (chunk % kMaxLanes != 0) throw std::invalid_argument("chunk is a multiple of 32");
    const EncodeKernels kernels = choose_encode(path);
    EncodedStream stream;
    {
        nb::gil_scoped_release release;
        stream = encode_stream(symbols.data(), classes.data(), classes.size(), {lanes, chunk, threads}, kernels);
    }
    if (stream.chunks.size() == 1)
        return nb::bytes(reinterpret_cast<const char*>(stream.chunks[0].data), stream.chunks[0].size);
    PyObject* const bytes = PyBytes_FromStringAndSize(nullptr, static_cast<Py_ssize_t>(stream.size()));
    if (!bytes) throw nb::python_error();
    const nb::bytes out = nb::steal<nb::bytes>(bytes);
    stream.copy(reinterpret_cast<std::uint8_t*>(PyBytes_AsString(bytes)));
    return out;
}

// Keeps the coded bytes alive (and unresizable) for as long as the decoder lives.
class Decoder {
public:
    Decoder(nb::handle data, std::size_t threads, const std::string& path)
        : view_(data), stream_(view_.data(), view_.size(), threads, choose_decode(path)) {}

    Symbols decode(Input<std::uint8_t> classes) {
        const std::size_t count = classes.size();
        std::unique_ptr<std::int16_t[]> symbols(new std::int16_t[count ? count : 1]);
        {
            nb::gil_scoped_release release;
            stream_.decode(classes.data(), count, symbols.get());
        }
        std::int16_t* const data = symbols.get();
        nb::capsule owner(data, [](void* p) noexcept { delete[] static_cast<std::int16_t*>(p); });
        symbols.release();
        return Symbols(data, {count}, owner);
    }

    void decode_into(Input<std::uint8_t> classes, Output<std::int16_t> out) {
        if (out.size() != classes.size()) throw std::invalid_argument("classes and out differ in length");
        nb::gil_scoped_release release;
        stream_.decode(classes.data(), classes.size(), out.data());
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
          nb::arg("lanes"), nb::arg("chunk"), nb::arg("threads"), nb::arg("path"));
    m.def("rans_encode", &encode<std::int8_t>, nb::arg("symbols").noconvert(), nb::arg("classes").noconvert(),
          nb::arg("lanes"), nb::arg("chunk"), nb::arg("threads"), nb::arg("path"));
    m.def("rans_frequencies", &class_frequencies, nb::arg("class_index"));
    nb::class_<Decoder>(m, "RansDecoder")
        .def(nb::init<nb::handle, std::size_t, const std::string&>(), nb::arg("data"), nb::arg("threads"), nb::arg("path"))
        .def("decode", &Decoder::decode, nb::arg("classes").noconvert())
        .def("decode_into", &Decoder::decode_into, nb::arg("classes").noconvert(), nb::arg("out").noconvert())
        .def("finish", &Decoder::finish);
}

}  // namespace duoview
