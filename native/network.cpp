#include "network.hpp"

namespace {

// Adds the floats of a vector to doubles.
void add(double* sums, Floats values) {
    for (int i = 0; i < LANES; i++) sums[i] += values[i];
}

}  // namespace

Network::Network(const Shape* shapes, int layer_count, int largest_batch, int threads, float* parameters,
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
    panel_scratch.resize(thread_count);
    spread_scratch.assign(thread_count, std::vector<std::vector<float>>(layer_count));
    size_t raw_size = 0, row_size = 0, panel_size = 0, packed_size = 0;
    for (int l = 0; l < layer_count; l++) {
        Layer& layer = layers[l];
        layer.read_by(l + 1 < layer_count ? &layers[l + 1] : nullptr);
        const size_t values = size_t(largest_batch) * layer.values;
        if (layer.has_norm || layer.is_linear()) buffers[l].raw.resize(values);
        buffers[l].out.resize(size_t(largest_batch) * layer.out_values);
        buffers[l].gradient.resize(values);
        if (layer.pools()) buffers[l].winner.resize(values);
        if (l > 0 && layer.is_convolution()) buffers[l].transposed.resize(size_t(layer.depth()) * layer.outputs);
        const std::vector<float> channels(layer.outputs);
        norms[l] = {channels, channels, channels, channels};
        sums[l].assign(largest_groups, std::vector<double>(layer.outputs));
        products[l] = sums[l];
        if (layer.is_linear()) {
            panel_size = std::max(panel_size, size_t(WIDEST) * layer.outputs);
            packed_size = std::max(packed_size, size_t(largest_batch) * padded_rows(layer));
        } else {
            raw_size = std::max(raw_size, size_t(layer.values));
        }
        if (!layer.is_convolution()) continue;
        row_size = std::max(row_size, size_t(2) * layer.conv_width * WIDEST);
        weight_gradients[l].assign(largest_groups, std::vector<float>(size_t(layer.depth()) * layer.outputs));
        for (auto& of_thread : spread_scratch) of_thread[l].resize(layer.spread_values());
    }
    for (int thread = 0; thread < thread_count; thread++) {
        raw_scratch[thread].resize(raw_size);
        row_scratch[thread].resize(row_size);
        panel_scratch[thread].resize(panel_size);
    }
    packed.resize(packed_size);
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

void Network::sgd(float* momenta, long parameter_count, float rate, float decay, float momentum) {
    each_slice(parameter_count, [&](long first, long size) {
        update_sgd(parameters + first, gradients + first, momenta + first, size, rate, decay, momentum);
    });
}

void Network::adam(float* means, float* squares, long parameter_count, const AdamStep& step) {
    each_slice(parameter_count, [&](long first, long size) {
        update_adam(parameters + first, gradients + first, means + first, squares + first, size, step);
    });
}

// Calls `work(first, size)` for each slice of the parameters.
template <typename Work>
void Network::each_slice(long parameter_count, Work work) {
    constexpr long SLICE = 16384;  // large enough to be worth the sharing
    team.share(int((parameter_count + SLICE - 1) / SLICE), [&](int part, int) {
        work(part * SLICE, std::min(SLICE, parameter_count - part * SLICE));
    });
}

// Calls `work(example)` for each example.
template <typename Work>
void Network::each_example(Work work) {
    each_group([&](int first, int last, int, int) {
        for (int n = first; n < last; n++) work(n);
    });
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
        if (layers[l].is_linear()) {
            if (l > 0 && is_measured(l - 1)) each_example([&](int n) { finish(l - 1, n); });
            multiply_batch(l);
        }
        each_group([&](int first, int last, int group, int thread) {
            std::fill(sums[l][group].begin(), sums[l][group].end(), 0.0);
            for (int n = first; n < last; n++) {  // all of an example while it is in the nearest cache
                if (l == 0 && layers[0].is_convolution()) add_border(n);
                if (l > 0 && is_measured(l - 1) && !layers[l].is_linear()) finish(l - 1, n);
                apply(l, n, thread);
                if (is_measured(l)) add_to_sums(l, n, group);
            }
        });
        if (is_measured(l)) measure_norm(l);
    }
}

// Computes a layer for an example, and finishes it unless that needs the whole batch.
void Network::apply(int l, int n, int thread) {
    switch (layers[l].kind) {
        case Kind::linear:  // the products are there
            if (!is_measured(l)) finish(l, n);
            return;
        case Kind::convolution:
            return convolve_example(l, n, thread);
        case Kind::average:
            return average_pixels(l, n, thread);
        case Kind::embedding:
            return look_up(n);
    }
}

void Network::add_to_sums(int l, int n, int group) {
    const Layer& layer = layers[l];
    for (int v = 0; v < layer.outputs; v += LANES) {
        const float* raw = &buffers[l].raw[size_t(n) * layer.values + v];
        Floats partial{};
        for (int p = 0; p < layer.pixels; p++) partial += load(raw + p * layer.outputs);
        add(&sums[l][group][v], partial);
    }
}

