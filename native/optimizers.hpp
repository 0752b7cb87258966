// Steps of the optimizers, for some of the parameters. They compute what torch's fused ones do.
#pragma once
#include <cmath>

#include "simd.hpp"

// Stochastic gradient descent with momentum (Sutskever et al. 2013). Decay is an L2 term.
inline void update_sgd(float* __restrict parameters, const float* __restrict gradients, float* __restrict momenta,
                       long count, float rate, float decay, float momentum) {
    for (long i = 0; i < count; i++) {
        const float gradient = gradients[i] + decay * parameters[i];
        momenta[i] = momentum * momenta[i] + gradient;
        parameters[i] -= rate * momenta[i];
    }
}

// The settings of a step of Adam, the `step`th. Decay is an L2 term, or is decoupled (Loshchilov and Hutter 2019).
struct AdamStep {
    double step, rate, decay;
    bool is_decoupled;
    double beta1, beta2, epsilon;
};

// Adam (Kingma and Ba 2015).
inline void update_adam(float* __restrict parameters, const float* __restrict gradients, float* __restrict means,
                        float* __restrict squares, long count, const AdamStep& s) {
    const float correction = float(1.0 / std::sqrt(1.0 - std::pow(s.beta2, s.step)));
    const float step_size = float(s.rate / (1.0 - std::pow(s.beta1, s.step)));
    const float kept = s.is_decoupled ? float(1.0 - s.rate * s.decay) : 1.0f;
    const float added = s.is_decoupled ? 0.0f : float(s.decay);
    const float new_mean = float(1.0 - s.beta1), old = float(s.beta2), new_square = float(1.0 - s.beta2);
    const float least = float(s.epsilon);
    for (long i = 0; i < count; i++) {
        const float parameter = parameters[i] * kept, gradient = gradients[i] + added * parameters[i];
        means[i] += new_mean * (gradient - means[i]);
        squares[i] = old * squares[i] + new_square * gradient * gradient;
        parameters[i] = parameter - step_size * means[i] / (std::sqrt(squares[i]) * correction + least);
    }
}

// Sum of the squares, by lanes in doubles.
inline double sum_of_squares(const float* values, long count) {
    double totals[LANES] = {};
    long i = 0;
    for (; i + LANES <= count; i += LANES)
        for (int lane = 0; lane < LANES; lane++) totals[lane] += double(values[i + lane]) * values[i + lane];
    double total = 0;
    for (double of_lane : totals) total += of_lane;
    for (; i < count; i++) total += double(values[i]) * values[i];
    return total;
}
