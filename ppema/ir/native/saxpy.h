// How the library of Paddle's products, MKL, rounds p += a x.

#pragma once

#include <dlfcn.h>

namespace saxpy {

// Whether it rounds once, with FMA instructions, and not the product too. That depends on the processor and on MKL's settings,
// and so MKL is asked. false: this build of Paddle has no MKL.
inline bool rounds_once() {
  static const bool once = [] {
    using Saxpy = void (*)(int size, float a, const float* x, int step_x, float* p, int step_p);
    void* library = dlopen("libmklml_intel.so", RTLD_LAZY | RTLD_NOLOAD);
    const auto cblas_saxpy = library == nullptr ? nullptr : reinterpret_cast<Saxpy>(dlsym(library, "cblas_saxpy"));
    if (cblas_saxpy == nullptr) return false;
    constexpr float kTiny = 1.0f / 8192;
    // (1 + t)(1 - t) = 1 - t^2 is rounded to 1.
    const float x = 1 - kTiny;
    float p = -1;
    cblas_saxpy(1, 1 + kTiny, &x, 1, &p, 1);
    return p != 0;
  }();
  return once;
}

}  // namespace saxpy
