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

// The sum over the SLICES threads of each column; all of them get it. Every thread must come.
__device__ Real column_sum(Real value) {
    __shared__ Real partial[SLICES][COLUMNS];
    const int x = threadIdx.x, y = threadIdx.y;
    __syncthreads();  // nobody reads the sum before any more
    partial[y][x] = value;
    for (int half = SLICES / 2; half > 0; half /= 2) {
        __syncthreads();
        if (y < half) partial[y][x] += partial[y + half][x];
    }
    __syncthreads();
    return partial[0][x];
}

// The sum over the BLOCK threads of a block; all of them get it. Every thread must come.
__device__ Real block_sum(Real value) {
    __shared__ Real partial[BLOCK];
    const int thread = threadIdx.x;
    partial[thread] = value;
    for (int half = BLOCK / 2; half > 0; half /= 2) {
        __syncthreads();
        if (thread < half) partial[thread] += partial[thread + half];
    }
    __syncthreads();
    return partial[0];
}

// losses = logsumexp(z) - t . z; dz = scale * (softmax(z) - t); hits = argmax(z) == label, with
// t = (1 - smoothing) * onehot + smoothing / C; losses and dz times the row's weight, if there are.
// Blocks of (32, WARPS) threads, one warp a row: each lane takes every 32nd class.
extern "C" __global__ void softmax_xent(
    Real* dz, Real* losses, bool* hits,             // (B, C), (B,), (B,) out
    const Real* z, const long long* labels,         // (B, C), (B,)
    const Real* weights,                            // (B,) or null
    Real scale, Real smoothing, int rows, int classes) {
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
    const Real weight = weights ? weights[row] : Real(1);
    const Real spread = smoothing / classes, own = 1 - smoothing + spread;
    Real aimed = logits[label] - top;  // t . z
    if (smoothing != 0) {
        aimed = 0;
        for (int c = lane; c < classes; c += 32)
            aimed += (c == label ? own : spread) * (logits[c] - top);
        aimed = warp_sum(aimed);
    }
    for (int c = lane; c < classes; c += 32)
        slopes[c] = scale * (slopes[c] / total - (c == label ? own : spread)) * weight;
    if (lane == 0) {
        losses[row] = (log(total) - aimed) * weight;
        hits[row] = guess == label;
    }
}

// losses = mean of f(z - targets) over T; dz = scale * f'(z - targets): f is formulas.LOSSES' row
// number `kind`. Times the row's weight, if there are. One warp a row, as above.
extern "C" __global__ void residual_loss(
    Real* dz, Real* losses,                         // (B, T), (B,) out
    const Real* z, const Real* targets,             // (B, T)
    const Real* weights,                            // (B,) or null
    int kind, Real c, Real scale, int rows, int columns) {
    const int row = blockIdx.x * WARPS + threadIdx.y;
    if (row >= rows) return;
    const long long first = (long long)row * columns, end = first + columns;
    const Real weight = weights ? weights[row] : Real(1);
    Real sum = 0;
    for (long long i = first + threadIdx.x; i < end; i += 32) {
        const Real residual = z[i] - targets[i];
        sum += residual_loss_of(kind, residual, c);
        dz[i] = scale * residual_slope_of(kind, residual, c) * weight;
    }
    sum = warp_sum(sum);
    if (threadIdx.x == 0) losses[row] = sum / columns * weight;
}

// sums[o] = dy[0, o] + ... + dy[B - 1, o]: the bias gradient. Blocks of (COLUMNS, SLICES) threads.
extern "C" __global__ void column_sums(Real* sums, const Real* dy, int rows, int columns) {
    const int column = blockIdx.x * COLUMNS + threadIdx.x;
    const int last = column < columns ? rows : 0;  // beside the matrix there are no rows
    Real sum = 0;
    for (int row = threadIdx.y; row < last; row += SLICES)
        sum += dy[(long long)row * columns + column];
    sum = column_sum(sum);
    if (threadIdx.y == 0 && last > 0) sums[column] = sum;
}

// Each row by its own mean and variance. One warp a row; a lane writes where it alone has read, so
// x_hat may be x.
extern "C" __global__ void layer_norm(
    Real* y, Real* x_hat, Real* factor,             // (B, O), (B, O), (B,) out
    const Real* x, const Real* gain, const Real* shift,  // (B, O), (O,), (O,)
    Real eps, int rows, int columns) {
    const int row = blockIdx.x * WARPS + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;
    const long long first = (long long)row * columns;
    Real sum = 0;
    for (int o = lane; o < columns; o += 32) sum += x[first + o];
    const Real mean = warp_sum(sum) / columns;
    Real squares = 0;
    for (int o = lane; o < columns; o += 32) {
        const Real apart = x[first + o] - mean;
        squares += apart * apart;
    }
    const Real scale = 1 / sqrt(warp_sum(squares) / columns + eps);
    for (int o = lane; o < columns; o += 32) {
        const Real normal = (x[first + o] - mean) * scale;
        x_hat[first + o] = normal;
        y[first + o] = gain[o] * normal + shift[o];
    }
    if (lane == 0) factor[row] = scale;
}