// Calls `work(column, first, size, thread)` for each panel of `columns`, and for whole blocks of the `rows`: for all at
// once if the panels can be shared evenly. A thread has the same panels in each pass, so that weights, gradients and
// moments stay in its cache.
template <typename Work>
void Network::each_panel(int columns, int rows, int block, Work work) {
    const int panels = panel_count(columns), blocks = (rows + block - 1) / block;
    const int parts = panels % thread_count == 0 ? 1 : std::min(thread_count, blocks);
    team.share(panels * parts, [&](int number, int thread) {
        const int part = number % parts, first = blocks * part / parts * block;
        work(number / parts * PANEL, first, std::min(rows, blocks * (part + 1) / parts * block) - first, thread);
    });
}

// The products of a linear layer for the whole batch.
void Network::multiply_batch(int l) {
    const Layer& layer = layers[l];
    const float* shift = layer.has_norm ? nullptr : parameters + layer.shift;
    const long from_row = l > 0 ? layers[l - 1].out_values : layer.inputs;
    each_panel(int(layer.outputs), count, 1, [&](int column, int first, int size, int) {
        const int panel = panel_width(int(layer.outputs) - column);
        multiply_deep({input_of(l, first), from_row, 1, 0, 0, parameters + layer.weights + column * layer.inputs, panel, 0,
                       &buffers[l].raw[size_t(first) * layer.values + column], long(layer.outputs), int(layer.inputs), 1,
                       shift ? shift + column : nullptr, false},
                      size, panel);
    });
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

// Batch norm, activation and dropout of an example whose products are kept.
void Network::finish(int l, int n) { finish(l, n, &buffers[l].raw[size_t(n) * layers[l].values]); }

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
    if (layer.is_linear()) {
        if (layer.has_norm) each_example([&](int n) { norm_gradients(l, n); });
        linear_weight_gradients(l);
        if (l == 0) return;
        linear_input_gradients(l);
    }
    each_group([&](int first, int last, int group, int thread) {
        if (layer.is_convolution()) std::memset(weight_gradients[l][group].data(), 0, 4 * layer.depth() * layer.outputs);
        if (l > 0) {
            std::fill(sums[l - 1][group].begin(), sums[l - 1][group].end(), 0.0);
            std::fill(products[l - 1][group].begin(), products[l - 1][group].end(), 0.0);
        }
        for (int n = first; n < last; n++) {
            if (layer.has_norm && !layer.is_linear()) norm_gradients(l, n);
            if (layer.is_convolution()) convolution_gradients(l, n, group, thread);
            if (layer.kind == Kind::average) spread_average(l, n);
            if (l > 0) activation_gradients(l - 1, n, group);
        }
    });
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

void Network::convolution_gradients(int l, int n, int group, int thread) {
    const Layer& layer = layers[l];
    const size_t place = size_t(n) * layer.values;
    float* image = spread_scratch[thread][l].data();
    spread(layer, &buffers[l].gradient[place], layer.pools() ? &buffers[l].winner[place] : nullptr, image);
    add_weight_gradients(layer, input_of(l, n), image, weight_gradients[l][group].data());
    if (l == 0) return;
    const Convolution turned = {int(layer.height), int(layer.width), int(layer.outputs), int(layer.inputs),
                                int(layer.kernel_height), int(layer.kernel_width), 1, layer.spread_row()};
    convolve(turned, image, buffers[l].transposed.data(), nullptr,
             &buffers[l - 1].gradient[size_t(n) * layers[l - 1].values]);
}

void Network::linear_input_gradients(int l) {
    const Layer& layer = layers[l];
    const int before = layers[l - 1].values, outputs = int(layer.outputs);
    each_panel(before, count, count, [&](int column, int, int, int thread) {
        const int panel = panel_width(before - column);
        float* transposed = panel_scratch[thread].data();
        transpose_panel(layer, parameters + layer.weights, column, transposed);
        multiply_deep({buffers[l].gradient.data(), outputs, 1, 0, 0, transposed, panel, 0, &buffers[l - 1].gradient[column],
                       before, int(layer.units), 1, nullptr, false},
                      count, panel);
    });
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
    const Layer& layer = layers[l];
    const int inputs = int(layer.inputs), outputs = int(layer.outputs), all_rows = padded_rows(layer);
    team.share(all_rows / ROWS, [&](int part, int) {  // rows that lie far apart would push each other out of the cache
        const int first = part * ROWS, rows = std::min(ROWS, inputs - first);
        for (int n = 0; n < count; n++)
            std::memcpy(&packed[(size_t(part) * count + n) * ROWS], input_of(l, n) + first, 4 * rows);
    });
    each_panel(outputs, all_rows, ROWS, [&](int column, int begin, int size, int) {
        const int panel = panel_width(outputs - column);
        for (int first = begin; first < begin + size; first += ROWS)
            multiply({&packed[size_t(first) * count], 1, ROWS, 0, 0, &buffers[l].gradient[column], outputs, 0,
                      gradients + layer.weights + long(column) * inputs + long(first) * panel, panel, count, 1, nullptr,
                      false},
                     std::min(ROWS, inputs - first), panel);
    });
}
