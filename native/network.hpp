// A network: the loss of a batch and its gradients, and evaluation.
//
// Examples are split into groups of `GROUP`. A thread takes a whole group, each group has sums of its own, and these are
// added in order. Linear layers are split by columns of the result, and by rows if the columns cannot be shared evenly,
// which changes none of their sums. So results do not depend on the number of threads.
#pragma once
#include "layers.hpp"
#include "optimizers.hpp"
#include "team.hpp"

class Network {
   public:
    static constexpr int GROUP = 16;
    static constexpr int ROWS = 96;  // of a linear layer's weights, whose gradients are computed together
    static constexpr float EPSILON = 1e-5f, MOMENTUM = 0.1f;  // of batch norm: torch's

    // The arrays belong to the caller. They hold parameters, gradients and running statistics as `Shape` places them.
    Network(const Shape* shapes, int layer_count, int largest_batch, int threads, float* parameters,
            float* gradients, float* statistics);

    // Mean cross entropy (nats) of a batch: floats, or tokens as int64. Fills the gradients, and updates the running
    // statistics. `dropout_masks` has the factors of dropout, (size, values of the layer), for each layer that drops.
    float loss(const void* batch, const int64_t* labels, int size, const float* const* dropout_masks);

    // Logits (size, units of the last layer). Each layer with an activation has a place for each padded channel in
    // `extremes`: it takes part in the largest output of a relu, or in the smallest magnitude of a tanh. Null for none.
    void evaluate(const void* batch, int size, float* logits, float* extremes);

    // Steps of the optimizers on the gradients that `loss` has left. `count` is the number of parameters.
    void sgd(float* momenta, long count, float rate, float decay, float momentum);
    void adam(float* means, float* squares, long count, const AdamStep& step);

   private:
    // What batch norm does to each channel of this batch.
    struct Norm {
        std::vector<float> mean, deviation_inverse, factor, shift;
    };
    using Sums = std::vector<std::vector<double>>;  // by group and channel

    std::vector<Layer> layers;
    std::vector<Buffers> buffers;
    std::vector<Norm> norms;
    std::vector<Sums> sums, products;
    std::vector<std::vector<std::vector<float>>> weight_gradients;  // of convolutions, by layer and group
    std::vector<std::vector<float>> raw_scratch, row_scratch, panel_scratch;  // by thread
    std::vector<std::vector<std::vector<float>>> spread_scratch;    // by thread and layer
    std::vector<float> images;  // the inputs with a border, if a convolution reads them
    std::vector<float> packed;  // the inputs of a linear layer: some of all examples, then the next
    int thread_count;
    float *parameters, *gradients, *statistics;
    Team team;

    const void* inputs = nullptr;
    const float* const* masks = nullptr;
    int count = 0;
    bool is_training = false;

    template <typename Work>
    void each_group(Work work);
    template <typename Work>
    void each_example(Work work);
    template <typename Work>
    void each_slice(long parameter_count, Work work);
    const float* input_of(int layer, int example) const;
    void add_border(int example);
    bool is_measured(int layer) const;
    // Number of the inputs of a linear layer, rounded up to whole parts of their gradients' computation.
    static int padded_rows(const Layer& layer) { return int((layer.inputs + ROWS - 1) / ROWS * ROWS); }
    void forward();
    void apply(int layer, int example, int thread);
    void add_to_sums(int layer, int example, int group);
    template <typename Work>
    void each_panel(int columns, int rows, int block, Work work);
    void multiply_batch(int layer);
    void convolve_example(int layer, int example, int thread);
    void average_pixels(int layer, int example, int thread);
    void look_up(int example);
    void finish(int layer, int example);
    void finish(int layer, int example, const float* raw);
    void measure_norm(int layer);
    void use_running_norm(int layer);
    double loss_of_logits(const int64_t* labels);
    void backward(int layer);
    void activation_gradients(int layer, int example, int group);
    void add_up_sums(int layer);
    void norm_gradients(int layer, int example);
    void convolution_gradients(int layer, int example, int group, int thread);
    void linear_input_gradients(int layer);
    void linear_weight_gradients(int layer);
    void spread_average(int layer, int example);
    void embedding_gradients();
};
