#include "network.hpp"

namespace {

// Adds the floats of a vector to doubles.
void add(double* sums, Floats values) {
    for (int i = 0; i < LANES; i++) sums[i] += values[i];
}

}  // namespace

Network::Network(const Shape* shapes, int layer_count, int largest_batch, int threads, const float* parameters,
                 float* gradients, float* statistics)
    : layers(shapes, shapes + layer_count),
      thread_count(std::max(1, std::min(threads, (largest_batch + GROUP - 1) / GROUP))),
      parameters(parameters),
      gradients(gradients),
      statistics(statistics),
      team(thread_count) {
    const int largest_groups = (largest_batch + GROUP - 1) / GROUP;
    buffers.resize(layer_count), norms.resize(layer_count), sums.resize(layer_count), products.resize(layer_count);
    weight_gradients.resize(layer_count), raw_scratch.resize(thread_count), row_scratch.resize(thread_count);
    spread_scratch.assign(thread_count, std::vector<std::vector<float>>(layer_count));
    size_t raw_size = 0, row_size = 0;
    for (int l = 0; l < layer_count; l++) {
        Layer& layer = layers[l];
        layer.read_by(l + 1 < layer_count ? &layers[l + 1] : nullptr);
        const size_t values = size_t(largest_batch) * layer.values;
        if (layer.has_norm) buffers[l].raw.resize(values);
        buffers[l].out.resize(size_t(largest_batch) * layer.out_values);
        buffers[l].gradient.resize(values);
        if (layer.pools()) buffers[l].winner.resize(values);
        if (l > 0 && layer.kind != Kind::average) buffers[l].transposed.resize(size_t(layer.depth()) * layer.outputs);
        const std::vector<float> channels(layer.outputs);
        norms[l] = {channels, channels, channels, channels};
        sums[l].assign(largest_groups, std::vector<double>(layer.outputs));
        products[l] = sums[l];
        raw_size = std::max(raw_size, size_t(layer.is_convolution() ? 1 : GROUP) * layer.values);
        if (!layer.is_convolution()) continue;
        row_size = std::max(row_size, size_t(2) * layer.conv_width * PANEL);
        weight_gradients[l].assign(largest_groups, std::vector<float>(size_t(layer.depth()) * layer.outputs));
        for (auto& of_thread : spread_scratch) of_thread[l].resize(layer.spread_values());
    }
    for (int thread = 0; thread < thread_count; thread++) {
        raw_scratch[thread].resize(raw_size);
        row_scratch[thread].resize(row_size);
    }
    const Layer& first = layers.front();
    if (first.is_convolution()) images.resize(size_t(largest_batch) * first.image_values());
}

float Network::loss(const void* batch, const int64_t* labels, int size, const float* const* dropout_masks) {
    inputs = batch, count = size, masks = dropout_masks, is_training = true;
    forward();
    const double total = loss_of_logits(labels);
    for (int l = int(layers.size()) - 1; l >= 0; l--) backward(l);
    return float(total / size);
}

void Network::evaluate(const void* batch, int size, float* logits, float* extremes) {
    inputs = batch, count = size, masks = nullptr, is_training = false;
    forward();
    const Layer& last = layers.back();
    for (int n = 0; n < size; n++)
        std::memcpy(logits + n * last.units, &buffers.back().out[size_t(n) * last.out_values], 4 * last.units);
    if (!extremes) return;
    for (size_t l = 0; l + 1 < layers.size(); l++) {
        const Layer& layer = layers[l];
        if (layer.activation == Activation::none) continue;
        for (int v = 0; v < layer.outputs; v += LANES, extremes += LANES) {
            Floats found = load(extremes);
            for (int n = 0; n < size; n++)
                for (int row = 0; row < layer.out_height; row++)
                    for (int column = 0; column < layer.out_width; column++) {
                        const float* from = &buffers[l].out[size_t(n) * layer.out_values];
                        const Floats value = load(from + layer.place(row, column) + v);
                        if (layer.activation == Activation::tanh) {
                            const Floats magnitude = value < 0.0f ? -value : value;
                            found = magnitude < found ? magnitude : found;
                        } else {
                            found = value > found ? value : found;
                        }
                    }
            store(extremes, found);
        }
    }
}

