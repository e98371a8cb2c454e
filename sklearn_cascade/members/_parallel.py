"""Sending a model to joblib's workers: its bytes once per worker, not once per task.

A model is pickled anew for each task, as it may have changed; what was sent before is sent again
as the very same array, which joblib writes to a file once and then only names. A worker unpickles
the bytes once and shares the model between its tasks. Engines that reach other machines share no
files; they are given what many tasks need before the first of these.
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
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
from joblib import parallel_backend
from joblib.parallel import get_active_backend

__all__ = ["Pickling", "limit_to_worker", "pack", "pickling_at_work", "gather", "scatter"]
# What a worker keeps at most; beyond, the models not used for longest go.
MOST_MODELS = 64
MOST_BYTES = 2**30
_fetched: dict[bytes, object] = {}
# One parcel per owner, as long as it lives: joblib knows an array by its identity.
_sent: WeakKeyDictionary[object, SharedPickle] = WeakKeyDictionary()
_arrived: OrderedDict[bytes, tuple[object, int]] = OrderedDict()
_lock = threading.RLock()


class RayRef(NamedTuple):
    """Something that lies in the store of Ray, in the place of an argument.

    Attributes
    ----------
    ref : ray.ObjectRef
        Where it lies.
    """

    ref: object

    def fetch(self):
        """Return it, unpickled once per worker."""
        key = self.ref.binary()
        # A worker lives as long as the call, and the store holds no less for it.
        if key not in _fetched:
            _fetched[key] = importlib.import_module("ray").get(self.ref)
        return _fetched[key]


@contextmanager
def scatter(arguments: Sequence):
    """Give arguments for tasks to the engine that is joblib's backend, each once.

    Yields what to hand to the tasks instead. By itself Dask sends a large argument to one worker,
    whose death would end the call, and what lies in a tuple with every task; Ray, depending on
    the versions, sends all with every task.

    Parameters
    ----------
    arguments : sequence
        What many tasks need.
    """
    backend, _ = get_active_backend()
    if type(backend).__module__.startswith("ray."):
        put = importlib.import_module("ray").put
        yield [RayRef(put(each)) for each in arguments]
    elif hasattr(backend, "data_futures"):
        with _held_by_dask(backend, arguments):
            yield arguments
    else:
        yield arguments


def gather(*arguments) -> list:
    """Return the arguments of a task as they were before `scatter`."""
    return [each.fetch() if isinstance(each, RayRef) else each for each in arguments]


def limit_to_worker() -> AbstractContextManager:
    """Let a member's own loops stay in a worker of Dask, in as many threads as it asks for.

    Dask would have them run all over the cluster: each tree of a forest as a task, and the trees
    added up in an order that changes the last digit.
    """
    if hasattr(get_active_backend()[0], "data_futures"):
        return parallel_backend("threading", n_jobs=1)
    return nullcontext()


@contextmanager
def _held_by_dask(backend, arguments: Sequence):
    """Let every worker of Dask hold some arguments, and joblib's backend know of it."""
    futures = backend.data_futures
    # Waits for a cluster that starts workers when there is work.
    backend.effective_n_jobs(1)
    new = [each for each in arguments if id(each) not in futures]
    known = [futures[id(each)] for each in arguments if id(each) in futures]
    with _copies_kept(backend.client):
        # What the user scattered may have lost copies since.
        backend.client.replicate(known)
        # Not by their hash: equal keys would be released together where fits run side by side.
        sent = backend.client.scatter(new, broadcast=True, hash=False)
        futures.update(zip(map(id, new), sent, strict=True))
        try:
            yield
        finally:
            for each in new:
                futures.pop(id(each), None)


@contextmanager
def _copies_kept(client):
    """Stop Dask from dropping copies that no task waits for just now.

    It does so every two seconds, so that data would be sent again, and the death of the worker
    with the last copy would end the call.
    """
    was_running = client.amm.running()
    client.amm.stop()
    try:
        yield
    finally:
        if was_running:
            client.amm.start()


class Pickling(NamedTuple):
    """The pickling under way.

    Attributes
    ----------
    cloud_pickler : type or None
        Class CloudPickler of the cloudpickle at work, which takes what pickle refuses.
    to_worker : bool
        Whether joblib's loky pickles a task for a worker, or a worker its result.
    """

    cloud_pickler: type | None
    to_worker: bool


