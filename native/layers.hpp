// The layers of a network, and what each does to one example or to some of them.
//
// A layer multiplies its inputs by a matrix, convolves them, averages them over all pixels, or looks tokens up in a
// table. Then come max pooling, batch norm, activation and dropout, as far as it has them. Values are kept example by
// example, pixel by pixel, channel by channel (NHWC); a sequence is an image of one row. Channels are padded with zeros
// to whole registers. What a convolution reads has a border of zeros.
#pragma once
#include <cmath>
#include <cstring>
#include <vector>

#include "tile.hpp"

enum class Kind : int64_t { linear, convolution, average, embedding };
enum class Activation : int64_t { none, relu, tanh };

constexpr int64_t ABSENT = -1;  // a place of parameters that a layer does not have

// A layer as Python describes it; `library.py` has the same fields.
struct Shape {
    Kind kind;
    int64_t inputs, height, width;  // of what it reads: channels (padded) and pixels. Tokens: their number and places
    int64_t outputs, units;         // channels, padded and not
    int64_t kernel_height, kernel_width, stride, pool_height, pool_width, has_norm;
    Activation activation;
    int64_t drops;
    int64_t weights, shift, scale, statistics;  // places in the parameters and in the running statistics
};

struct Layer : Shape {
    int conv_height, conv_width, out_height, out_width, pixels, values;
    int border_rows = 0, border_columns = 0;  // of the outputs, if a convolution reads them
    int out_values = 0;                       // floats of the outputs of an example, with their border

    explicit Layer(const Shape& shape) : Shape(shape) {
        const bool keeps_pixels = is_convolution() || kind == Kind::embedding;
        conv_height = keeps_pixels ? int((height + stride - 1) / stride) : 1;
        conv_width = keeps_pixels ? int((width + stride - 1) / stride) : 1;
        out_height = int(conv_height / pool_height), out_width = int(conv_width / pool_width);
        pixels = out_height * out_width, values = int(pixels * outputs);
    }
    void read_by(const Layer* next) {
        if (next && next->is_convolution())
            border_rows = int(next->kernel_height / 2), border_columns = int(next->kernel_width / 2);
        out_values = (out_height + 2 * border_rows) * (out_width + 2 * border_columns) * int(outputs);
    }
    bool is_convolution() const { return kind == Kind::convolution; }
    bool is_linear() const { return kind == Kind::linear; }
    bool pools() const { return pool_width > 1; }
    // Where a pixel of the outputs begins.
    int place(int row, int column) const {
        return ((row + border_rows) * (out_width + 2 * border_columns) + column + border_columns) * int(outputs);
    }
    // Floats of a row, and of all rows, of what a convolution reads.
    int image_row() const { return int((width + kernel_width - 1) * inputs); }
    int image_values() const { return int(height + kernel_height - 1) * image_row(); }
    // The same for the gradients of what it writes.
    int spread_row() const { return int((conv_width + kernel_width - 1) * outputs); }
    int spread_values() const { return int(conv_height + kernel_height - 1) * spread_row(); }
    int taps() const { return int(kernel_height * kernel_width); }
    int depth() const { return taps() * int(inputs); }
};

// Buffers of a layer for all examples of a batch.
struct Buffers {
    std::vector<float> raw;       // before batch norm or activation: of linear layers, and of those with batch norm
    std::vector<float> out;       // what the next layer reads
    std::vector<float> gradient;  // of the loss: by the outputs, then by what batch norm or the activation read
    std::vector<int32_t> winner;  // which of the pooled pixels was the largest, in reading order
    std::vector<float> transposed;
};

// Convolves an image. `height` and `width` are those of the result; `image` has a border.
struct Convolution {
    int height, width, inputs, outputs, kernel_height, kernel_width, stride, image_row;

    int depth() const { return kernel_height * kernel_width * inputs; }
};

inline Product convolution_row(const Convolution& c, const float* image, const float* weights, int row, int column,
                               int panel, const float* shift, float* to, long to_row) {
    const int run = c.kernel_width * c.inputs;  // pixels of a kernel's row are neighbours, and so are their channels
    return {image + row * c.stride * c.image_row, long(c.stride) * c.inputs, 1, c.image_row, 0,
            weights + long(column) * c.depth(), panel, long(run) * panel,
            to, to_row, run, c.kernel_height, shift ? shift + column : nullptr, false};
}

inline void convolve(const Convolution& c, const float* image, const float* weights, const float* shift, float* to) {
    for (int column = 0, panel; column < c.outputs; column += panel) {
        panel = panel_width(c.outputs - column);
        for (int row = 0; row < c.height; row++) {
            float* place = to + row * c.width * c.outputs + column;
            multiply(convolution_row(c, image, weights, row, column, panel, shift, place, c.outputs), c.width, panel);
        }
    }
}

