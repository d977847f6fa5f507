"""A stand-in for the parts of CuPy that fastnn uses, on host memory, refusing what CuPy refuses.

Kernels are compiled with g++ from the very sources that a GPU gets. While a stream is capturing,
launches are noted instead of run (an operation with `out` is one), and what CuPy or a capture does
not allow raises: products, transfers, and (stricter than CuPy) every allocation and every other
operation.
A graph holds addresses only, as a real one: memory that was let go is found out at the replay.
"""

from __future__ import annotations

import ctypes
import gc
import weakref
from collections import Counter
from types import ModuleType, SimpleNamespace

import numpy as np

from fastnn.kernels.sources import Elementwise
from tests.stand_in import compiled


class OutOfMemoryError(MemoryError):
    def __init__(self, size, total, limit=0):
        super().__init__(f"Out of memory allocating {size:,} bytes")
        self._size, self._total, self._limit = size, total, limit


class CUDARuntimeError(RuntimeError):
    pass


class ndarray(np.ndarray):  # noqa: N801 - its name
    """On the device: looking at a value is a transfer, and host arrays cannot be put in unmoved."""

    @property
    def data(self):
        return SimpleNamespace(ptr=self.ctypes.data)

    def _looked_at(name):  # noqa: N805
        def method(self, *args):
            GPU.running.transfer()
            return getattr(self.view(np.ndarray), name)(*args)

        return method

    __float__, __int__, __bool__ = map(_looked_at, ("__float__", "__int__", "__bool__"))
    __index__, item, tolist = map(_looked_at, ("__index__", "item", "tolist"))

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if GPU.running.current.recording is not None and "out" in options and method == "__call__":
            return GPU.running.noted(ufunc, inputs, *options["out"])
        GPU.running.plain_operation(ufunc.__name__)
        for x in inputs:
            if isinstance(x, np.ndarray) and not isinstance(x, ndarray) and x.ndim:
                raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        inputs = [x.view(np.ndarray) if isinstance(x, np.ndarray) else x for x in inputs]
        out = options.pop("out", None)
        if out is None:
            return GPU.running.fresh(getattr(ufunc, method)(*inputs, **options))
        assert isinstance(out[0], ndarray)
        getattr(ufunc, method)(*inputs, out=out[0].view(np.ndarray), **options)
        return out[0]

    def __getitem__(self, key):
        keys = key if isinstance(key, tuple) else (key,)
        if all(isinstance(k, int) for k in keys):
            keys = (*keys, ...)  # an element stays on the device, as an array of no dimensions
        return super().__getitem__(keys)

    def __setitem__(self, key, value):
        GPU.running.plain_operation("setitem")
        if isinstance(value, np.ndarray) and not isinstance(value, ndarray):
            raise TypeError("Unsupported type <class 'numpy.ndarray'>")
        super().__setitem__(key, value)

    def copy(self):
        return GPU.running.fresh(self.view(np.ndarray).copy())

    def astype(self, dtype):
        return GPU.running.fresh(self.view(np.ndarray).astype(dtype))

    def set(self, host, stream=None):
        GPU.running.transfer()
        assert type(host) is np.ndarray, "only numpy.ndarray can be set"
        assert (host.dtype, host.shape) == (self.dtype, self.shape)
        (stream or GPU.running.current).do(lambda: np.copyto(self.view(np.ndarray), host))


class Stream:
    def __init__(self, gpu, *, non_blocking=False):
        self.gpu, self.non_blocking = gpu, non_blocking
        self.recording = None
        self.ptr = 0 if non_blocking is None else id(self)

    def __enter__(self):
        self.gpu.streams.append(self)
        return self

    def __exit__(self, *_):
        self.gpu.streams.pop()

    def do(self, work):
        if self.recording is not None:
            self.recording.append(work)
        else:
            work()

    def begin_capture(self):
        assert self.non_blocking, "the legacy stream cannot be captured"
        assert not gc.isenabled(), "a collection might destroy an older graph meanwhile"
        self.recording = []
        self.gpu.counts["captures"] += 1

    def end_capture(self):
        nodes, self.recording = self.recording, None
        if self.gpu.fail_capture:
            raise CUDARuntimeError(self.gpu.fail_capture)
        return SimpleNamespace(nodes=nodes, launch=lambda: self.gpu.replay(nodes))

    def synchronize(self):
        assert self.recording is None, "cudaErrorStreamCaptureUnsupported"
        self.gpu.history.append("synchronize")

    def wait_event(self, event):
        self.gpu.history.append(("wait", self.name, event.number))

    def record(self, event=None):
        event = event or Event(self.gpu)
        event.record(self)
        return event

    @property
    def name(self):
        return {None: "default"}.get(self.non_blocking, f"stream {self.gpu.number(self)}")