// Calls `work(first, last, group, thread)` for each group of examples.
template <typename Work>
void Network::each_group(Work work) {
    team.share((count + GROUP - 1) / GROUP, [&](int group, int thread) {
        work(group * GROUP, std::min(count, (group + 1) * GROUP), group, thread);
    });
}

// The values that a layer reads. Those of a convolution have a border.
const float* Network::input_of(int layer, int example) const {
    if (layer > 0) return &buffers[layer - 1].out[size_t(example) * layers[layer - 1].out_values];
    const Layer& first = layers.front();
    if (first.is_convolution()) return &images[size_t(example) * first.image_values()];
    return static_cast<const float*>(inputs) + example * first.inputs;
}

void Network::add_border(int example) {
    const Layer& first = layers.front();
    const long row_values = first.width * first.inputs, bordered = first.image_row();
    const float* from = static_cast<const float*>(inputs) + example * first.height * row_values;
    float* to = &images[size_t(example) * first.image_values()] + first.kernel_height / 2 * bordered +
                first.kernel_width / 2 * first.inputs;
    for (int row = 0; row < first.height; row++)
        std::memcpy(to + row * bordered, from + row * row_values, 4 * row_values);
}

// Whether batch norm takes mean and variance from the batch: in training, unless it has a single value for a channel.
bool Network::is_measured(int layer) const {
    return is_training && layers[layer].has_norm && count * layers[layer].pixels > 1;
}

void Network::forward() {
    for (size_t l = 0; l < layers.size(); l++)
        if (layers[l].has_norm && !is_measured(l)) use_running_norm(l);
    for (int l = 0; l < int(layers.size()); l++) {
        each_group([&](int first, int last, int group, int thread) {
            for (int n = first; n < last; n++) {
                if (l == 0 && layers[0].is_convolution()) add_border(n);
                if (l > 0 && is_measured(l - 1)) finish(l - 1, n, &buffers[l - 1].raw[size_t(n) * layers[l - 1].values]);
            }
            apply(l, first, last, thread);
            if (!is_measured(l)) return;
            double* sum = sums[l][group].data();
            std::fill_n(sum, layers[l].outputs, 0.0);
            for (int n = first; n < last; n++)
                for (int v = 0; v < layers[l].outputs; v += LANES) {
                    const float* raw = &buffers[l].raw[size_t(n) * layers[l].values + v];
                    Floats partial{};
                    for (int p = 0; p < layers[l].pixels; p++) partial += load(raw + p * layers[l].outputs);
                    add(sum + v, partial);
                }
        });
        if (is_measured(l)) measure_norm(l);
    }
}

// Computes a layer for some examples, and finishes them unless that needs the whole batch.
void Network::apply(int l, int first, int last, int thread) {
    switch (layers[l].kind) {
        case Kind::linear:
            return multiply_examples(l, first, last, thread);
        case Kind::convolution:
            for (int n = first; n < last; n++) convolve_example(l, n, thread);
            return;
        case Kind::average:
            for (int n = first; n < last; n++) average_pixels(l, n, thread);
            return;
        case Kind::embedding:
            for (int n = first; n < last; n++) look_up(n);
    }
}

void Network::multiply_examples(int l, int first, int last, int thread) {
    const Layer& layer = layers[l];
    const float* shift = layer.has_norm ? nullptr : parameters + layer.shift;
    float* raw = layer.has_norm ? &buffers[l].raw[size_t(first) * layer.values] : raw_scratch[thread].data();
    const long from_row = l > 0 ? layers[l - 1].out_values : layer.inputs;
    for (int column = 0; column < layer.outputs; column += PANEL) {
        const int panel = layer.panel_width(column);
        multiply({input_of(l, first), from_row, 1, 0, parameters + layer.weights + column * layer.inputs, panel, 0,
                  raw + column, long(layer.outputs), int(layer.inputs), 1, shift ? shift + column : nullptr, false},
                 last - first, panel);
    }
    if (!is_measured(l))
        for (int n = first; n < last; n++) finish(l, n, raw + (n - first) * layer.values);
}

