// Loops shared between the calling thread and a pool's.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <memory>
#include <thread>

namespace jsmpc {

// Runs body(i) for each i < count. Never waits for a thread that has not begun:
// the caller claims work like any other, so loops that fill the pool with each
// other's callers still finish. Late helpers find nothing left and return.
template <class Pool, class Body>
void parallel_for(Pool& pool, int64_t count, int64_t grain, const Body& body) {
  struct Shared {
    std::atomic<int64_t> next{0}, done{0};
  };
  const int64_t chunks = (count + grain - 1) / grain;
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), chunks) - 1;
  if (helpers <= 0) {
    for (int64_t i = 0; i < count; ++i) body(i);
    return;
  }
  const auto shared = std::make_shared<Shared>();
  const auto work = [shared, chunks, count, grain, &body] {
    for (int64_t c; (c = shared->next.fetch_add(1)) < chunks;) {
      const int64_t end = std::min(count, (c + 1) * grain);
      for (int64_t i = c * grain; i < end; ++i) body(i);
      shared->done.fetch_add(1, std::memory_order_release);
    }
  };
  for (int64_t h = 0; h < helpers; ++h) pool.Schedule([work] { work(); });
  work();
  while (shared->done.load(std::memory_order_acquire) < chunks)
    std::this_thread::yield();
}

}  // namespace jsmpc
