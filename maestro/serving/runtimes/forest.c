/* Answers of a forest of binary trees. The same program for every model: a model is data, checked before it comes here.

   A node goes right when its feature is above the threshold, or is missing and the node says so; a leaf goes to itself.

   A tree of at most 64 leaves is not walked (QuickScorer, Lucchese et al., SIGIR 2015): its leaves are bits, from left to right; each inner node at which
   a row goes right takes away the leaves on its left, and the first that remains is the row's. The nodes may come in any order, and serve as many rows
   at once as a processor's registers hold.

   A larger tree is walked for its depth without a branch. Sixteen walks are under way at once, of rows or of trees, so that one hides the memory
   latency of the others. */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>

#define LANES 16
#define ROWS 32
#define MISSING_RIGHT 0x80000000u
#define MOST_LEAVES 64
#define WALKED -1

enum { NOTHING, FILL, SUBTRACT, DIVIDE, MULTIPLY, ADD, FLUSH };
enum { PLAIN, MEAN, SIGMOID, SOFTMAX, EXPONENT };
enum { HIGHEST, ABOVE_ZERO, NOT_BELOW_ZERO };

/* `tested` trees are not walked. Such a tree's tests begin at first_tests[tree], from first_missing[tree] on they send what is missing to the right, and
   its leaves begin at first_exits[tree], which is WALKED for the others. */
typedef struct {
    int32_t features, sums, width, trees, steps, is_wide, is_narrow_sum, is_bounded, link, rule, outputs, tested;
    const void *nodes;
    const int32_t *payload, *roots, *depths, *columns, *step_kinds;
    const double *leaves, *start, *step_values;
    void *tests;
    int32_t *exits, *first_tests, *first_missing, *first_exits;
} forest;

typedef struct { float threshold; uint32_t feature; int32_t left; } narrow_node;
typedef struct { double threshold; uint32_t feature; int32_t left; } wide_node;
typedef struct { float threshold; uint32_t feature; uint64_t keep; } narrow_test;
typedef struct { double threshold; uint64_t keep; uint32_t feature; } wide_test;

/* To the sums of each row, the leaf that it has found in a tree. */
static inline void add(const forest *f, int32_t tree, const int32_t *found, int rows, double *sums) {
    double *to = sums + f->columns[tree];
    if (f->is_narrow_sum) {
        for (int row = 0; row < rows; row++, to += f->sums)
            for (int32_t i = 0; i < f->width; i++) to[i] = (float)(to[i] + f->leaves[(int64_t)found[row] * f->width + i]);
    } else if (f->width == 2) {
        for (int row = 0; row < rows; row++, to += f->sums) {
            to[0] += f->leaves[2 * (int64_t)found[row]];
            to[1] += f->leaves[2 * (int64_t)found[row] + 1];
        }
    } else {
        for (int row = 0; row < rows; row++, to += f->sums)
            for (int32_t i = 0; i < f->width; i++) to[i] += f->leaves[(int64_t)found[row] * f->width + i];
    }
}

#define WALK(NAME, NODE, REAL)                                                                                        \
    static inline int32_t NAME##_step(const NODE *nodes, const REAL *row, int32_t at) {                               \
        const NODE *node = nodes + at;                                                                                \
        const REAL value = row[node->feature & ~MISSING_RIGHT];                                                       \
        const int32_t above = value > node->threshold;                                                                \
        const int32_t missing = (value != value) & (int32_t)(node->feature >> 31);                                    \
        return node->left + (above | missing);                                                                        \
    }                                                                                                                 \
    static void NAME##_rows(const forest *f, int32_t tree, const REAL *rows, int count, int32_t *found) {             \
        const NODE *nodes = (const NODE *)f->nodes;                                                                   \
        const int32_t depth = f->depths[tree];                                                                        \
        for (int first = 0; first < count; first += LANES) {                                                          \
            int32_t at[LANES];                                                                                        \
            const REAL *row[LANES];                                                                                   \
            for (int lane = 0; lane < LANES; lane++) {                                                                \
                at[lane] = f->roots[tree];                                                                            \
                row[lane] = rows + (int64_t)(first + lane < count ? first + lane : count - 1) * f->features;          \
            }                                                                                                         \
            for (int32_t level = 0; level < depth; level++)                                                           \
                for (int lane = 0; lane < LANES; lane++) at[lane] = NAME##_step(nodes, row[lane], at[lane]);          \
            for (int lane = 0; lane < LANES && first + lane < count; lane++) found[first + lane] = f->payload[at[lane]]; \
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
            for (int lane = 0; lane < LANES && first + lane < f->trees; lane++) add(f, first + lane, f->payload + at[lane], 1, sums); \
        }                                                                                                             \
    }

WALK(narrow, narrow_node, float)
WALK(wide, wide_node, double)

/* What is missing goes left, and right. */
#define LEFT(VALUE) ~((VALUE) > test->threshold)
#define RIGHT(VALUE) ((VALUE) <= test->threshold)

