/* Answers of a forest of binary trees. The same program for every model: a model is data, checked before it comes here.

   A node goes right when its feature is above the threshold, or is missing and the node says so; a leaf goes to itself, so that every tree is walked
   for its depth without a branch. Sixteen walks are under way at once, of rows or of trees, so that one hides the memory latency of the others. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define LANES 16
#define BLOCK 32
#define MISSING_RIGHT 0x80000000u

enum { NOTHING, FILL, SUBTRACT, DIVIDE, MULTIPLY, ADD, FLUSH };
enum { PLAIN, MEAN, SIGMOID, SOFTMAX, EXPONENT };
enum { HIGHEST, ABOVE_ZERO, NOT_BELOW_ZERO };

typedef struct {
    int32_t features, sums, width, trees, steps, is_wide, is_narrow_sum, is_bounded, link, rule, outputs;
    const void *nodes;
    const int32_t *payload, *roots, *depths, *columns, *step_kinds;
    const double *leaves, *start, *step_values;
} forest;

typedef struct { float threshold; uint32_t feature; int32_t left; } narrow_node;
typedef struct { double threshold; uint32_t feature; int32_t left; } wide_node;

#define WALK(NAME, NODE, REAL)                                                                                        \
    static inline int32_t NAME##_step(const NODE *nodes, const REAL *row, int32_t at) {                               \
        const NODE *node = nodes + at;                                                                                \
        const REAL value = row[node->feature & ~MISSING_RIGHT];                                                       \
        const int32_t above = value > node->threshold;                                                                \
        const int32_t missing = (value != value) & (int32_t)(node->feature >> 31);                                    \
        return node->left + (above | missing);                                                                        \
    }                                                                                                                 \
    static void NAME##_rows(const forest *f, const REAL *rows, int64_t count, double *sums) {                         \
        const NODE *nodes = (const NODE *)f->nodes;                                                                   \
        for (int32_t tree = 0; tree < f->trees; tree++) {                                                             \
            const int32_t root = f->roots[tree], depth = f->depths[tree];                                             \
            for (int64_t first = 0; first < count; first += LANES) {                                                  \
                int32_t at[LANES];                                                                                    \
                const REAL *row[LANES];                                                                               \
                for (int lane = 0; lane < LANES; lane++) {                                                            \
                    const int64_t index = first + lane < count ? first + lane : count - 1;                            \
                    at[lane] = root;                                                                                  \
                    row[lane] = rows + index * f->features;                                                           \
                }                                                                                                     \
                for (int32_t level = 0; level < depth; level++)                                                       \
                    for (int lane = 0; lane < LANES; lane++) at[lane] = NAME##_step(nodes, row[lane], at[lane]);      \
                for (int lane = 0; lane < LANES && first + lane < count; lane++)                                      \
                    add(f, tree, at[lane], sums + (first + lane) * f->sums);                                          \
            }                                                                                                         \
        }                                                                                                             \
    }                                                                                                                 \
    static void NAME##_trees(const forest *f, const REAL *row, double *sums) {                                        \
        const NODE *nodes = (const NODE *)f->nodes;                                                                   \
        for (int32_t first = 0; first < f->trees; first += LANES) {                                                   \
            int32_t at[LANES], depth = 0;                                                                             \
            for (int lane = 0; lane < LANES; lane++) {                                                                \
                const int32_t tree = first + lane < f->trees ? first + lane : f->trees - 1;                           \
                at[lane] = f->roots[tree];                                                                            \
                if (f->depths[tree] > depth) depth = f->depths[tree];                                                 \
            }                                                                                                         \
            for (int32_t level = 0; level < depth; level++)                                                           \
                for (int lane = 0; lane < LANES; lane++) at[lane] = NAME##_step(nodes, row, at[lane]);                \
            for (int lane = 0; lane < LANES && first + lane < f->trees; lane++) add(f, first + lane, at[lane], sums); \
        }                                                                                                             \
    }

static inline void add(const forest *f, int32_t tree, int32_t node, double *sums) {
    const double *leaf = f->leaves + (int64_t)f->payload[node] * f->width;
    double *to = sums + f->columns[tree];
    if (f->is_narrow_sum)
        for (int32_t i = 0; i < f->width; i++) to[i] = (float)(to[i] + leaf[i]);
    else
        for (int32_t i = 0; i < f->width; i++) to[i] += leaf[i];
}

WALK(narrow, narrow_node, float)
WALK(wide, wide_node, double)

static double prepared(const forest *f, double value, int32_t feature) {
    for (int32_t step = 0; step < f->steps; step++) {
        const int64_t at = (int64_t)step * f->features + feature;
        const double by = f->step_values[at];
        switch (f->step_kinds[at]) {
            case FILL: if (value != value) value = by; break;
            case SUBTRACT: value -= by; break;
            case DIVIDE: value /= by; break;
            case MULTIPLY: value *= by; break;
            case ADD: value += by; break;
            case FLUSH: if (fabs(value) <= by) value = 0.0; break;
        }
    }
    return value;
}

static void finish(const forest *f, const double *sums, double *scores, int32_t *label) {
    switch (f->link) {
        case MEAN:
            for (int32_t i = 0; i < f->sums; i++) scores[i] = sums[i] / f->trees;
            break;
        case SIGMOID:
            scores[1] = 1.0 / (1.0 + exp(-sums[0]));
            scores[0] = 1.0 - scores[1];
            break;
        case SOFTMAX: {
            double most = sums[0], total = 0.0;
            for (int32_t i = 1; i < f->sums; i++) if (sums[i] > most) most = sums[i];
            for (int32_t i = 0; i < f->sums; i++) total += scores[i] = exp(sums[i] - most);
            for (int32_t i = 0; i < f->sums; i++) scores[i] /= total;
            break;
        }
        case EXPONENT:
            for (int32_t i = 0; i < f->sums; i++) scores[i] = exp(sums[i]);
            break;
        default:
            for (int32_t i = 0; i < f->sums; i++) scores[i] = sums[i];
    }
    if (f->rule != HIGHEST) {
        *label = f->rule == ABOVE_ZERO ? sums[0] > 0.0 : sums[0] >= 0.0;
        return;
    }
    int32_t best = 0;
    for (int32_t i = 1; i < f->outputs; i++) if (scores[i] > scores[best]) best = i;
    *label = best;
}

/* 0, or 1 when memory runs out, or 2 when a value is beyond what a single-precision number holds. */
int forest_answer(const forest *f, const double *rows, int64_t count, double *scores, int32_t *labels) {
    const int64_t block = count < BLOCK ? count : BLOCK;
    const size_t real = f->is_wide ? sizeof(double) : sizeof(float);
    char *space = malloc((size_t)block * (f->features * real + f->sums * sizeof(double)) + sizeof(double));
    if (space == NULL) return 1;
    double *sums = (double *)space;
    void *values = space + (size_t)block * f->sums * sizeof(double);
    int status = 0;
    for (int64_t first = 0; first < count && !status; first += block) {
        const int64_t size = count - first < block ? count - first : block;
        const double *source = rows + first * f->features;
        for (int64_t row = 0; row < size; row++) {
            for (int32_t i = 0; i < f->sums; i++) sums[row * f->sums + i] = f->start[i];
            for (int32_t feature = 0; feature < f->features; feature++) {
                const int64_t at = row * f->features + feature;
                const double value = prepared(f, source[at], feature);
                if (f->is_wide) {
                    ((double *)values)[at] = value;
                } else {
                    ((float *)values)[at] = (float)value;
                    if (f->is_bounded && isinf((float)value)) status = 2;
                }
            }
        }
        if (size >= LANES) {
            if (f->is_wide) wide_rows(f, values, size, sums); else narrow_rows(f, values, size, sums);
        } else {
            for (int64_t row = 0; row < size; row++) {
                if (f->is_wide) wide_trees(f, (double *)values + row * f->features, sums + row * f->sums);
                else narrow_trees(f, (float *)values + row * f->features, sums + row * f->sums);
            }
        }
        for (int64_t row = 0; row < size; row++)
            finish(f, sums + row * f->sums, scores + (first + row) * f->outputs, labels + first + row);
    }
    free(space);
    return status;
}
