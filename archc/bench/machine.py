"""Limits of the machine, measured at each start: bytes read from memory, and operations of matrix products, a second.

A product is measured through ONNX Runtime, in the forms that plans use: a plan whose products have another type than
the measured one may pass a "limit". The best of several shapes and repetitions counts, since a limit is an upper bound.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from archc.bench.onnx_bytes import one_node_model
from archc.plan.manifest import Manifest
from archc.runtime.backends.ort.package import import_onnxruntime

_LARGEST = 1 << 28  # bytes a thread: more than most caches
_SMALLEST = 1 << 16
_PASSES = 5
_PASS_BYTES = 1 << 28  # a pass over a small buffer repeats it, so that starting the threads does not count
_SHAPES = ((256, 1024, 1024), (512, 1024, 4096), (512, 4096, 1024), (1024, 2048, 2048))  # rows, K, N
_BLOCK = 128
_SECONDS = 0.25  # spent on each shape

Build = Callable[[int, int, int], tuple[bytes, NDArray[Any]]]


@dataclass(frozen=True)
class Product:
    """The fastest product of a type: its name, and operations per second."""

    form: str
    rate: float


def memory_bandwidth(threads: int, size: int | None = None) -> float:
    """Return the bytes per second that `threads` threads read together; the best of five passes.

    `size` is the number of bytes that are read again and again: if they fit into a cache, the limit is that cache's.
    """
    each = min(max((size or _LARGEST * threads) // threads, _SMALLEST), _LARGEST)
    parts = [np.ones(each // 4, np.float32) for _ in range(threads)]
    repetitions = max(1, _PASS_BYTES // each)

    def read(part: NDArray[np.float32]) -> None:
        for _ in range(repetitions):
            np.maximum.reduce(part)  # a sum takes longer than the memory does

    best = 0.0
    with ThreadPoolExecutor(threads) as pool:
        for _ in range(_PASSES):
            begin = time.perf_counter()
            list(pool.map(read, parts))
            best = max(best, threads * each * repetitions / (time.perf_counter() - begin))
    return best


def best_product(manifest: Manifest, threads: int) -> Product:
    """Return the fastest product of the types that the plan's products may have, on the CPU."""
    return max((_measure(form, threads) for form in product_forms(manifest)), key=lambda product: product.rate)


def product_forms(manifest: Manifest) -> Sequence[str]:
    """Return the forms of products in a plan for the CPU: keys of `FORMS`.

    Quantized plans multiply 8-bit integers wherever that is faster, whatever their weights are stored as.
    """
    if manifest.quantization is None:
        return ("float32",) if manifest.dtype == "float32" else ("float32", "float16")
    return tuple(form for form in FORMS if form not in ("float32", "float16"))


def _measure(form: str, threads: int, shapes: Sequence[tuple[int, int, int]] = _SHAPES) -> Product:
    ort = import_onnxruntime("cpu")
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    best = 0.0
    for rows, k, n in shapes:
        model, x = FORMS[form](rows, k, n)
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        feeds = {"x": ort.OrtValue.ortvalue_from_numpy(x)}
        session.run_with_ort_values(None, feeds)
        end = time.perf_counter() + _SECONDS
        while (begin := time.perf_counter()) < end:
            session.run_with_ort_values(None, feeds)
            best = max(best, 2 * rows * k * n / (time.perf_counter() - begin))
    return Product(form, best)


def _floating(dtype: str) -> Build:
    def build(rows: int, k: int, n: int) -> tuple[bytes, NDArray[Any]]:
        w = _random(k, n).astype(dtype)
        model = one_node_model("MatMul", "", (dtype, (rows, k)), {"w": w}, ("x", "w"), (rows, n), {}, dtype)
        return model, _random(rows, k).astype(dtype)

    return build


def _integers(dtype: str) -> Build:
    def build(rows: int, k: int, n: int) -> tuple[bytes, NDArray[Any]]:
        tensors: dict[str, NDArray[Any]] = {
            "w": _random_bytes(k, n).view(dtype),
            "x_scale": np.array(0.01, np.float32),
            "w_scale": np.full(n, 0.01, np.float32),
            "x_zero": np.array(128, np.uint8),
        }
        inputs = ["x", "w", "x_scale", "w_scale", "x_zero"]
        if dtype == "uint8":
            tensors["w_zero"] = np.full(n, 128, np.uint8)
            inputs.append("w_zero")
        x = _random_bytes(rows, k)
        return (
            one_node_model("MatMulIntegerToFloat", "com.microsoft", ("uint8", x.shape), tensors, inputs, (rows, n), {}),
            x,
        )

    return build


def _blocks(bits: int) -> Build:
    def build(rows: int, k: int, n: int) -> tuple[bytes, NDArray[Any]]:
        blocks = k // _BLOCK
        integers = _random_bytes(n, blocks, _BLOCK * bits // 8)
        tensors: dict[str, NDArray[Any]] = {"w": integers, "w_scale": np.full((n, blocks), 0.01, np.float32)}
        attributes = {"K": k, "N": n, "bits": bits, "block_size": _BLOCK, "accuracy_level": 4}
        model = one_node_model(
            "MatMulNBits",
            "com.microsoft",
            ("float32", (rows, k)),
            tensors,
            ("x", "w", "w_scale"),
            (rows, n),
            attributes,
        )
        return model, _random(rows, k)

    return build


def _random_bytes(*shape: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, shape, np.uint8)


def _random(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


FORMS: dict[str, Build] = {
    "float32": _floating("float32"),
    "float16": _floating("float16"),
    "uint8 × int8": _integers("int8"),
    "uint8 × uint8": _integers("uint8"),
    "blocks of 4 bits": _blocks(4),
    "blocks of 8 bits": _blocks(8),
}
"""ONNX models of a product, and their input, by the form of the weights."""