void Network::convolve_example(int l, int n, int thread) {
    const Layer& layer = layers[l];
    const Convolution convolution = {layer.conv_height, layer.conv_width, int(layer.inputs), int(layer.outputs),
                                     int(layer.kernel_height), int(layer.kernel_width), int(layer.stride),
                                     layer.image_row()};
    const size_t place = size_t(n) * layer.values;
    const float *image = input_of(l, n), *weights = parameters + layer.weights;
    const float* shift = layer.has_norm ? nullptr : parameters + layer.shift;
    float *raw = layer.has_norm ? &buffers[l].raw[place] : raw_scratch[thread].data(), *rows = row_scratch[thread].data();
    if (!layer.pools())
        convolve(convolution, image, weights, shift, raw);
    else if (layer.pool_height == 2)
        convolve_and_pool<2>(convolution, image, weights, shift, raw, &buffers[l].winner[place], rows);
    else
        convolve_and_pool<1>(convolution, image, weights, shift, raw, &buffers[l].winner[place], rows);
    if (!is_measured(l)) finish(l, n, raw);
}

void Network::average_pixels(int l, int n, int thread) {
    const Layer& before = layers[l - 1];
    float* raw = raw_scratch[thread].data();
    for (int v = 0; v < before.outputs; v += LANES) {
        Floats sum{};
        for (int p = 0; p < before.pixels; p++) sum += load(input_of(l, n) + p * before.outputs + v);
        store(raw + v, sum / float(before.pixels));
    }
    finish(l, n, raw);
}

void Network::look_up(int n) {
    const Layer& layer = layers.front();
    const int64_t* tokens = static_cast<const int64_t*>(inputs) + n * layer.width;
    float* out = &buffers.front().out[size_t(n) * layer.out_values];
    for (int p = 0; p < layer.width; p++)
        std::memcpy(out + layer.place(0, p), parameters + layer.weights + tokens[p] * layer.outputs, 4 * layer.outputs);
}

// Batch norm, activation and dropout of an example.
void Network::finish(int l, int n, const float* raw) {
    const Layer& layer = layers[l];
    const float* mask = is_training && layer.drops ? masks[l] + size_t(n) * layer.values : nullptr;
    float* out = &buffers[l].out[size_t(n) * layer.out_values];
    const int channels = int(layer.outputs);
    for (int row = 0, p = 0; row < layer.out_height; row++)
        for (int column = 0; column < layer.out_width; column++, p++) {
            const int from = p * channels;
            float* to = out + layer.place(row, column);
            for (int v = 0; v < channels; v += LANES) {
                Floats value = load(raw + from + v);
                if (layer.has_norm) value = value * load(&norms[l].factor[v]) + load(&norms[l].shift[v]);
                if (layer.activation == Activation::relu) value = value < 0.0f ? Floats{} : value;  // NaN stays
                if (layer.activation == Activation::tanh) value = hyperbolic_tangent(value);
                if (mask) value *= load(mask + from + v);
                store(to + v, value);
            }
        }
}

