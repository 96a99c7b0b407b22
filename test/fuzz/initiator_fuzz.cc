// For clang: clang++ -std=c++20 -fsanitize=fuzzer,address -Inative -Itest/native -Itest/fuzz
// test/fuzz/initiator_fuzz.cc native/fabric/*.cc native/base/*.cc. Without clang the target runs in
// native_test, over seeded mutations (test/native/fuzz_test.cc).
#include <cstddef>
#include <cstdint>

#include "initiator_target.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  farpage::fuzz::FuzzInitiator({reinterpret_cast<const std::byte*>(data), size});
  return 0;
}