// Convolves an image and keeps the largest of each 1 x 2 or 2 x 2 pixels, and which it was. `rows` holds two rows of a
// panel.
template <int HEIGHT>
inline void convolve_and_pool(const Convolution& c, const float* image, const float* weights, const float* shift,
                              float* to, int32_t* winner, float* rows) {
    const int out_height = c.height / HEIGHT, out_width = c.width / 2;
    for (int column = 0, panel; column < c.outputs; column += panel) {
        panel = panel_width(c.outputs - column);
        for (int row = 0; row < out_height; row++) {
            for (int i = 0; i < HEIGHT; i++) {
                float* place = rows + i * c.width * panel;
                multiply(convolution_row(c, image, weights, HEIGHT * row + i, column, panel, shift, place, panel),
                         2 * out_width, panel);
            }
            for (int pixel = 0; pixel < out_width; pixel++)
                for (int v = 0; v < panel; v += LANES) {
                    Floats best{};
                    Ints which{};
                    UNROLL for (int i = 0; i < 2 * HEIGHT; i++) {
                        const Floats value = load(rows + (i / 2 * c.width + 2 * pixel + i % 2) * panel + v);
                        const Ints stays = i == 0 ? Ints{} : value <= best;  // the first of equal ones wins; NaN wins
                        best = stays ? best : value;
                        which = stays ? which : Ints{} + i;
                    }
                    const int place = (row * out_width + pixel) * c.outputs + column + v;
                    store(to + place, best);
                    store(winner + place, which);
                }
        }
    }
}

// Writes gradients into an image with a border of zeros: each to the pixel that it belongs to.
inline void spread(const Layer& layer, const float* gradient, const int32_t* winner, float* image) {
    const int channels = int(layer.outputs), image_row = layer.spread_row();
    image += layer.kernel_height / 2 * image_row + layer.kernel_width / 2 * channels;
    for (int row = 0; row < layer.out_height; row++) {
        for (int column = 0; column < layer.out_width; column++) {
            const int from = (row * layer.out_width + column) * channels;
            if (!layer.pools()) {
                std::memcpy(image + row * image_row + column * channels, gradient + from, 4 * channels);
                continue;
            }
            float* corner = image + layer.pool_height * row * image_row + 2 * column * channels;
            for (int v = 0; v < channels; v += LANES) {
                const Floats value = load(gradient + from + v);
                const Ints which = load(winner + from + v);
                for (int i = 0; i < 2 * layer.pool_height; i++)
                    store(corner + i / 2 * image_row + i % 2 * channels + v, which == i ? value : Floats{});
            }
        }
    }
}

// Adds the gradients of a convolution's weights for one image. `spread` made `gradient`. Goes through the image in bands
// of rows that fit the nearest cache.
inline void add_weight_gradients(const Layer& layer, const float* image, const float* gradient, float* weights) {
    constexpr long BAND = 4096;  // floats of the gradient
    const int channels = int(layer.outputs), inputs = int(layer.inputs), run = int(layer.kernel_width) * inputs;
    const long image_row = layer.image_row(), gradient_row = layer.spread_row();
    const int bands = int((layer.conv_height * gradient_row + BAND - 1) / BAND);
    gradient += layer.kernel_height / 2 * gradient_row + layer.kernel_width / 2 * channels;
    for (int band = 0, row = 0, rows; band < bands; band++, row += rows) {
        rows = layer.conv_height / bands + (band < layer.conv_height % bands);
        const float *from = image + row * layer.stride * image_row, *slopes = gradient + row * gradient_row;
        for (int column = 0, panel; column < channels; column += panel) {
            panel = panel_width(channels - column);
            Product product = {from, 1, long(layer.stride) * inputs, layer.stride * image_row, image_row,
                               slopes + column, channels, gradient_row,
                               weights + long(column) * layer.depth(), panel,
                               layer.conv_width, rows, nullptr, true};
            if (run == 3 && layer.kernel_height == 3) {  // one channel has few rows, so all nine go together
                for (int v = 0; v < panel; v += LANES, product.b += LANES, product.c += LANES)
                    multiply_block<9, 1, 3>(product, 0);
                continue;
            }
            for (int kernel_row = 0; kernel_row < layer.kernel_height; kernel_row++) {
                multiply(product, run, panel);
                product.a += image_row, product.c += long(run) * panel;
            }
        }
    }
}

// Weights of a convolution as the gradients of its inputs need them: inputs and outputs swapped, and turned by 180°.
inline void transpose_convolution(const Layer& layer, const float* weights, float* to) {
    const int inputs = int(layer.inputs), outputs = int(layer.outputs), taps = layer.taps();
    for (int column = 0, panel; column < outputs; column += panel) {
        panel = panel_width(outputs - column);
        for (int tap = 0; tap < taps; tap++)
            for (int input = 0; input < inputs; input++) {
                const float* from = weights + long(column) * layer.depth() + (tap * inputs + input) * panel;
                const int first = panel_start(input, inputs), width = panel_width(inputs - first);
                float* place = to + long(first) * taps * outputs +
                               ((taps - 1 - tap) * outputs + column) * width + input - first;
                for (int output = 0; output < panel; output++) place[output * width] = from[output];
            }
    }
}

// Some rows of the weights of a matrix product, from panels of outputs into the panel of inputs that begins at `first`.
inline void transpose_panel(const Layer& layer, const float* weights, int first, float* to) {
    const int inputs = int(layer.inputs), outputs = int(layer.outputs), width = panel_width(inputs - first);
    for (int column = 0, panel; column < outputs; column += panel) {
        panel = panel_width(outputs - column);
        const float* from = weights + long(column) * inputs + long(first) * panel;
        for (int output = 0; output < panel; output++) {
            float* place = to + long(column + output) * width;
            for (int input = 0; input < width; input++) place[input] = from[input * panel + output];
        }
    }
}