// Fixes what batch norm does, by mean and variance of this batch. The sums of its groups are there.
void Network::measure_norm(int l) {
    const Layer& layer = layers[l];
    Norm& norm = norms[l];
    const int channels = int(layer.outputs), groups = (count + GROUP - 1) / GROUP;
    const double size = double(count) * layer.pixels;
    for (int c = 0; c < channels; c++) {
        double total = 0;
        for (int group = 0; group < groups; group++) total += sums[l][group][c];
        norm.mean[c] = float(total / size);
    }
    each_group([&](int first, int last, int group, int) {
        double* sum = products[l][group].data();
        std::fill_n(sum, channels, 0.0);
        for (int n = first; n < last; n++)
            for (int v = 0; v < channels; v += LANES) {
                const float* raw = &buffers[l].raw[size_t(n) * layer.values + v];
                const Floats mean = load(&norm.mean[v]);
                Floats partial{};
                for (int p = 0; p < layer.pixels; p++) {
                    const Floats distance = load(raw + p * channels) - mean;
                    partial += distance * distance;
                }
                add(sum + v, partial);
            }
    });
    float *running_mean = statistics + layer.statistics, *running_variance = running_mean + channels;
    for (int c = 0; c < channels; c++) {
        double total = 0;
        for (int group = 0; group < groups; group++) total += products[l][group][c];
        const float inverse = float(1.0 / std::sqrt(total / size + double(EPSILON)));
        norm.deviation_inverse[c] = inverse;
        norm.factor[c] = parameters[layer.scale + c] * inverse;
        norm.shift[c] = parameters[layer.shift + c] - norm.mean[c] * norm.factor[c];
        running_mean[c] += MOMENTUM * (norm.mean[c] - running_mean[c]);
        running_variance[c] += MOMENTUM * (float(total / (size - 1)) - running_variance[c]);
    }
}

// Fixes what batch norm does, by the running statistics.
void Network::use_running_norm(int l) {
    const Layer& layer = layers[l];
    Norm& norm = norms[l];
    const float *running_mean = statistics + layer.statistics, *running_variance = running_mean + layer.outputs;
    for (int c = 0; c < layer.outputs; c++) {
        norm.mean[c] = running_mean[c];
        norm.deviation_inverse[c] = 1.0f / std::sqrt(running_variance[c] + EPSILON);
        norm.factor[c] = parameters[layer.scale + c] * norm.deviation_inverse[c];
        norm.shift[c] = parameters[layer.shift + c] - norm.mean[c] * norm.factor[c];
    }
}

// Sum of the cross entropies of a batch, and the gradients of their mean by the logits.
double Network::loss_of_logits(const int64_t* labels) {
    const Layer& last = layers.back();
    const int l = int(layers.size()) - 1;
    std::vector<double> totals((count + GROUP - 1) / GROUP);
    each_group([&](int first, int end, int group, int) {
        std::fill(sums[l][group].begin(), sums[l][group].end(), 0.0);
        for (int n = first; n < end; n++) {
            const float* logits = &buffers.back().out[size_t(n) * last.out_values];
            float* gradient = &buffers.back().gradient[size_t(n) * last.values];
            float largest = logits[0];
            for (int i = 1; i < last.units; i++) largest = logits[i] <= largest ? largest : logits[i];
            float total = 0;
            for (int i = 0; i < last.outputs; i += LANES) store(gradient + i, exponential(load(logits + i) - largest));
            for (int i = 0; i < last.units; i++) total += gradient[i];
            totals[group] += std::log(double(total)) + largest - logits[labels[n]];
            for (int i = 0; i < last.outputs; i++)
                gradient[i] = i < last.units ? (gradient[i] / total - (i == labels[n])) / float(count) : 0.0f;
            activation_gradients(l, n, group);
        }
    });
    double total = 0;
    for (double of_group : totals) total += of_group;
    return total;
}

