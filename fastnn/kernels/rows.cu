// The kernels whose threads must meet: sums and maxima over a row, a column or a batch.
//
// `Real` (float or double) and the shapes of the blocks are given to the compiler by sources.py. Every
// sum is made in an order that depends on the shape alone, without atomics, so that two runs agree
// to the bit.

constexpr unsigned ALL = 0xffffffffu;  // all 32 lanes of a warp

__device__ Real warp_sum(Real value) {
    for (int offset = 16; offset > 0; offset /= 2)
        value += __shfl_xor_sync(ALL, value, offset);
    return value;
}

// losses = logsumexp(z) - z[label]; dz = scale * (softmax(z) - onehot); hits = argmax(z) == label.
// Blocks of (32, WARPS) threads, one warp a row: each lane takes every 32nd class.
extern "C" __global__ void softmax_xent(
    Real* dz, Real* losses, bool* hits,             // (B, C), (B,), (B,) out
    const Real* z, const long long* labels,         // (B, C), (B,)
    int rows, int classes, Real scale) {
    const int row = blockIdx.x * WARPS + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;  // the whole warp leaves together
    const Real* logits = z + (long long)row * classes;
    Real* slopes = dz + (long long)row * classes;

    Real top = logits[0];
    int guess = 0;
    for (int c = lane; c < classes; c += 32)
        if (logits[c] > top) { top = logits[c]; guess = c; }
    for (int offset = 16; offset > 0; offset /= 2) {
        const Real other = __shfl_xor_sync(ALL, top, offset);
        const int where = __shfl_xor_sync(ALL, guess, offset);
        if (other > top || (other == top && where < guess)) { top = other; guess = where; }
    }

    Real total = 0;
    for (int c = lane; c < classes; c += 32) {
        slopes[c] = exp(logits[c] - top);  // at most 1: cannot overflow
        total += slopes[c];
    }
    total = warp_sum(total);

    const int label = (int)labels[row];
    for (int c = lane; c < classes; c += 32)
        slopes[c] = scale * (slopes[c] / total - (c == label ? Real(1) : Real(0)));
    if (lane == 0) {
        losses[row] = log(total) - (logits[label] - top);
        hits[row] = guess == label;
    }
}

// sums[o] = dy[0, o] + ... + dy[B - 1, o]: the bias gradient. Blocks of (COLUMNS, SLICES) threads.
extern "C" __global__ void column_sums(Real* sums, const Real* dy, int rows, int columns) {
    __shared__ Real partial[SLICES][COLUMNS];
    const int x = threadIdx.x, y = threadIdx.y;
    const int column = blockIdx.x * COLUMNS + x;
    Real sum = 0;
    if (column < columns)
        for (int row = y; row < rows; row += SLICES)
            sum += dy[(long long)row * columns + column];
    partial[y][x] = sum;
    for (int half = SLICES / 2; half > 0; half /= 2) {
        __syncthreads();
        if (y < half) partial[y][x] += partial[y + half][x];
    }
    if (y == 0 && column < columns) sums[column] = partial[0][x];
}

// The start of a step: rows and rates of step number *cursor of the epoch, each to a fixed place.
extern "C" __global__ void turn_page(
    long long* rows, Real* rates,                   // (B,), (K,) out
    const int* cursor,                              // (1,)
    const long long* order, const Real* table,      // (N,), (steps, K)
    int batch, int count, int width) {              // rows of a full batch, of this one; K
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const long long step = *cursor;
    if (i < count) rows[i] = order[step * batch + i];
    if (i < width) rates[i] = table[step * width + i];
}

// The end of a step: its summed loss and hits go to slot *cursor, and the cursor goes on. One block.
extern "C" __global__ void tally(
    float* loss_slots, long long* hit_slots,        // (steps,), (steps,) out
    int* cursor,                                    // (1,) in and out
    const Real* losses, const bool* hits, int count) {
    __shared__ Real loss[BLOCK];
    __shared__ long long hit[BLOCK];
    const int thread = threadIdx.x;
    Real loss_sum = 0;
    long long hit_sum = 0;
    for (int row = thread; row < count; row += BLOCK) {
        loss_sum += losses[row];
        hit_sum += hits[row];
    }
    loss[thread] = loss_sum;
    hit[thread] = hit_sum;
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) {
            loss[thread] += loss[thread + half];
            hit[thread] += hit[thread + half];
        }
    }
    if (thread == 0) {
        loss_slots[*cursor] = (float)loss[0];
        hit_slots[*cursor] = hit[0];
        *cursor += 1;
    }
}