#define UP_TO(END, STAYS, REALS, BITS, KEEP)                                                                          \
    for (; test < END; test++) {                                                                                      \
        const REALS *value = (const REALS *)(columns + (int64_t)test->feature * ROWS + row);                          \
        const BITS first = (BITS)STAYS(value[0]), second = (BITS)STAYS(value[1]);                                     \
        KEEP                                                                                                          \
    }
#define KEEP_32 a &= first | (uint32_t)test->keep; b &= second | (uint32_t)test->keep;
#define KEEP_64 KEEP_32 c &= first | (uint32_t)(test->keep >> 32); d &= second | (uint32_t)(test->keep >> 32);
#define KEEP_WIDE a &= first | test->keep; b &= second | test->keep;

#define SPAN(TEST)                                                                                                    \
    const TEST *begin = (const TEST *)f->tests + f->first_tests[tree], *end = (const TEST *)f->tests + f->first_tests[tree + 1], \
               *missing = (const TEST *)f->tests + f->first_missing[tree];

/* The leaves that remain of one tree for each of `count` rows; `columns` holds ROWS values of each feature. */
#define TESTS(NAME, TARGET, BYTES)                                                                                    \
    typedef float NAME##_reals __attribute__((vector_size(BYTES), aligned(4)));                                       \
    typedef uint32_t NAME##_bits __attribute__((vector_size(BYTES), aligned(4)));                                     \
    typedef double NAME##_wide_reals __attribute__((vector_size(BYTES), aligned(8)));                                 \
    typedef uint64_t NAME##_wide_bits __attribute__((vector_size(BYTES), aligned(8)));                                \
    TARGET static void NAME##_narrow(const forest *f, int32_t tree, const float *columns, int count, uint64_t *remain) { \
        SPAN(narrow_test)                                                                                             \
        const int lanes = BYTES / 4;                                                                                  \
        for (int row = 0; row < count; row += 2 * lanes) {                                                            \
            NAME##_bits a = {0}, b, c, d;                                                                             \
            a = b = c = d = ~a;                                                                                       \
            const narrow_test *test = begin;                                                                          \
            if (end - begin < 32) {                                                                                   \
                UP_TO(missing, LEFT, NAME##_reals, NAME##_bits, KEEP_32)                                              \
                UP_TO(end, RIGHT, NAME##_reals, NAME##_bits, KEEP_32)                                                 \
            } else {                                                                                                  \
                UP_TO(missing, LEFT, NAME##_reals, NAME##_bits, KEEP_64)                                              \
                UP_TO(end, RIGHT, NAME##_reals, NAME##_bits, KEEP_64)                                                 \
            }                                                                                                         \
            for (int lane = 0; lane < lanes; lane++) {                                                                \
                remain[row + lane] = a[lane] | (uint64_t)c[lane] << 32;                                               \
                remain[row + lanes + lane] = b[lane] | (uint64_t)d[lane] << 32;                                       \
            }                                                                                                         \
        }                                                                                                             \
    }                                                                                                                 \
    TARGET static void NAME##_wide(const forest *f, int32_t tree, const double *columns, int count, uint64_t *remain) { \
        SPAN(wide_test)                                                                                               \
        const int lanes = BYTES / 8;                                                                                  \
        for (int row = 0; row < count; row += 2 * lanes) {                                                            \
            NAME##_wide_bits a = {0}, b;                                                                              \
            a = b = ~a;                                                                                               \
            const wide_test *test = begin;                                                                            \
            UP_TO(missing, LEFT, NAME##_wide_reals, NAME##_wide_bits, KEEP_WIDE)                                      \
            UP_TO(end, RIGHT, NAME##_wide_reals, NAME##_wide_bits, KEEP_WIDE)                                         \
            *(NAME##_wide_bits *)(remain + row) = a;                                                                  \
            *(NAME##_wide_bits *)(remain + row + lanes) = b;                                                          \
        }                                                                                                             \
    }

/* FOREST_REGISTERS (64, 32 or 16 bytes) takes registers of that size instead of the largest that the processor has. */
#ifdef FOREST_REGISTERS
#define HAS(BYTES, FEATURE) (FOREST_REGISTERS == BYTES)
#else
#define HAS(BYTES, FEATURE) __builtin_cpu_supports(FEATURE)
#endif

TESTS(any, , 16)
#ifdef __x86_64__
TESTS(v3, __attribute__((target("avx2"))), 32)
TESTS(v4, __attribute__((target("avx512f,avx512dq,avx512vl"))), 64)
#define BEST(KIND, ...)                                                                                               \
    do {                                                                                                              \
        if (HAS(64, "avx512dq") && HAS(64, "avx512vl")) v4_##KIND(__VA_ARGS__);                                       \
        else if (HAS(32, "avx2")) v3_##KIND(__VA_ARGS__);                                                             \
        else any_##KIND(__VA_ARGS__);                                                                                 \
    } while (0)
#else
#define BEST(KIND, ...) any_##KIND(__VA_ARGS__)
#endif

/* The leaves of a tree that is tested, for `count` rows. */
static void tested(const forest *f, int32_t tree, const void *columns, int count, int32_t *found) {
    uint64_t remain[ROWS];
    if (f->is_wide) BEST(wide, f, tree, columns, count, remain);
    else BEST(narrow, f, tree, columns, count, remain);
    for (int row = 0; row < count; row++) found[row] = f->exits[f->first_exits[tree] + __builtin_ctzll(remain[row])];
}

typedef struct { int32_t tests, exits, capacity; } made;

static int32_t left_of(const forest *f, int32_t node) {
    return f->is_wide ? ((const wide_node *)f->nodes)[node].left : ((const narrow_node *)f->nodes)[node].left;
}

/* How many leaves a node has below it, the first of which is the tree's leaf `first`; WALKED when the tree has too many. Writes the leaves and the tests
   of the nodes that send what is missing to the left, or (`missing`) the tests of the others. */
static int32_t below(const forest *f, int32_t node, int32_t first, int missing, int32_t depth, made *m) {
    const int32_t left = left_of(f, node);
    if (first >= MOST_LEAVES || depth > MOST_LEAVES || m->exits + first >= m->capacity) return WALKED;
    if (left == node) {
        f->exits[m->exits + first] = f->payload[node];
        return 1;
    }
    const int32_t on_left = below(f, left, first, missing, depth + 1, m);
    if (on_left == WALKED) return WALKED;
    const int32_t on_right = below(f, left + 1, first + on_left, missing, depth + 1, m);
    if (on_right == WALKED || m->tests == m->capacity) return WALKED;
    const uint64_t keep = ~((((uint64_t)1 << on_left) - 1) << first);
    const uint32_t feature = f->is_wide ? ((const wide_node *)f->nodes)[node].feature : ((const narrow_node *)f->nodes)[node].feature;
    if ((int)(feature >> 31) == missing) {
        if (f->is_wide)
            ((wide_test *)f->tests)[m->tests++] = (wide_test){((const wide_node *)f->nodes)[node].threshold, keep, feature & ~MISSING_RIGHT};
        else
            ((narrow_test *)f->tests)[m->tests++] = (narrow_test){((const narrow_node *)f->nodes)[node].threshold, feature & ~MISSING_RIGHT, keep};
    }
    return on_left + on_right;
}

/* Write the tests of all trees that are small enough; `tests` and `exits` have room for `capacity`. Returns how many trees that are. */
int32_t forest_tests(const forest *f, int32_t capacity) {
    made m = {0, 0, capacity};
    int32_t count = 0;
    for (int32_t tree = 0; tree < f->trees; tree++) {
        const int32_t before = f->first_tests[tree] = m.tests;
        int32_t leaves = below(f, f->roots[tree], 0, 0, 0, &m);
        f->first_missing[tree] = m.tests;
        if (leaves != WALKED) leaves = below(f, f->roots[tree], 0, 1, 0, &m);
        if (leaves == WALKED) m.tests = f->first_missing[tree] = before;
        f->first_exits[tree] = leaves == WALKED ? WALKED : m.exits;
        if (leaves != WALKED) m.exits += leaves, count++;
        f->first_tests[tree + 1] = m.tests;
    }
    return count;
}

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
    const size_t real = f->is_wide ? sizeof(double) : sizeof(float), values = (size_t)f->features * ROWS;
    double *sums = malloc(ROWS * f->sums * sizeof(double) + 2 * values * real);
    if (sums == NULL) return 1;
    void *columns = sums + ROWS * f->sums, *lines = (char *)columns + values * real;
    const int by_row = count == 1 || (count < LANES && f->tested < f->trees); /* too few at once: its trees hide each other's latency */
    int status = 0;
    for (int64_t first = 0; first < count && !status; first += ROWS) {
        const int size = count - first < ROWS ? (int)(count - first) : ROWS;
        const double *source = rows + first * f->features;
        for (int row = 0; row < size; row++) {
            for (int32_t i = 0; i < f->sums; i++) sums[row * f->sums + i] = f->start[i];
            for (int32_t feature = 0; feature < f->features; feature++) {
                const int64_t line = (int64_t)row * f->features + feature, column = (int64_t)feature * ROWS + row;
                const double value = prepared(f, source[line], feature);
                if (f->is_wide) {
                    ((double *)lines)[line] = ((double *)columns)[column] = value;
                } else {
                    ((float *)lines)[line] = ((float *)columns)[column] = (float)value;
                    if (f->is_bounded && isinf((float)value)) status = 2;
                }
            }
        }
        if (by_row) {
            for (int row = 0; row < size; row++) {
                if (f->is_wide) wide_trees(f, (double *)lines + (int64_t)row * f->features, sums + row * f->sums);
                else narrow_trees(f, (float *)lines + (int64_t)row * f->features, sums + row * f->sums);
            }
        } else {
            for (int32_t tree = 0; tree < f->trees; tree++) {
                int32_t found[ROWS];
                if (f->first_exits[tree] != WALKED) tested(f, tree, columns, size, found);
                else if (f->is_wide) wide_rows(f, tree, lines, size, found);
                else narrow_rows(f, tree, lines, size, found);
                add(f, tree, found, size, sums);
            }
        }
        for (int row = 0; row < size; row++)
            finish(f, sums + row * f->sums, scores + (first + row) * f->outputs, labels + first + row);
    }
    free(sums);
    return status;
}
