// Random transforms of images.
#pragma once
#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

// Rotates, scales and shifts images of one channel (count, side, side) in reading order, sampled bilinearly. Outside of
// an image all is `black`. `chosen` has their places among `images`. `turns` has four numbers for each of them: cosine
// and sine of the turn, both divided by the zoom, and the shifts by columns and by rows, in pixels.
inline void turn_images(const float* images, const int64_t* chosen, const float* turns, int count, int side,
                        float black, float* turned) {
    const int width = side + 3;  // a black edge of one pixel before the image and of two after it
    const float middle = 0.5f * float(side - 1), last = float(side + 1);
    std::vector<float> edged(size_t(width) * width, black);
    for (int number = 0; number < count; number++, turns += 4) {
        const float* image = images + chosen[number] * side * side;
        for (int row = 0; row < side; row++)
            std::copy(image + row * side, image + (row + 1) * side, &edged[size_t(row + 1) * width + 1]);
        const float cosine = turns[0], sine = turns[1];
        for (int row = 0; row < side; row++) {
            const float down = float(row) - middle;
            const float first_x = turns[2] - sine * down + middle + 1, first_y = turns[3] + cosine * down + middle + 1;
            const float* __restrict pixels = edged.data();
            float* __restrict line = turned + (size_t(number) * side + row) * side;
            for (int column = 0; column < side; column++) {
                const float along = float(column) - middle;
                float x = cosine * along + first_x, y = sine * along + first_y;
                x = x > 0 ? x : 0, x = x < last ? x : last;
                y = y > 0 ? y : 0, y = y < last ? y : last;
                const int left = int(x), top = int(y), place = top * width + left;
                const float right_share = x - float(left), low_share = y - float(top);
                const float upper = pixels[place] + right_share * (pixels[place + 1] - pixels[place]);
                const float lower =
                    pixels[place + width] + right_share * (pixels[place + width + 1] - pixels[place + width]);
                line[column] = upper + low_share * (lower - upper);
            }
        }
    }
}

// Images that are cut out of larger ones: (height + border, width + border, channels) in reading order.
struct Cuts {
    const float* images;
    int height, width, channels, border;
    const int64_t *chosen, *rows, *columns;  // places among the images, and where in them
    const uint8_t* flips;                    // whether to flip from left to right
    const float *gains, *offsets;            // (count, channels), or null
};

// Cuts images of `CHANNELS` channels (0: of any number), flips some of them, and changes each channel by a gain and an
// offset.
template <int CHANNELS>
inline void cut_images(const Cuts& c, int count, float* found) {
    const int channels = CHANNELS ? CHANNELS : c.channels, row_values = c.width * channels;
    const int stride = row_values + c.border * channels;
    std::vector<float> gain(row_values), offset(row_values);  // of each value of a row
    for (int number = 0; number < count; number++) {
        const float* from = c.images + c.chosen[number] * (c.height + c.border) * stride;
        from += c.rows[number] * stride + c.columns[number] * channels;
        if (c.gains)
            for (int column = 0; column < c.width; column++)
                for (int i = 0; i < channels; i++) {
                    gain[column * channels + i] = c.gains[number * channels + i];
                    offset[column * channels + i] = c.offsets[number * channels + i];
                }
        for (int row = 0; row < c.height; row++, from += stride, found += row_values) {
            if (!c.flips[number])
                std::memcpy(found, from, 4 * row_values);
            else
                for (int column = 0; column < c.width; column++)
                    for (int i = 0; i < channels; i++)
                        found[column * channels + i] = from[(c.width - 1 - column) * channels + i];
            if (c.gains)
                for (int i = 0; i < row_values; i++) found[i] = offset[i] + found[i] * gain[i];
        }
    }
}
