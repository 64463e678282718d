"""Options and errors of the ONNX Runtime sessions of a plan."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal

from archc.plan.reader import Plan
from archc.runtime.backends.ort.package import first_line
from archc.runtime.backends.prepack import Prepack
from archc.runtime.errors import EngineError, PlanError


def session_options(ort: Any, plan: Plan, threads: int, prepacked: bool) -> Any:
    """Return the options of a session that maps the weights of a plan."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 4  # errors are exceptions, and nothing else is printed
    options.enable_mem_pattern = False  # a pattern is kept for each shape, and every step has another one
    folder = str(plan.weights[0].parent)
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", folder)
    options.add_session_config_entry("session.disable_prepacking", "0" if prepacked else "1")
    # Parallel packing keeps the file's pages until everything is packed, which doubles the peak memory.
    in_parallel = plan.manifest.quantization is not None
    options.add_session_config_entry("session.prepack.enable_parallel", "1" if in_parallel else "0")
    return options


@contextmanager
def loading(plan: Plan, graph: str, source: Literal["plan", "folder"]) -> Iterator[None]:
    """Create a session of a graph inside: its errors, and a file that changes meanwhile, raise PlanError."""
    try:
        yield
    except EngineError:
        raise
    except Exception as error:  # ONNX Runtime's exceptions have no common base class
        raise PlanError(
            f"{plan.path}: ONNX Runtime cannot load {graph}: {first_line(error)}; build the {source} again"
        ) from None
    plan.check_unchanged()


def is_packed(plan: Plan, prepack: Prepack, device: str) -> bool:
    """Return whether weights are packed; raise EngineError if quantized ones must be and may not."""
    quantization = plan.manifest.quantization
    if prepack is Prepack.AUTO:
        return quantization is not None or device != "cpu"
    if prepack is Prepack.NEVER and quantization is not None:
        raise EngineError(
            f"prepack: 'never' is not supported for {quantization} weights, whose kernels are many times slower "
            "without packing; use 'auto', or build without --quantize"
        )
    return prepack is Prepack.ALWAYS
