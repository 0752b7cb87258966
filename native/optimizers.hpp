// Steps of the optimizers. They compute what torch's fused ones do.
#pragma once
#include <cmath>

// Stochastic gradient descent with momentum (Sutskever et al. 2013). Decay is an L2 term.
inline void update_sgd(float* __restrict parameters, const float* __restrict gradients, float* __restrict momenta,
                       long count, float rate, float decay, float momentum) {
    for (long i = 0; i < count; i++) {
        const float gradient = gradients[i] + decay * parameters[i];
        momenta[i] = momentum * momenta[i] + gradient;
        parameters[i] -= rate * momenta[i];
    }
}

// Adam (Kingma and Ba 2015). Decay is an L2 term, or is decoupled (Loshchilov and Hutter 2019).
inline void update_adam(float* __restrict parameters, const float* __restrict gradients, float* __restrict means,
                        float* __restrict squares, long count, double step, double rate, double decay,
                        bool is_decoupled, double beta1, double beta2, double epsilon) {
    const float correction = float(std::sqrt(1.0 - std::pow(beta2, step)));
    const float step_size = float(rate / (1.0 - std::pow(beta1, step)));
    const float kept = is_decoupled ? float(1.0 - rate * decay) : 1.0f, added = is_decoupled ? 0.0f : float(decay);
    const float new_mean = float(1.0 - beta1), old = float(beta2), new_square = float(1.0 - beta2);
    const float least = float(epsilon);
    for (long i = 0; i < count; i++) {
        const float parameter = parameters[i] * kept, gradient = gradients[i] + added * parameters[i];
        means[i] += new_mean * (gradient - means[i]);
        squares[i] = old * squares[i] + new_square * gradient * gradient;
        parameters[i] = parameter - step_size * means[i] / (std::sqrt(squares[i]) / correction + least);
    }
}
