"""
Early exit inside one ONNX file
===============================

A cascade of a linear model and 300 trees becomes one ONNX file. Rows are sent one per call, as in a
service, and the time of a call depends on the stage at which the row exits. Times are those of the
machine that built this page, on one thread.
"""

from time import perf_counter

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter
from sklearn.datasets import load_digits
from sklearn.ensemble import ExtraTreesClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sklearn_cascade import CascadeClassifier, to_onnx

X, y = load_digits(return_X_y=True)
X = X.astype("float32")
X_train, X_test, y_train, y_test = train_test_split(X, y, test_size=0.4, random_state=0, stratify=y)
cascade = CascadeClassifier(
    [
        ("linear", make_pipeline(StandardScaler(), LogisticRegression(C=0.1))),
        ("trees", ExtraTreesClassifier(300, random_state=0)),
    ],
    costs=[1, 40],
    random_state=0,
).fit(X_train, y_train)
files = {
    "cascade": to_onnx(cascade, X_test, verbose=1),
    "no early exit": to_onnx(cascade.with_thresholds(np.inf), X_test),
}

# %%
# Only onnxruntime runs below. For each row, the fastest of seven calls counts.

options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
seconds = {}
for name, model in files.items():
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    label, _, exit_stage, _ = session.run(None, {"X": X_test})
    times = np.empty((7, len(X_test)))
    for repeat in times:
        for row in range(len(X_test)):
            start = perf_counter()
            session.run(None, {"X": X_test[row : row + 1]})
            repeat[row] = perf_counter() - start
    seconds[name] = 1e6 * times.min(axis=0), exit_stage, np.mean(label == y_test)

# %%
# Rows that exit at the first stage do not run the trees; rows that go on take a little longer than
# without early exit. The title gives the mean time and the accuracy of both files.

fig, ax = plt.subplots()
times, exit_stage, accuracy = seconds["cascade"]
always, _, accuracy_always = seconds["no early exit"]
bins = np.geomspace(min(times.min(), always.min()) * 0.9, np.quantile(always, 0.99) * 1.5, 60)
for stage, color in [(0, "#0072B2"), (1, "#D55E00")]:
    share = np.mean(exit_stage == stage)
    label = f"cascade, {share:.0%} of the rows exit at stage {stage}"
    ax.hist(times[exit_stage == stage], bins=bins, color=color, alpha=0.8, label=label)
ax.hist(always, bins=bins, histtype="step", color="black", linewidth=1.5, label="no early exit")
ax.set(xscale="log", xlabel="Microseconds per call of one row", ylabel="Rows")
ax.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
ax.xaxis.set_major_locator(LogLocator(subs=[1, 2, 5]))
ax.xaxis.set_minor_formatter(NullFormatter())
ax.set_title(
    f"mean {times.mean():.0f} µs at {accuracy:.1%}; no early exit: {always.mean():.0f} µs at "
    f"{accuracy_always:.1%}"
)
ax.legend()
plt.show()
