"""Sending a model to joblib's workers: its bytes once per worker, not once per task.

A model is pickled anew for each task, since it may have changed. If it has not, the same array of
bytes is sent again; joblib writes it to a file once and then sends only the file name. A worker
unpickles the bytes once and shares the model between its tasks. Backends on other machines (Dask,
Ray) share no files; they receive what many tasks need before the first task.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import os
import pickle
import sys
import threading
from collections import OrderedDict
from collections.abc import Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import cache
from mmap import mmap
from multiprocessing import parent_process
from types import FrameType
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from joblib import parallel_backend
from joblib.parallel import get_active_backend

# The most that a worker keeps; beyond it, the least recently used models are dropped.
_MAX_MODELS = 64
_MAX_BYTES = 2**30
_ray_objects: dict[bytes, object] = {}
# One pickle per owner while that lives: joblib recognises an array by its identity.
_pickles: WeakKeyDictionary[object, SharedPickle] = WeakKeyDictionary()
_models: OrderedDict[bytes, tuple[object, int]] = OrderedDict()
_lock = threading.RLock()


class RayRef(NamedTuple):
    """A reference to an argument in Ray's object store."""

    ref: Any  # ray.ObjectRef

    def fetch(self):  # pragma: no cover, by tests/scale
        """Return the argument, unpickled once per worker."""
        key = self.ref.binary()
        # A worker lives as long as the call, which keeps its objects in the store anyway.
        if key not in _ray_objects:
            _ray_objects[key] = importlib.import_module("ray").get(self.ref)
        return _ray_objects[key]


@contextmanager
def scatter(arguments: Sequence):
    """Send the arguments that many tasks need to joblib's backend once; yield what to pass instead.

    On its own Dask sends a large argument to one worker, whose death would end the call, and the
    contents of a tuple with every task; Ray, depending on its version, sends all with every task.
    """
    backend, _ = get_active_backend()
    if type(backend).__module__.startswith("ray."):  # pragma: no cover, by tests/scale
        put = importlib.import_module("ray").put
        yield [RayRef(put(argument)) for argument in arguments]
    elif hasattr(backend, "data_futures"):  # pragma: no cover, by tests/scale
        with _scatter_with_dask(backend, arguments):
            yield arguments
    else:
        yield arguments


def gather(*arguments) -> list:
    """Return the arguments of a task as they were before `scatter`."""
    return [each.fetch() if isinstance(each, RayRef) else each for each in arguments]


def limit_to_worker() -> AbstractContextManager:
    """Keep a member's own loops inside its Dask worker, in as many threads as it requests.

    Dask would distribute them over the cluster: each tree of a forest as a task, with the trees
    summed in an order that changes the last digit.
    """
    if hasattr(get_active_backend()[0], "data_futures"):  # pragma: no cover, by tests/scale
        return parallel_backend("threading", n_jobs=1)
    return nullcontext()


@contextmanager
def _scatter_with_dask(backend, arguments: Sequence):  # pragma: no cover, by tests/scale
    """Place some arguments on every Dask worker, and register them with joblib's backend."""
    futures = backend.data_futures
    # Waits for a cluster that starts its workers on demand.
    backend.effective_n_jobs(1)
    new = [each for each in arguments if id(each) not in futures]
    known = [futures[id(each)] for each in arguments if id(each) in futures]
    with _keep_copies(backend.client):
        # What the user scattered may have lost copies since.
        backend.client.replicate(known)
        # Without hashes: equal keys of concurrent fits would be released together.
        sent = backend.client.scatter(new, broadcast=True, hash=False)
        futures.update(zip(map(id, new), sent, strict=True))
        try:
            yield
        finally:
            for each in new:
                futures.pop(id(each), None)


@contextmanager
def _keep_copies(client):  # pragma: no cover, by tests/scale
    """Stop Dask from dropping copies that no task is waiting for.

    It does so every two seconds; then data would be sent again, and the death of the worker with
    the last copy would end the call.
    """
    was_running = client.amm.running()
    client.amm.stop()
    try:
        yield
    finally:
        if was_running:
            client.amm.start()


class PicklingContext(NamedTuple):
    """The pickling in progress."""

    cloud_pickler: type | None  # class CloudPickler of the cloudpickle in use, if it is one
    to_worker: bool  # whether joblib's loky pickles a task for a worker, or a worker its result


