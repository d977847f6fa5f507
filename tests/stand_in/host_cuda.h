// Enough of CUDA to run one block after the other on a CPU.
//
// Each thread of a block is a fiber. A fiber runs until it has to meet others (a barrier or a
// shuffle) or ends; then the next one runs. So execution is deterministic, and a kernel whose
// threads do not all arrive at the same meeting is found out instead of hanging. (A context starts a
// fiber; from then on jumps switch, which unlike swapcontext need no call of the system.)
#include <setjmp.h>
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
    jmp_buf resume;
    std::vector<char> stack = std::vector<char>(1 << 16);  // kept from block to block
    bool started = false, done = false;
    const char* meeting = nullptr;
    double slot = 0;
};
static std::vector<Fiber> fibers;
static jmp_buf scheduler;
static int current = 0;
static std::function<void()> body;

static void enter() {
    body();
    fibers[current].done = true;
    _longjmp(scheduler, 1);
}

static void meet(const char* kind) {
    fibers[current].meeting = kind;
    if (_setjmp(fibers[current].resume) == 0) _longjmp(scheduler, 1);
}

[[noreturn]] static void fail(const char* what) {
    std::fprintf(stderr, "host_cuda: %s\n", what);
    std::abort();
}

// Those who meet must be all threads of a block (barrier) or of a warp (shuffle). Others may have
// ended before a barrier, which CUDA allows too, but not before a shuffle of all lanes.
static void check_meetings(int count) {
    int barriers = 0, alive = 0;
    for (int first = 0; first < count; first += 32) {
        const int last = first + 32 < count ? first + 32 : count;
        int shuffles = 0;
        for (int i = first; i < last; i++) {
            alive += !fibers[i].done;
            barriers += !fibers[i].done && fibers[i].meeting[0] == 'b';
            shuffles += !fibers[i].done && fibers[i].meeting[0] == 's';
        }
        if (shuffles != 0 && shuffles != 32) fail("not all lanes reach the shuffle");
    }
    if (barriers != 0 && barriers != alive) fail("not all threads reach the barrier");
}

static void resume(Fiber& fiber) {
    if (_setjmp(scheduler) != 0) return;  // the fiber has met others or ended
    if (fiber.started) _longjmp(fiber.resume, 1);
    fiber.started = true;
    setcontext(&fiber.context);
}

static void run_block(int width, int height) {
    const int count = width * height;
    if ((int)fibers.size() < count) fibers = std::vector<Fiber>(count);
    for (Fiber& fiber : fibers) {
        fiber.started = fiber.done = false;
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
            resume(fibers[current]);
            alive = alive || !fibers[current].done;
        }
        if (alive) check_meetings(count);
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
