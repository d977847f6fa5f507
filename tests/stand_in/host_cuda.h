// Enough of CUDA to run one block after the other on a CPU.
//
// Each thread of a block is a fiber. A fiber runs until it has to meet others (a barrier or a
// shuffle) or ends; then the next one runs. So execution is deterministic, and a kernel whose
// threads do not all arrive at the same meeting is found out instead of hanging.
#include <ucontext.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <functional>
#include <vector>

using std::exp;
using std::log;
using std::sqrt;

#define __global__
#define __device__
#define __shared__ static  // blocks run one at a time, so one copy is the block's own

struct Index { int x = 0, y = 0, z = 0; };
static Index blockIdx, threadIdx, blockDim, gridDim;

namespace host {
struct Fiber {
    ucontext_t context;
    std::vector<char> stack = std::vector<char>(1 << 16);
    bool done = false;
    const char* meeting = nullptr;
    double slot = 0;
};
static std::vector<Fiber> fibers;
static ucontext_t scheduler;
static int current = 0;
static std::function<void()> body;

static void enter() {
    body();
    fibers[current].done = true;
    swapcontext(&fibers[current].context, &scheduler);
}

static void meet(const char* kind) {
    fibers[current].meeting = kind;
    swapcontext(&fibers[current].context, &scheduler);
}

[[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "host_cuda: %s\n", what);
    std::abort();
}

// Those who meet must be all threads of a block (barrier) or of a warp (shuffle), or have ended.
static void check_meetings() {
    for (size_t i = 0; i < fibers.size(); i++)
        for (size_t j = 0; j < fibers.size(); j++) {
            const Fiber &a = fibers[i], &b = fibers[j];
            if (a.done) continue;
            if (a.meeting[0] == 'b' && !b.done && b.meeting[0] != 'b') fail("not all reach the barrier");
            if (a.meeting[0] == 's' && i / 32 == j / 32 && (b.done || b.meeting[0] != 's'))
                fail("not all lanes reach the shuffle");
        }
}

static void run_block(int width, int height) {
    const int count = width * height;
    fibers = std::vector<Fiber>(count);
    for (Fiber& fiber : fibers) {
        getcontext(&fiber.context);
        fiber.context.uc_stack.ss_sp = fiber.stack.data();
        fiber.context.uc_stack.ss_size = fiber.stack.size();
        fiber.context.uc_link = nullptr;
        makecontext(&fiber.context, enter, 0);
    }
    for (bool alive = true; alive;) {
        alive = false;
        for (current = 0; current < count; current++) {
            if (fibers[current].done) continue;
            threadIdx = {current % width, current / width, 0};
            swapcontext(&scheduler, &fibers[current].context);
            alive = alive || !fibers[current].done;
        }
        if (alive) check_meetings();
    }
}

static void launch(int blocks, int width, int height, std::function<void()> kernel) {
    body = kernel;
    blockDim = {width, height, 1};
    gridDim = {blocks, 1, 1};
    for (int block = 0; block < blocks; block++) {
        blockIdx = {block, 0, 0};
        run_block(width, height);
    }
}
}  // namespace host

static void __syncthreads() { host::meet("barrier"); }

template <class T>
static T __shfl_xor_sync(unsigned lanes, T value, int offset) {
    if (lanes != 0xffffffffu) host::fail("a shuffle of some lanes only");
    const int me = host::current;
    host::fibers[me].slot = (double)value;
    host::meet("shuffle");
    const T other = (T)host::fibers[me ^ offset].slot;
    host::meet("shuffle");
    return other;
}