def pickling_at_work() -> Pickling:
    """Tell who pickles, seen from a ``__reduce_ex__``."""
    cloud_pickler, to_worker = None, False
    frame: FrameType | None = sys._getframe(1)
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        # joblib brings a cloudpickle of its own or uses the installed one.
        if cloud_pickler is None and "cloudpickle" in name:
            cloud_pickler = frame.f_globals.get("CloudPickler")
        to_worker = to_worker or name.endswith("loky.backend.reduction")
        frame = frame.f_back
    return Pickling(cloud_pickler, to_worker)


class SharedPickle:
    """A pickled model that unpickles as the model itself.

    Parameters
    ----------
    digest : bytes
        Equal for equal content.
    content : ndarray of uint8
        The pickle.
    mapped : list of ndarray
        Arrays of the model that lie in files of their own, which workers map by themselves.
    """

    def __init__(self, digest: bytes, content: np.ndarray, mapped: list[np.ndarray]) -> None:
        self.digest = digest
        self.content = content
        self.mapped = mapped

    def __reduce__(self):
        return unpack, (self.digest, self.content, self.mapped)


def pack(owner, model, cloud_pickler: type) -> SharedPickle:
    """Return a model as a parcel; the same one as long as the model does not change.

    Parameters
    ----------
    owner : object
        Whose model it is.
    model : object
        Anything that cloudpickle takes.
    cloud_pickler : type
        Class CloudPickler.

    Returns
    -------
    parcel : SharedPickle
    """
    file = io.BytesIO()
    packer = _packer(cloud_pickler)(file)
    packer.dump(model)
    content = np.frombuffer(file.getbuffer(), dtype=np.uint8)
    digest = hashlib.sha256(content)
    for array in packer.mapped:
        digest.update(_place_in_file(array).encode())
    parcel = _sent.get(owner)
    if parcel is None or parcel.digest != digest.digest():
        parcel = _sent[owner] = SharedPickle(digest.digest(), content, packer.mapped)
    return parcel


def unpack(digest: bytes, content: np.ndarray, mapped: list[np.ndarray]):
    """Return the model of a parcel; workers unpickle it once and share it between tasks."""
    # Elsewhere a copy is a copy: what is done to one must not show in the next.
    if parent_process() is None:
        return _unpickle(content, mapped)
    with _lock:
        if digest not in _arrived:
            _arrived[digest] = (_unpickle(content, mapped), content.nbytes)
        _arrived.move_to_end(digest)
        _forget_oldest()
        return _arrived[digest][0]


def _forget_oldest() -> None:
    """Drop the models not used for longest until the limits hold; the last one stays."""
    n_bytes = sum(size for _, size in _arrived.values())
    while len(_arrived) > 1 and (len(_arrived) > MOST_MODELS or n_bytes > MOST_BYTES):
        n_bytes -= _arrived.popitem(last=False)[1][1]


@cache
def _packer(cloud_pickler: type) -> type:
    """Return a CloudPickler that leaves arrays in files out."""

    class Packer(cloud_pickler):
        """Pickler that lists the arrays it leaves out as `mapped`."""

        def __init__(self, file) -> None:
            super().__init__(file, protocol=pickle.HIGHEST_PROTOCOL)
            self.mapped: list[np.ndarray] = []

        def persistent_id(self, obj):
            """Return the position of an array that is left out, else None."""
            # The types that joblib sends by the name of their file.
            if type(obj) not in (np.ndarray, np.memmap) or _file_behind(obj) is None:
                return None
            self.mapped.append(obj)
            return len(self.mapped) - 1

    return Packer


class _Unpacker(pickle.Unpickler):
    """Unpickler that puts the arrays left out back in."""

    def __init__(self, file, mapped) -> None:
        super().__init__(file)
        self._mapped = mapped

    def persistent_load(self, pid):
        return self._mapped[pid]


def _unpickle(content: np.ndarray, mapped: list[np.ndarray]):
    """Return what a pickle holds."""
    if mapped:
        return _Unpacker(io.BytesIO(content.data), mapped).load()
    # Spares a copy.
    return pickle.loads(content.data)


def _file_behind(array) -> np.memmap | None:
    """Return the map of a file that an array is a view of, if it is one."""
    while isinstance(array, np.ndarray):
        if isinstance(array, np.memmap) and isinstance(array.base, mmap):
            return array if array.filename is not None else None
        array = array.base
    return None


def _place_in_file(array: np.ndarray) -> str:
    """Tell what part of which file an array is."""
    mapped = _file_behind(array)
    start = array.ctypes.data - mapped.ctypes.data + mapped.offset
    part = start, array.shape, array.strides, array.dtype.str
    # Another file may have taken the place of the one that a worker has mapped.
    file = os.stat(mapped.filename)
    return repr((str(mapped.filename), file.st_ino, file.st_size, file.st_mtime_ns, part))
