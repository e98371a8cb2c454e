"""
Train the digit nets again
==========================

Makes everything in this folder but README.md: six small convolutional nets for scikit-learn's
digits as ONNX files, and ``split.npz``, the rows that trained them and the rows that did not.
Prints README.md's table. Takes half a minute of one core; needs torch, onnx, onnxruntime and
scikit-learn. Not needed to use the nets.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import torch
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from torch import nn
from torch.nn import functional

N_VALID, N_TEST = 500, 797

# Each net: name, seed, 3x3 convolutions as (channels, stride), and whether the mean over the
# pixels comes before the linear layer. 8x8 pixels come in.
NETS = [
    ("digits_1k", 0, [(4, 2)], False),
    ("digits_9k", 0, [(12, 2), (16, 2)], False),
    ("digits_44k", 0, [(12, 2), (16, 1), (24, 2)], False),
    ("digits_213k", 0, [(16, 1), (24, 2), (32, 1), (32, 2)], False),
    ("digits_213k_seed1", 1, [(16, 1), (24, 2), (32, 1), (32, 2)], False),
    ("digits_1120k", 0, [(24, 1), (32, 1), (48, 2), (64, 1)], True),
]
N_EPOCHS, BATCH, RATE, WEIGHT_DECAY = 200, 50, 0.01, 0.01


def split_rows(y):
    """Return the rows to train, validate and test on: fixed, each class in equal shares."""
    rest, test = train_test_split(np.arange(len(y)), test_size=N_TEST, random_state=0, stratify=y)
    train, valid = train_test_split(rest, test_size=N_VALID, random_state=0, stratify=y[rest])
    return {"train": train, "valid": valid, "test": test}


def build(convolutions, pooled):
    """Return an untrained net that takes pixels from 0 to 1 and gives logits."""
    layers, channels, side = [], 1, 8
    for width, stride in convolutions:
        layers += [
            nn.Conv2d(channels, width, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
        ]
        channels, side = width, side // stride
    layers += [nn.AdaptiveAvgPool2d(1)] if pooled else []
    layers += [nn.Flatten(), nn.Linear(channels * (1 if pooled else side**2), 10)]
    return nn.Sequential(*layers)


def distort(pixels):
    """Turn, stretch, slant and shift each image a little, at random."""
    n = len(pixels)
    moves = (2 * torch.rand(n, 2, 3) - 1) * torch.tensor([0.15, 0.15, 0.15])
    moves[:, 0, 0] += 1
    moves[:, 1, 1] += 1
    grid = functional.affine_grid(moves, list(pixels.shape), align_corners=False)
    return functional.grid_sample(pixels, grid, align_corners=False)


def train(net, pixels, labels):
    """Train by cross-entropy; return the seconds it took."""
    start = time.perf_counter()
    steps = N_EPOCHS * (len(pixels) // BATCH)
    optimizer = torch.optim.AdamW(net.parameters(), lr=RATE, weight_decay=WEIGHT_DECAY)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    net.train()
    for _ in range(N_EPOCHS):
        for rows in torch.randperm(len(pixels))[: len(pixels) // BATCH * BATCH].split(BATCH):
            optimizer.zero_grad()
            functional.cross_entropy(net(distort(pixels[rows])), labels[rows]).backward()
            optimizer.step()
            schedule.step()
    net.eval()
    return time.perf_counter() - start


def fold(convolution, norm):
    """Return kernel and bias of a convolution with its batch normalisation folded in."""
    scale = norm.weight / torch.sqrt(norm.running_var + norm.eps)
    return convolution.weight * scale[:, None, None, None], norm.bias - norm.running_mean * scale


def count_multiply_adds(net):
    """Return the multiplications, each with its addition, that one image takes."""
    total, side = 0, 8
    for layer in net:
        if isinstance(layer, nn.Conv2d):
            side //= layer.stride[0]
            total += layer.weight.numel() * side**2
        elif isinstance(layer, nn.Linear):
            total += layer.weight.numel()
    return total


def as_node(layer, norm, source, output):
    """Return the ONNX node of a layer, and its weights by name; `norm` is the layer after it."""
    if isinstance(layer, nn.Conv2d):
        weights = dict(zip((f"{output}.w", f"{output}.b"), fold(layer, norm), strict=True))
        shape = {"pads": [1] * 4, "strides": list(layer.stride)}
        return helper.make_node("Conv", [source, *weights], [output], **shape), weights
    if isinstance(layer, nn.Linear):
        weights = {f"{output}.w": layer.weight, f"{output}.b": layer.bias}
        return helper.make_node("Gemm", [source, *weights], [output], transB=1), weights
    names = {nn.ReLU: "Relu", nn.AdaptiveAvgPool2d: "GlobalAveragePool", nn.Flatten: "Flatten"}
    return helper.make_node(names[type(layer)], [source], [output]), {}


def export(net, name, metadata):
    """Return a trained net as an ONNX model, its scaling and its softmax inside."""
    nodes = [helper.make_node("Div", ["pixels", "sixteen"], ["scaled"])]
    weights, last = {"sixteen": torch.tensor(16.0)}, "scaled"
    for index, layer in enumerate(net):
        # Folded into the convolution before it.
        if not isinstance(layer, nn.BatchNorm2d):
            output = f"layer{index}"
            node, own = as_node(layer, net[min(index + 1, len(net) - 1)], last, output)
            nodes.append(node)
            weights |= own
            last = output
    nodes.append(helper.make_node("Softmax", [last], ["probabilities"], axis=1))
    pixels = helper.make_tensor_value_info("pixels", TensorProto.FLOAT, ["batch", 1, 8, 8])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["batch", 10])
    tensors = [numpy_helper.from_array(w.detach().numpy(), key) for key, w in weights.items()]
    graph = helper.make_graph(nodes, name, [pixels], [output], tensors)
    # IR version 8 is the one of opset 17, which old runtimes read too.
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    helper.set_model_props(model, {key: json.dumps(value) for key, value in metadata.items()})
    onnx.checker.check_model(model, full_check=True)
    return model


def run(model, images):
    """Return the probabilities that ONNX Runtime computes from an ONNX model."""
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), providers=["CPUExecutionProvider"]
    )
    return session.run(None, {"pixels": images})[0]


def make(name, seed, convolutions, pooled, images, y, rows):
    """Train, export and check one net; return its ONNX model and its line of the table."""
    torch.manual_seed(seed)
    net = build(convolutions, pooled)
    pixels, labels = torch.from_numpy(images) / 16, torch.from_numpy(y)
    seconds = train(net, pixels[rows["train"]], labels[rows["train"]])
    n_params = sum(weight.numel() for weight in net.parameters())
    metadata = {
        "classes": list(range(10)),
        "multiply_adds": count_multiply_adds(net),
        "train_seconds": round(seconds, 1),
        "seed": seed,
    }
    model = export(net, name, metadata)
    proba = run(model, images)
    with torch.no_grad():
        wanted = functional.softmax(net(pixels), dim=1).numpy()
    if np.abs(proba - wanted).max() > 1e-5:
        raise RuntimeError(f"{name}: the ONNX file differs from torch by more than 1e-5")
    right = proba.argmax(axis=1) == y
    valid, test = (f"{100 * right[rows[part]].mean():.2f}" for part in ("valid", "test"))
    shown = f"{metadata['multiply_adds']:,}"
    return model, f"| {name} | {n_params:,} | {shown} | {seconds:.1f} | {valid} | {test} |"


def main():
    """Write the split and the nets, and print the table."""
    parser = argparse.ArgumentParser(description="Train the digit nets again.")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent, help="folder to write")
    out = parser.parse_args().out
    # One thread, so that the sums are taken in the same order each time.
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
    digits = load_digits()
    images = digits.images[:, None].astype(np.float32)
    rows = split_rows(digits.target)
    out.mkdir(parents=True, exist_ok=True)
    np.savez(out / "split.npz", **{part: index.astype(np.int16) for part, index in rows.items()})
    print("| net | parameters | multiply-adds | train s | valid % | test % |")
    print("|---|---|---|---|---|---|")
    for name, seed, convolutions, pooled in NETS:
        model, line = make(name, seed, convolutions, pooled, images, digits.target, rows)
        onnx.save(model, out / f"{name}.onnx")
        print(line, flush=True)


if __name__ == "__main__":
    main()
