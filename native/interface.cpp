// The functions that `library.py` calls.
#include <exception>

#include "augmentation.hpp"
#include "network.hpp"

#define EXPORTED extern "C" __attribute__((visibility("default")))

// Version of the kernels. It is raised, here and in `library.py`, with every change that may change a bit of a result.
EXPORTED int version() { return 3; }

EXPORTED int lanes() { return LANES; }

EXPORTED void* network_new(const Shape* shapes, int layers, int largest_batch, int threads, float* parameters,
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

EXPORTED void network_sgd(void* network, float* momenta, long count, float rate, float decay, float momentum) {
    static_cast<Network*>(network)->sgd(momenta, count, rate, decay, momentum);
}

EXPORTED void network_adam(void* network, float* means, float* squares, long count, double step, double rate,
                           double decay, int is_decoupled, double beta1, double beta2, double epsilon) {
    static_cast<Network*>(network)->adam(means, squares, count,
                                         {step, rate, decay, is_decoupled != 0, beta1, beta2, epsilon});
}

EXPORTED void turn(const float* images, const int64_t* chosen, const float* turns, int count, int side, float black,
                   float* turned) {
    turn_images(images, chosen, turns, count, side, black, turned);
}

EXPORTED void cut(const float* images, int height, int width, int channels, int border, const int64_t* chosen,
                  const int64_t* rows, const int64_t* columns, const uint8_t* flips, const float* gains,
                  const float* offsets, int count, float* found) {
    const Cuts cuts = {images, height, width, channels, border, chosen, rows, columns, flips, gains, offsets};
    const auto function = channels == 1 ? cut_images<1> : channels == 3 ? cut_images<3> : cut_images<0>;
    function(cuts, count, found);
}

EXPORTED double squared_norm(const float* values, long count) {
    return sum_of_squares(values, count);
}
