// The functions that `library.py` calls.
#include <exception>

#include "augmentation.hpp"
#include "network.hpp"
#include "optimizers.hpp"

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Version of the kernels. It is raised, here and in `library.py`, with every change that may change a bit of a result.
EXPORTED int version() { return 2; }

EXPORTED int lanes() { return LANES; }

EXPORTED void* network_new(const Shape* shapes, int layers, int largest_batch, int threads, const float* parameters,
                           float* gradients, float* statistics) {
    try {
        return new Network(shapes, layers, largest_batch, threads, parameters, gradients, statistics);
    } catch (const std::exception&) {  // no memory: the caller raises it
        return nullptr;
    }
}

EXPORTED void network_delete(void* network) { delete static_cast<Network*>(network); }

EXPORTED float network_loss(void* network, const void* inputs, const int64_t* labels, int count,
                            const float* const* masks) {
    return static_cast<Network*>(network)->loss(inputs, labels, count, masks);
}

EXPORTED void network_evaluate(void* network, const void* inputs, int count, float* logits, float* extremes) {
    static_cast<Network*>(network)->evaluate(inputs, count, logits, extremes);
}

EXPORTED void sgd(float* parameters, const float* gradients, float* momenta, long count, float rate, float decay,
                  float momentum) {
    update_sgd(parameters, gradients, momenta, count, rate, decay, momentum);
}

EXPORTED void adam(float* parameters, const float* gradients, float* means, float* squares, long count, double step,
                   double rate, double decay, int is_decoupled, double beta1, double beta2, double epsilon) {
    update_adam(parameters, gradients, means, squares, count, step, rate, decay, is_decoupled, beta1, beta2, epsilon);
}

EXPORTED void turn(const float* images, const int64_t* chosen, const float* turns, int count, int side, float black,
                   float* turned) {
    turn_images(images, chosen, turns, count, side, black, turned);
}

EXPORTED double squared_norm(const float* values, long count) {
    double total = 0;
    for (long i = 0; i < count; i++) total += double(values[i]) * values[i];
    return total;
}