class Event:
    def __init__(self, gpu, **_options):
        self.gpu, self.number = gpu, next(gpu.event_numbers)

    def record(self, stream=None):
        stream = stream or self.gpu.current
        self.gpu.history.append(("record", stream.name, self.number))

    def synchronize(self):
        self.gpu.history.append(("host waits", self.number))


class Device:
    def __init__(self, gpu, capability):
        self.gpu, self.compute_capability = gpu, capability

    def __enter__(self):
        self.gpu.history.append("device")
        return self

    def __exit__(self, *_):
        pass


class GPU(ModuleType):
    """The module `cupy` itself; `counts` and `history` tell what was done with it."""

    running: GPU

    def __init__(self):
        super().__init__("cupy")
        GPU.running = self
        self.counts, self.history = Counter(), []
        self.free, self.pooled, self.capability = 1 << 40, 0, "90"
        self.fail_capture = self.fail_at = None  # an error's text; the kernel that loses the device
        self.event_numbers = iter(range(10**9))
        self._known = []
        self.default = Stream(self, non_blocking=None)
        self.streams = [self.default]
        self._roots = []
        self.ndarray, self.__version__ = ndarray, "stand-in"
        memory = SimpleNamespace(OutOfMemoryError=OutOfMemoryError)
        runtime = SimpleNamespace(
            driverGetVersion=lambda: 13000, runtimeGetVersion=lambda: 13000,
            getDeviceCount=lambda: 1, memGetInfo=lambda: (self.free, 1 << 41),
            getDeviceProperties=lambda index: {"name": b"Stand-in"},
        )  # fmt: skip
        self.cuda = SimpleNamespace(
            runtime=runtime, memory=memory, Device=self._device,
            Stream=lambda **options: Stream(self, **options),
            Event=lambda **options: Event(self, **options),
            get_current_stream=lambda: self.current, alloc_pinned_memory=self._pinned,
            get_elapsed_time=lambda begin, end: 1.0,
        )  # fmt: skip
        for name in ("add", "multiply", "subtract", "divide", "maximum", "greater", "equal", "exp",
                     "log", "sqrt", "isfinite"):  # fmt: skip
            setattr(self, name, getattr(np, name))

    @property
    def current(self):
        return self.streams[-1]

    def number(self, stream):
        if stream not in self._known:
            self._known.append(stream)
        return self._known.index(stream)

    def get_default_memory_pool(self):
        return SimpleNamespace(free_bytes=lambda: self.pooled)

    def _device(self, index):
        assert index == 0
        return Device(self, self.capability)

    def _pinned(self, size):
        self.counts["pinned"] += 1
        return (ctypes.c_char * size)()

    # What is allowed when.

    def plain_operation(self, name):
        assert self.current.recording is None, f"{name} inside a captured step"
        self.counts["plain operations"] += 1
        self.counts[name] += 1

    def transfer(self):
        if self.current.recording is not None:
            raise RuntimeError("H2D/D2H transfers are disallowed while the stream is capturing")
        self.counts["transfers"] += 1

    def fresh(self, array):
        """A host array just made, as new device memory."""
        array = _aligned(np.asarray(array))
        assert self.current.recording is None, "memory allocated inside a captured step"
        if array.nbytes > self.free:
            raise OutOfMemoryError(array.nbytes, 0)
        self.counts["allocations"] += 1
        root = array.view(np.ndarray)
        while root.base is not None:
            root = root.base
        self._roots = [r for r in self._roots if r[2]() is not None]
        start = root.ctypes.data
        self._roots.append((start, start + root.nbytes, weakref.ref(root)))
        return array.view(ndarray)

    def memory_at(self, address):
        """Who owns this address: a weak reference, as a graph has."""
        for start, end, root in self._roots:
            if start <= address < max(end, start + 1):
                return root
        raise AssertionError(f"{address:#x} is no device memory")

    # The module's functions.

    def empty(self, shape, dtype=np.float64):
        array = np.empty(shape, dtype)
        array.view(np.uint8).reshape(-1)[...] = 0xEE  # nobody may count on zeros
        return self.fresh(array)

    def zeros(self, shape, dtype=np.float64):
        return self.fresh(np.zeros(shape, dtype))

    def ones(self, shape, dtype=np.float64):
        return self.fresh(np.ones(shape, dtype))

    def full(self, shape, value, dtype=None):
        return self.fresh(np.full(shape, value, dtype))

    def eye(self, n, dtype=np.float64):
        return self.fresh(np.eye(n, dtype=dtype))

    def arange(self, *args, **options):
        return self.fresh(np.arange(*args, **options))

    def empty_like(self, array):
        return self.empty(array.shape, array.dtype)

    def ascontiguousarray(self, array):
        return self.fresh(np.ascontiguousarray(array))

    def asarray(self, host, dtype=None):
        if isinstance(host, ndarray) and (dtype is None or host.dtype == dtype):
            return host
        if isinstance(host, ndarray):
            return self.fresh(host.view(np.ndarray).astype(dtype))
        self.transfer()
        return self.fresh(np.array(host, dtype))

    def asnumpy(self, array):
        self.transfer()
        return np.array(array.view(np.ndarray))

    def dot(self, a, b, out):
        if self.current.recording is not None:
            raise NotImplementedError(
                "calling cuBLAS API during stream capture is currently unsupported"
            )
        assert isinstance(out, ndarray) and out.flags.c_contiguous
        self.counts["dot"] += 1
        np.dot(a.view(np.ndarray), b.view(np.ndarray), out=out.view(np.ndarray))

    def take(self, table, rows, axis=None, out=None):
        self.plain_operation("take")
        arrays = (table.view(np.ndarray), rows.view(np.ndarray))
        np.take(*arrays, axis=axis, out=out.view(np.ndarray))

    def ElementwiseKernel(self, inputs, outputs, body, name, no_return=False):
        kernel, given = Elementwise(inputs, outputs, body, name), len(compiled.parameters(inputs))

        def launch(*arguments):
            compiled.refuse_copies(name, arguments[:given], arguments[given:])
            self._call(name, arguments, lambda *now: compiled.run_elementwise(kernel, *now))

        return launch

    def RawKernel(self, code, name):
        return lambda grid, block, arguments: self._call(name, arguments, lambda *now: None)

    def RawModule(self, *, code, options):
        self.counts["modules"] += 1
        return self._module(code, options)

    def _module(self, code, options):
        def get_function(name):
            def launch(grid, block, arguments):
                self._call(
                    name, arguments,
                    lambda *now: compiled.run_rows(code, options, name, grid[0], block, now),
                )  # fmt: skip

            return launch

        return SimpleNamespace(get_function=get_function)

    def noted(self, ufunc, inputs, out):
        """An operation that writes in place, as part of a capture."""
        compiled.refuse_copies(ufunc.__name__, inputs, [out])
        self._call(
            ufunc.__name__, (*inputs, out), lambda *now: ufunc(*now[:-1], out=now[-1])
        )  # fmt: skip
        return out

    def _call(self, name, arguments, run):
        """Launch now or note for later, arrays by address."""
        if self.fail_at == name:
            raise CUDARuntimeError(f"cudaErrorIllegalAddress: in {name}")
        self.counts[name] += 1
        frozen = [self.frozen(x) if isinstance(x, np.ndarray) else lambda x=x: x for x in arguments]
        self.current.do(lambda: run(*(thaw() for thaw in frozen)))

    def frozen(self, array):
        """What a kernel gets of an array: its address. Calling it finds the memory again."""
        assert isinstance(array, ndarray), f"a host array {array.dtype} {array.shape} for a kernel"
        address, shape, dtype = array.ctypes.data, array.shape, array.dtype
        owner, strides = self.memory_at(address), array.strides

        def thaw():
            root = owner()
            assert root is not None, "a graph touches memory that was let go"
            flat = np.lib.stride_tricks.as_strided(root.reshape(-1).view(np.uint8))
            return np.ndarray(shape, dtype, flat, address - root.ctypes.data, strides)

        return thaw

    def replay(self, nodes):
        self.counts["replays"] += 1
        for node in nodes:
            node()


def _aligned(array):
    """A copy that begins where CuPy's pool lets memory begin: at multiples of 512 bytes."""
    block = np.empty(array.nbytes + 512, np.uint8)
    first = -block.ctypes.data % 512
    copy = block[first : first + array.nbytes].view(array.dtype).reshape(array.shape)
    copy[...] = array
    return copy
