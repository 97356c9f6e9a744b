#include "peak.h"

#include <atomic>
#include <chrono>
#include <cstdint>
#include <thread>
#include <vector>

#include "fss.h"
#include "kernels.h"

namespace jsmpc {
namespace {

constexpr int64_t kRounds = 10000;  // between two looks at the clock

std::atomic<uint64_t> seen{0};  // what no compiler may leave out

template <class Loop>
double rate(Loop loop, int threads, double seconds) {
  using Clock = std::chrono::steady_clock;
  std::vector<double> rates(threads > 0 ? threads : 1);
  const auto work = [&](double& result) {
    uint64_t sink = loop(kRounds).sink;
    const auto start = Clock::now();
    double amount = 0, elapsed = 0;
    do {
      const Work done = loop(kRounds);
      amount += double(done.amount);
      sink += done.sink;
      elapsed = std::chrono::duration<double>(Clock::now() - start).count();
    } while (elapsed < seconds);
    seen += sink;
    result = amount / elapsed / 1e9;
  };
  std::vector<std::thread> helpers;
  for (size_t i = 1; i < rates.size(); ++i)
    helpers.emplace_back([&work, &rates, i] { work(rates[i]); });
  work(rates[0]);
  for (std::thread& helper : helpers) helper.join();
  double sum = 0;
  for (const double r : rates) sum += r;
  return sum;
}

}  // namespace
}  // namespace jsmpc

double jsmpc_peak_gops(int threads, double seconds) {
  return jsmpc::rate(jsmpc::kernels().peak_gemm, threads, seconds);
}

double jsmpc_peak_keystream(int threads, double seconds) {
  return jsmpc::rate(jsmpc::kernels().peak_keystream, threads, seconds);
}

double jsmpc_peak_hashes(int threads, double seconds) {
  return jsmpc::rate(jsmpc::fss_kernels().peak, threads, seconds);
}
