// Random transforms of images of one channel.
#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

// Rotates, scales and shifts images (count, side, side) in reading order, sampled bilinearly. Outside of an image all
// is `black`. `chosen` has their places among `images`. `turns` has four numbers for each of them: cosine and sine of
// the turn, both divided by the zoom, and the shifts by columns and by rows, in pixels.
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
