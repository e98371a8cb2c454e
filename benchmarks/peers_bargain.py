"""BARGAIN for the comparison with peers: a proxy and an oracle that predict one batch."""

from __future__ import annotations

import numpy as np

from benchmarks.peers_tasks import AGREEMENT, Fitted, Method, Task, agrees_with

PACKAGE, EXTRA = "BARGAIN", "bench"


def methods(task: Task):
    """Yield BARGAIN's method: the first member is the proxy, the last the oracle."""
    yield Method("BARGAIN, first and last member", _bargain)


def _bargain(task):
    """Return its process: nothing is fitted, each batch is sampled anew."""
    from BARGAIN import BARGAIN_A, Oracle, Proxy

    (_, first), *_, (_, last) = task.members

    class First(Proxy):
        def proxy_func(self, record):
            proba = first.predict_proba(record[None])[0]
            return int(proba.argmax()), float(proba.max())

    class Last(Oracle):
        def oracle_func(self, record, answer):
            label = int(last.predict(record[None])[0])
            return label == answer, label

    def predict(X):
        process = BARGAIN_A(
            First(verbose=False), Last(verbose=False), AGREEMENT, delta=0.1, verbose=False, seed=0
        )
        return np.array(process.process(X))

    guarantee = agrees_with(AGREEMENT, last.predict(task.test[0]))
    return Fitted(predict, guarantee=guarantee, note="one call a row, by its interface")
