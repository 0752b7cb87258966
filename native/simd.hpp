// Vectors of `LANES` floats, by the compiler's vector extensions: one source for every instruction set.
#pragma once
#include <cstdint>

#ifndef LANES
#error "LANES is the number of floats in a register: 8 for AVX2, 16 for AVX-512"
#endif

#define UNROLL _Pragma("GCC unroll 32")

using Floats = float __attribute__((vector_size(4 * LANES), aligned(4), may_alias));
using Ints = int32_t __attribute__((vector_size(4 * LANES), aligned(4), may_alias));

inline Floats load(const float* from) { return *reinterpret_cast<const Floats*>(from); }
inline Ints load(const int32_t* from) { return *reinterpret_cast<const Ints*>(from); }
inline void store(float* to, Floats values) { *reinterpret_cast<Floats*>(to) = values; }
inline void store(int32_t* to, Ints values) { *reinterpret_cast<Ints*>(to) = values; }
inline Floats all(float value) { return value - Floats{}; }

// exp(x), with a relative error below 3e-7 where the result is a normal number. Cody and Waite's reduction: x is
// n ln 2 + r with |r| <= ln 2 / 2, exp(r) is its Taylor polynomial of degree 7, and n goes into the exponent.
inline Floats exponential(Floats x) {
    const Floats largest = all(88.0f), smallest = all(-87.0f);
    Floats bounded = x > largest ? largest : x;  // NaN stays NaN
    bounded = bounded < smallest ? smallest : bounded;
    const Floats shifter = all(12582912.0f);  // 1.5 * 2**23: adding it rounds to a whole number
    const Floats whole = (bounded * 1.44269504f + shifter) - shifter;
    const Floats rest = (bounded - whole * 0.693359375f) + whole * 2.12194440e-4f;
    Floats sum = all(1.0f / 5040);
    sum = sum * rest + 1.0f / 720;
    sum = sum * rest + 1.0f / 120;
    sum = sum * rest + 1.0f / 24;
    sum = sum * rest + 1.0f / 6;
    sum = sum * rest + 0.5f;
    sum = sum * rest + 1.0f;
    sum = sum * rest + 1.0f;
    const Floats finite = whole == whole ? whole : Floats{};
    const Ints exponent = (__builtin_convertvector(finite, Ints) + 127) << 23;
    return sum * reinterpret_cast<const Floats&>(exponent);
}

// tanh(x), with a relative error below 6e-7: its Taylor polynomial near 0, and 1 - 2 / (exp(2x) + 1) elsewhere.
inline Floats hyperbolic_tangent(Floats x) {
    const Floats square = x * x;
    Floats sum = all(1382.0f / 155925);
    sum = 62.0f / 2835 - sum * square;
    sum = sum * square - 17.0f / 315;
    sum = sum * square + 2.0f / 15;
    sum = sum * square - 1.0f / 3;
    const Floats near = x + x * square * sum;
    const Floats far = 1.0f - 2.0f / (exponential(x + x) + 1.0f);
    return square < 0.09f ? near : far;
}
