// The one loop that multiplies: a small block of a matrix product, with its sums in registers.
#pragma once
#include <algorithm>

#include "simd.hpp"

// A product C (rows x columns) of A (rows x depth) and B (depth x columns). The depth consists of `segments` of equal
// length: those of a convolution are the rows of its kernel or of its image. All steps are in floats.
struct Product {
    const float* a;
    long a_row, a_step, a_segment;  // from one row, one step of the depth, one segment to the next
    long a_run;                     // from one run of rows to the next, for blocks of several runs
    const float* b;
    long b_step, b_segment;  // the columns of B are neighbours in memory
    float* c;
    long c_row;
    int depth, segments;
    const float* shift;  // begins the sums of each row. Null for zeros
    bool adds;           // begins the sums with C instead
};

// The tallest blocks whose sums fit the registers, for blocks of one, two and three vectors of columns.
#if LANES == 16
constexpr int TALLEST[] = {0, 14, 12, 8};
#else
constexpr int TALLEST[] = {0, 8, 6, 4};
#endif

// Width of a panel: the columns of a block. Weights are kept panel by panel. The last panel has what is left, from one
// vector to three.
constexpr int PANEL = 2 * LANES, WIDEST = 3 * LANES;

inline int panel_width(int columns_left) { return columns_left <= WIDEST ? columns_left : PANEL; }

// The panel of a column, and how many there are.
inline int panel_count(int columns) { return std::max(1, columns / PANEL); }
inline int panel_start(int column, int columns) { return std::min(column / PANEL, panel_count(columns) - 1) * PANEL; }

// The rows of a block lie in runs of `RUN`.
template <int ROWS, int VECTORS, int RUN = ROWS>
inline void multiply_block(const Product& p, int row) {
    Floats sums[ROWS][VECTORS];
    float* c = p.c + row * p.c_row;
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int v = 0; v < VECTORS; v++) {
        if (p.adds)
            sums[i][v] = load(c + i * p.c_row + v * LANES);
        else
            sums[i][v] = p.shift ? load(p.shift + v * LANES) : Floats{};
    }
    for (int segment = 0; segment < p.segments; segment++) {
        const float* a = p.a + row * p.a_row + segment * p.a_segment;
        const float* b = p.b + segment * p.b_segment;
        for (int step = 0; step < p.depth; step++, a += p.a_step, b += p.b_step) {
            Floats right[VECTORS];
            UNROLL for (int v = 0; v < VECTORS; v++) right[v] = load(b + v * LANES);
            UNROLL for (int i = 0; i < ROWS; i++) {
                const Floats left = all(a[i / RUN * p.a_run + i % RUN * p.a_row]);
                UNROLL for (int v = 0; v < VECTORS; v++) sums[i][v] += left * right[v];
            }
        }
    }
    UNROLL for (int i = 0; i < ROWS; i++) UNROLL for (int v = 0; v < VECTORS; v++)
        store(c + i * p.c_row + v * LANES, sums[i][v]);
}

template <int VECTORS, int ROWS = TALLEST[VECTORS]>
inline void multiply_rows(const Product& p, int row, int rows) {
    if (rows == ROWS)
        multiply_block<ROWS, VECTORS>(p, row);
    else if constexpr (ROWS > 1)
        multiply_rows<VECTORS, ROWS - 1>(p, row, rows);
}

// The product of all `rows`, in blocks that are as equally tall as possible: low ones wait for their sums.
template <int VECTORS>
inline void multiply_panel(const Product& p, int rows) {
    const int blocks = (rows + TALLEST[VECTORS] - 1) / TALLEST[VECTORS];
    for (int block = 0, row = 0; block < blocks; block++) {
        const int height = rows / blocks + (block < rows % blocks);
        multiply_rows<VECTORS>(p, row, height);
        row += height;
    }
}

// The product of `rows` and the columns of one panel.
inline void multiply(const Product& p, int rows, int columns) {
    if (columns == PANEL)
        multiply_panel<2>(p, rows);
    else
        columns < PANEL ? multiply_panel<1>(p, rows) : multiply_panel<3>(p, rows);
}

// The same for a long depth of one segment: part by part, so that what all rows read stays in the nearest cache.
inline void multiply_deep(Product p, int rows, int columns) {
    constexpr int PART = 128;
    for (int left = p.depth; left > 0; left -= PART) {
        p.depth = std::min(left, PART);
        multiply(p, rows, columns);
        p.a += PART * p.a_step, p.b += PART * p.b_step, p.adds = true;
    }
}
