// Independent jobs on a given number of threads that live for one call: no pool, nothing left behind.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstddef>
#include <exception>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>

namespace duoview {

// Threads that some work is worth: one for every `least` of it, below which starting a thread takes longer than it saves.
inline std::size_t worthwhile(std::size_t threads, std::size_t work, std::size_t least) {
    return std::max<std::size_t>(1, std::min(threads, work / least));
}

// Calls body(0) .. body(jobs - 1), each once, on up to `threads` threads, the calling one among them. An exception of a job
// is thrown again when all have ended: of several the one of the lowest job, so that messages do not depend on timing.
template <typename Body>
void run_parallel(std::size_t threads, std::size_t jobs, const Body& body) {
    if (threads <= 1 || jobs <= 1) {
        for (std::size_t job = 0; job < jobs; ++job) body(job);
        return;
    }
    std::atomic<std::size_t> next{0};
    std::mutex lock;
    std::exception_ptr failure;
    std::size_t failed = std::numeric_limits<std::size_t>::max();
    const auto work = [&]() noexcept {
        for (std::size_t job = next.fetch_add(1); job < jobs; job = next.fetch_add(1)) {
            try {
                body(job);
            } catch (...) {
                const std::lock_guard<std::mutex> guard(lock);
                if (job < failed) {
                    failed = job;
                    failure = std::current_exception();
                }
            }
        }
    };
    std::vector<std::thread> helpers;
    helpers.reserve(jobs < threads ? jobs : threads);
    while (helpers.size() + 1 < (jobs < threads ? jobs : threads)) {
        try {
            helpers.emplace_back(work);
        } catch (...) {
            break;  // no more threads, or no memory for one: those there are do all jobs, with the same result
        }
    }
    work();
    for (std::thread& helper : helpers) helper.join();
    if (failure) std::rethrow_exception(failure);
}

}  // namespace duoview