// Gradients of a layer's parameters, and of the outputs of the layer before. Those of its own outputs, times the slopes
// of dropout and activation, are there with their sums.
void Network::backward(int l) {
    const Layer& layer = layers[l];
    add_up_sums(l);
    if (layer.kind == Kind::embedding) return embedding_gradients();
    if (l > 0 && layer.is_convolution())
        transpose_convolution(layer, parameters + layer.weights, buffers[l].transposed.data());
    else if (l > 0 && layer.kind == Kind::linear)
        team.share(int((layer.inputs + PANEL - 1) / PANEL), [&](int panel, int) {
            transpose_panel(layer, parameters + layer.weights, panel * PANEL, buffers[l].transposed.data());
        });
    each_group([&](int first, int last, int group, int thread) {
        if (layer.has_norm)
            for (int n = first; n < last; n++) norm_gradients(l, n);
        if (l > 0) {
            std::fill(sums[l - 1][group].begin(), sums[l - 1][group].end(), 0.0);
            std::fill(products[l - 1][group].begin(), products[l - 1][group].end(), 0.0);
        }
        if (layer.is_convolution()) convolution_gradients(l, first, last, group, thread);
        if (l == 0) return;
        if (layer.kind == Kind::linear) linear_input_gradients(l, first, last);
        for (int n = first; n < last; n++) {
            if (layer.kind == Kind::average) spread_average(l, n);
            activation_gradients(l - 1, n, group);
        }
    });
    if (layer.kind == Kind::linear) linear_weight_gradients(l);
    if (!layer.is_convolution()) return;
    const int groups = (count + GROUP - 1) / GROUP, size = int(layer.depth() * layer.outputs);
    float* to = gradients + layer.weights;
    std::memcpy(to, weight_gradients[l][0].data(), 4 * size);
    for (int group = 1; group < groups; group++)
        for (int i = 0; i < size; i++) to[i] += weight_gradients[l][group][i];
}

// Multiplies the gradients of an example's outputs by the slopes of dropout and activation, and adds to the sums.
void Network::activation_gradients(int l, int n, int group) {
    const Layer& layer = layers[l];
    const size_t place = size_t(n) * layer.values;
    const float* mask = layer.drops ? masks[l] + place : nullptr;
    const float* raw = layer.has_norm ? &buffers[l].raw[place] : nullptr;
    const float* out = &buffers[l].out[size_t(n) * layer.out_values];
    float* gradient = &buffers[l].gradient[place];
    const int channels = int(layer.outputs);
    for (int v = 0; v < channels; v += LANES) {
        Floats sum{}, product{};
        const Floats mean = load(&norms[l].mean[v]);
        for (int row = 0, at = v; row < layer.out_height; row++)
            for (int column = 0; column < layer.out_width; column++, at += channels) {
                Floats slope = load(gradient + at);
                Floats value = load(out + layer.place(row, column) + v);
                if (mask) {
                    const Floats factor = load(mask + at);
                    slope *= factor;
                    value = factor > 0.0f ? value / factor : value;
                }
                if (layer.activation == Activation::relu) slope = value > 0.0f ? slope : Floats{};
                if (layer.activation == Activation::tanh) slope *= 1.0f - value * value;
                store(gradient + at, slope);
                sum += slope;
                if (raw) product += slope * (load(raw + at) - mean);
            }
        add(&sums[l][group][v], sum);
        if (raw) add(&products[l][group][v], product);
    }
}

// Gradients of the biases, or of the scales and shifts of batch norm.
void Network::add_up_sums(int l) {
    const Layer& layer = layers[l];
    const int groups = (count + GROUP - 1) / GROUP;
    if (layer.shift == ABSENT) return;
    for (int c = 0; c < layer.outputs; c++) {
        double sum = 0, product = 0;
        for (int group = 0; group < groups; group++) sum += sums[l][group][c], product += products[l][group][c];
        gradients[layer.shift + c] = float(sum);
        if (layer.has_norm) gradients[layer.scale + c] = float(product * norms[l].deviation_inverse[c]);
    }
}

// Gradients of what batch norm read, from those of what it wrote (Ioffe and Szegedy 2015, section 3).
void Network::norm_gradients(int l, int n) {
    const Layer& layer = layers[l];
    const Norm& norm = norms[l];
    const int channels = int(layer.outputs);
    const float share = is_measured(l) ? 1.0f / (float(count) * layer.pixels) : 0.0f;
    const float* raw = &buffers[l].raw[size_t(n) * layer.values];
    float* gradient = &buffers[l].gradient[size_t(n) * layer.values];
    for (int v = 0; v < channels; v += LANES) {
        const Floats factor = load(&norm.factor[v]), mean = load(&norm.mean[v]), inverse = load(&norm.deviation_inverse[v]);
        const Floats level = load(gradients + layer.shift + v) * share;
        const Floats slope = load(gradients + layer.scale + v) * inverse * share;
        for (int at = v; at < layer.values; at += channels)
            store(gradient + at, (load(gradient + at) - level - (load(raw + at) - mean) * slope) * factor);
    }
}