// dx = factor * (d - mean(d) - x_hat * mean(d * x_hat)), d = gain * dy. dx may be dy.
extern "C" __global__ void layer_norm_backward(
    Real* dx,                                       // (B, O) out
    const Real* dy, const Real* x_hat, const Real* factor, const Real* gain,
    int rows, int columns) {
    const int row = blockIdx.x * WARPS + threadIdx.y, lane = threadIdx.x;
    if (row >= rows) return;
    const long long first = (long long)row * columns;
    Real sum = 0, slopes = 0;
    for (int o = lane; o < columns; o += 32) {
        const Real d = gain[o] * dy[first + o];
        sum += d;
        slopes += d * x_hat[first + o];
    }
    const Real mean = warp_sum(sum) / columns, slope = warp_sum(slopes) / columns;
    for (int o = lane; o < columns; o += 32)
        dx[first + o] = factor[row] * (gain[o] * dy[first + o] - mean - x_hat[first + o] * slope);
}

// Each column by its own mean and variance, towards which the running ones move, if there are.
// Blocks of (COLUMNS, SLICES) threads.
extern "C" __global__ void batch_norm(
    Real* y, Real* x_hat, Real* factor,             // (B, O), (B, O), (O,) out; x_hat may be x
    Real* running_mean, Real* running_variance,     // (O,) in and out, or null
    const Real* x, const Real* gain, const Real* shift,  // (B, O), (O,), (O,)
    Real eps, Real momentum, int rows, int columns) {
    const int column = blockIdx.x * COLUMNS + threadIdx.x;
    const int last = column < columns ? rows : 0;
    Real sum = 0;
    for (int row = threadIdx.y; row < last; row += SLICES)
        sum += x[(long long)row * columns + column];
    const Real mean = column_sum(sum) / rows;
    Real squares = 0;
    for (int row = threadIdx.y; row < last; row += SLICES) {
        const Real apart = x[(long long)row * columns + column] - mean;
        squares += apart * apart;
    }
    squares = column_sum(squares);
    const Real scale = 1 / sqrt(squares / rows + eps);
    for (int row = threadIdx.y; row < last; row += SLICES) {
        const long long i = (long long)row * columns + column;
        const Real normal = (x[i] - mean) * scale;
        x_hat[i] = normal;
        y[i] = gain[column] * normal + shift[column];
    }
    if (threadIdx.y > 0 || last == 0) return;
    factor[column] = scale;
    if (running_mean) {
        running_mean[column] += momentum * (mean - running_mean[column]);
        running_variance[column] += momentum * (squares / (rows - 1) - running_variance[column]);
    }
}

// dgain = sum of dy * x_hat over B, dshift = sum of dy. With dx also the gradient through
// batch_norm, or where mean and variance were given, factor * gain * dy; dx may be dy.
extern "C" __global__ void batch_norm_backward(
    Real* dx, Real* dgain, Real* dshift,            // (B, O) or null, (O,), (O,) out
    const Real* dy, const Real* x_hat, const Real* factor, const Real* gain,
    int given, int rows, int columns) {
    const int column = blockIdx.x * COLUMNS + threadIdx.x;
    const int last = column < columns ? rows : 0;
    Real sum = 0, slopes = 0;
    for (int row = threadIdx.y; row < last; row += SLICES) {
        const long long i = (long long)row * columns + column;
        sum += dy[i];
        slopes += dy[i] * x_hat[i];
    }
    sum = column_sum(sum);
    slopes = column_sum(slopes);
    if (threadIdx.y == 0 && last > 0) {
        dgain[column] = slopes;
        dshift[column] = sum;
    }
    if (!dx) return;
    const Real mean = given ? Real(0) : sum / rows, slope = given ? Real(0) : slopes / rows;
    for (int row = threadIdx.y; row < last; row += SLICES) {
        const long long i = (long long)row * columns + column;
        dx[i] = factor[column] * gain[column] * (dy[i] - mean - x_hat[i] * slope);
    }
}

// g cut to [-value, value], unless that is 0; then the sum of each block's squares. NaN stays NaN.
extern "C" __global__ void clip_values(Real* g, Real* parts, int count, Real value) {
    Real sum = 0;
    for (int i = blockIdx.x * BLOCK + threadIdx.x; i < count; i += gridDim.x * BLOCK) {
        Real slope = g[i];
        if (value != 0) g[i] = slope = slope < -value ? -value : slope > value ? value : slope;
        sum += slope * slope;
    }
    sum = block_sum(sum);
    if (threadIdx.x == 0) parts[blockIdx.x] = sum;
}

// g *= min(1, norm / |g|), |g|^2 being the sum of the `many` parts, at most BLOCK, that the blocks
// of the kernel before left, one each. There are as many blocks here, and each adds up all parts.
extern "C" __global__ void clip_norm(Real* g, const Real* parts, int count, int many, Real norm) {
    const int thread = threadIdx.x;
    const Real length = sqrt(block_sum(thread < many ? parts[thread] : Real(0)));
    if (length <= norm) return;  // the whole grid; but not if it is NaN, which is passed on
    const Real factor = norm / length;
    for (int i = blockIdx.x * BLOCK + thread; i < count; i += gridDim.x * BLOCK) g[i] *= factor;
}

// The start of a step: rows and rates of step number *cursor of the epoch, each to a fixed place,
// and how many examples come before it.
extern "C" __global__ void turn_page(
    long long* rows, Real* rates, unsigned long long* noise,  // (B,), (K,), (2,) out
    const int* cursor,                              // (1,)
    const long long* order, const Real* table,      // (N,), (steps, K)
    int batch, int count, int width) {              // rows of a full batch, of this one; K
    const int i = blockIdx.x * blockDim.x + threadIdx.x;
    const long long step = *cursor;
    if (i < count) rows[i] = order[step * batch + i];
    if (i < width) rates[i] = table[step * width + i];
    if (i == 0) noise[1] = step * batch;
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