def pickling_context() -> PicklingContext:
    """Return which pickler calls a ``__reduce_ex__``; see decision 0009 for why from the stack."""
    cloud_pickler, to_worker = None, False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        # joblib, Ray and Spark each bring a cloudpickle of their own or use the installed one.
        if cloud_pickler is None and "cloudpickle" in name:
            cloud_pickler = frame.f_globals.get("CloudPickler")
        to_worker = to_worker or name.endswith("loky.backend.reduction")
        frame = frame.f_back
    return PicklingContext(cloud_pickler, to_worker)


class SharedPickle:
    """A pickled model that unpickles as the model itself."""

    def __init__(self, digest: bytes, content: np.ndarray, mapped: list[np.ndarray]) -> None:
        self.digest = digest  # equal for equal content
        self.content = content  # the pickle, uint8 (n_bytes,)
        self.mapped = mapped  # memory-mapped arrays of the model, which workers map themselves

    def __reduce__(self):
        return _load_shared, (self.digest, self.content, self.mapped)


def shared_pickle(owner, model, cloud_pickler: type) -> SharedPickle:
    """Pickle the model of an owner; the same object as long as the model does not change."""
    file = io.BytesIO()
    pickler = _mapping_pickler(cloud_pickler)(file)
    pickler.dump(model)
    content = np.frombuffer(file.getbuffer(), dtype=np.uint8)
    digest = hashlib.sha256(file.getbuffer())
    for array in pickler.mapped:
        digest.update(_file_region(array).encode())
    found = _pickles.get(owner)
    if found is None or found.digest != digest.digest():
        found = _pickles[owner] = SharedPickle(digest.digest(), content, pickler.mapped)
    return found


def _load_shared(digest: bytes, content: np.ndarray, mapped: list[np.ndarray]):
    """Return the model of a pickle; workers unpickle it once and share it between tasks."""
    # Outside of workers each copy is independent: changes to one must not affect another.
    if parent_process() is None:
        return _unpickle(content, mapped)
    with _lock:  # pragma: no cover, in workers
        if digest not in _models:
            _models[digest] = (_unpickle(content, mapped), content.nbytes)
        _models.move_to_end(digest)
        n_bytes = sum(size for _, size in _models.values())
        while len(_models) > 1 and (len(_models) > _MAX_MODELS or n_bytes > _MAX_BYTES):
            n_bytes -= _models.popitem(last=False)[1][1]
        return _models[digest][0]


@cache
def _mapping_pickler(cloud_pickler: Any) -> type:
    """Return a CloudPickler that leaves memory-mapped arrays out."""

    class MappingPickler(cloud_pickler):
        """Pickler that lists the arrays it leaves out as `mapped`."""

        def __init__(self, file) -> None:
            super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
            self.mapped: list[np.ndarray] = []

        def persistent_id(self, obj):
            """Return the position of an array that is left out, else None."""
            # The types that joblib sends by their file name.
            if type(obj) not in (np.ndarray, np.memmap) or _memmap_of(obj) is None:
                return None
            self.mapped.append(obj)
            return len(self.mapped) - 1

    return MappingPickler


class _Unpacker(pickle.Unpickler):  # pragma: no cover, in workers
    """Unpickler that puts the arrays left out back in."""

    def __init__(self, file, mapped) -> None:
        super().__init__(file)
        self._mapped = mapped

    def persistent_load(self, pid):
        return self._mapped[pid]


def _unpickle(content: np.ndarray, mapped: list[np.ndarray]):
    """Return the content of a pickle."""
    if mapped:  # pragma: no cover, in workers
        return _Unpacker(io.BytesIO(content.data), mapped).load()
    # Avoids a copy.
    return pickle.loads(content.data)


def _memmap_of(array) -> Any:
    """Return the memory map of which an array is a view, or None."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap):
            return array if array.filename is not None else None
        array = array.base
    return None


def _file_region(array: np.ndarray) -> str:
    """Return a text that identifies the region of a file that an array shows."""
    mapped = _memmap_of(array)
    start = array.ctypes.data - mapped.ctypes.data + mapped.offset
    region = start, array.shape, array.strides, array.dtype.str
    # The file may have been replaced since a worker mapped it.
    file = os.stat(mapped.filename)
    return repr((str(mapped.filename), file.st_ino, file.st_size, file.st_mtime_ns, region))