void Network::convolution_gradients(int l, int first, int last, int group, int thread) {
    const Layer& layer = layers[l];
    float* image = spread_scratch[thread][l].data();
    float* weights = weight_gradients[l][group].data();
    std::memset(weights, 0, 4 * layer.depth() * layer.outputs);
    const Convolution turned = {int(layer.height), int(layer.width), int(layer.outputs), int(layer.inputs),
                                int(layer.kernel_height), int(layer.kernel_width), 1, layer.spread_row()};
    for (int n = first; n < last; n++) {
        const size_t place = size_t(n) * layer.values;
        spread(layer, &buffers[l].gradient[place], layer.pools() ? &buffers[l].winner[place] : nullptr, image);
        add_weight_gradients(layer, input_of(l, n), image, weights);
        if (l > 0)
            convolve(turned, image, buffers[l].transposed.data(), nullptr,
                     &buffers[l - 1].gradient[size_t(n) * layers[l - 1].values]);
    }
}

void Network::linear_input_gradients(int l, int first, int last) {
    const Layer& layer = layers[l];
    const long before = layers[l - 1].values;
    for (int column = 0; column < before; column += PANEL) {
        const int panel = std::min<int>(PANEL, int(before) - column);
        multiply({&buffers[l].gradient[size_t(first) * layer.values], long(layer.values), 1, 0,
                  &buffers[l].transposed[size_t(column) * layer.outputs], panel, 0,
                  &buffers[l - 1].gradient[size_t(first) * before + column], before, int(layer.units), 1, nullptr, false},
                 last - first, panel);
    }
}

// Gradients of the pixels that were averaged.
void Network::spread_average(int l, int n) {
    const Layer& before = layers[l - 1];
    const float* gradient = &buffers[l].gradient[size_t(n) * layers[l].values];
    float* to = &buffers[l - 1].gradient[size_t(n) * before.values];
    for (int p = 0; p < before.pixels; p++)
        for (int c = 0; c < before.outputs; c++) to[p * before.outputs + c] = gradient[c] / float(before.pixels);
}

// Adds the gradients of the looked-up rows of the table, example after example, so that the order is always the same.
void Network::embedding_gradients() {
    const Layer& layer = layers.front();
    float* table = gradients + layer.weights;
    std::memset(table, 0, 4 * layer.inputs * layer.outputs);
    const int64_t* tokens = static_cast<const int64_t*>(inputs);
    const float* from = buffers.front().gradient.data();
    for (int64_t place = 0; place < count * layer.width; place++, from += layer.outputs)
        for (int c = 0; c < layer.outputs; c++) table[tokens[place] * layer.outputs + c] += from[c];
}

void Network::linear_weight_gradients(int l) {
    constexpr int ROWS = 96;
    const Layer& layer = layers[l];
    const long from_row = l > 0 ? layers[l - 1].out_values : layer.inputs;
    team.share(int((layer.inputs + ROWS - 1) / ROWS), [&](int part, int) {
        const int first = part * ROWS, rows = std::min<int>(ROWS, int(layer.inputs) - first);
        for (int column = 0; column < layer.outputs; column += PANEL) {
            const int panel = layer.panel_width(column);
            multiply({input_of(l, 0) + first, 1, from_row, 0, &buffers[l].gradient[column], long(layer.outputs), 0,
                      gradients + layer.weights + column * layer.inputs + long(first) * panel, panel, count, 1,
                      nullptr, false},
                     rows, panel);
        }
    });
}
