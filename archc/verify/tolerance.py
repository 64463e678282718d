"""The tolerance of a comparison, from how the plan computes."""

from __future__ import annotations

from dataclasses import dataclass

from archc.plan import Manifest

ABSOLUTE = 1e-4  # float32
RELATIVE = 0.02  # float16 and bfloat16, of the largest reference value
# Quantized plans, where the reference has the plan's own dequantized weights, or none are quantized: what remains is
# that int8 products round activations, and int8 caches keys and values. Of the families of specs/, none differs by more
# than 5% and 4%. Of the largest reference value; root mean square of the reference.
_ROUNDED = (0.15, 0.06)
# Quantized plans against the checkpoint's own weights: the rounding of weights is part of the difference. int4 of
# random weights, which is the worst case, differs by 22% and 24%.
_QUANTIZED = {"int8": (0.25, 0.1), "fp8": (0.4, 0.2), "int4": (0.5, 0.4)}


@dataclass(frozen=True)
class Tolerance:
    """Limits of a difference; `reason` says which and why."""

    reason: str
    absolute: float | None = None
    relative: float = 0.0  # of the largest reference value
    rms: float | None = None

    def allowed(self, largest: float) -> float:
        """Return the largest allowed difference for outputs whose largest reference value is `largest`."""
        return self.absolute if self.absolute is not None else self.relative * largest


EXACT = Tolerance(f"{ABSOLUTE:g}", ABSOLUTE)


def choose_tolerance(manifest: Manifest, requested: float | None, dequantized: bool) -> Tolerance:
    """Return the tolerance of a plan; `dequantized` says whether the reference has the plan's own weights."""
    if requested is not None:
        return Tolerance(f"{requested:g}, as requested", requested)
    forms = [f"an {dtype} KV cache" for dtype in sorted({item.dtype for item in manifest.state} & {"int8", "uint8"})]
    relative, rms = _ROUNDED
    if manifest.quantization is not None:
        forms.insert(0, f"{'dequantized ' if dequantized else ''}{manifest.quantization} weights")
        if not dequantized:
            relative, rms = _QUANTIZED.get(manifest.quantization, _QUANTIZED["int4"])
    if forms:
        limits = f"{relative:.0%} of the largest reference value, {rms:.0%} root mean square"
        return Tolerance(f"{limits} ({' and '.join(forms)})", relative=relative, rms=rms)
    if manifest.dtype == "float32":
        return Tolerance(f"{ABSOLUTE:g} (float32)", ABSOLUTE)
    return Tolerance(f"{RELATIVE:.0%} of the largest reference value ({manifest.dtype})", relative=RELATIVE)
