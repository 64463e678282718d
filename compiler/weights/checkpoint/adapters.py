"""LoRA adapters: low-rank updates that are merged into a checkpoint's tensors while these are read (Hu et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from archc.compiler.errors import BuildError
from archc.compiler.weights.checkpoint.adapter_config import CONFIG, AdapterConfig, read_adapter_config
from archc.compiler.weights.checkpoint.adapter_file import AdapterFile
from archc.compiler.weights.checkpoint.hub import fetch_adapter, is_hub_id
from archc.compiler.weights.checkpoint.weights import Place, Weights

_PREFIX = "base_model.model."
_WRAPPER = ".base_layer"  # PEFT's name for the original module inside a LoRA layer
# The matrices of an update by the end of their names: those of linear layers, and of embeddings.
_ROLES = {
    "lora_A.weight": "A",
    "lora_B.weight": "B",
    "lora_B.bias": "bias",
    "lora_embedding_A": "embedding A",
    "lora_embedding_B": "embedding B",
}


@dataclass(frozen=True)
class AdapterOption:
    """An adapter folder and the factor on its update."""

    folder: Path
    weight: float = 1.0

    @classmethod
    def parse(cls, text: str | Path) -> AdapterOption:
        """Return the adapter of `DIR` or `DIR=WEIGHT`, where DIR may be a hub id; see `fetch_adapter`.

        Raises BuildError if there is no such folder or repository.
        """
        folder, separator, weight = str(text).rpartition("=")
        if Path(text).is_dir() or not separator:
            folder, weight = str(text), "1"
        if not Path(folder).is_dir() and not is_hub_id(folder):
            raise BuildError(f"--adapter {text}: no such folder; give the folder of a LoRA adapter, or DIR=WEIGHT")
        try:
            factor = float(weight)
        except ValueError:
            factor = math.nan
        if not math.isfinite(factor):
            raise BuildError(f"--adapter {text}: {weight!r} is not a number; give DIR=WEIGHT, for example {folder}=0.5")
        return cls(fetch_adapter(folder) if is_hub_id(folder) else Path(folder), factor)


class _Update:
    """One low-rank update of a matrix: scale · B·A, in the layout of the stored matrix."""

    def __init__(self, file: AdapterFile, names: Mapping[str, str], scale: float, transposed: bool) -> None:
        self.file, self.names, self.scale, self.transposed = file, names, scale, transposed

    def rows(self, start: int, stop: int) -> Tensor:
        """Return rows of the update in float32."""
        left, right = (self.file.read(self.names[role]).float() for role in ("B", "A"))  # [out, r], [r, in]
        if self.transposed:
            left, right = right.T, left.T
        product: Tensor = left[start:stop] @ right
        return product * self.scale


class _Shift:
    """An update of a bias: scale · the bias of B."""

    def __init__(self, file: AdapterFile, name: str, scale: float) -> None:
        self.file, self.name, self.scale = file, name, scale

    def rows(self, start: int, stop: int) -> Tensor:
        """Return a range of the update in float32."""
        return self.file.read(self.name).float()[start:stop] * self.scale


class Adapter:
    """The updates and whole tensors of one adapter folder, by the base model's tensor names as PEFT writes them."""

    def __init__(self, option: AdapterOption) -> None:
        self.folder, self.weight = option.folder, option.weight
        self.config: AdapterConfig = read_adapter_config(option.folder)
        self.file = AdapterFile(option.folder)
        self.matrices: dict[str, dict[str, str]] = {}
        self.whole: dict[str, str] = {}
        #: Whole tensors that are copies of the base model's, which PEFT saves with an update of an embedding.
        self.bases: set[str] = set()
        for name in self.file.names():
            self._sort(name)
        for module, names in self.matrices.items():
            self._check_pair(module, names)

    def _sort(self, name: str) -> None:
        """Add one tensor to the updates or to the whole tensors. Raises BuildError for a name of another method."""
        plain = name.removeprefix(_PREFIX)
        for end, role in _ROLES.items():
            if plain.endswith(f".{end}"):
                module = plain[: -len(end) - 1].replace(_WRAPPER, "")
                kind = "embedding" if role.startswith("embedding") else "linear"
                self.matrices.setdefault(module, {})[role.removeprefix("embedding ")] = name
                self.matrices[module][kind] = name
                return
        if "lora_" in plain or "token_adapter" in plain:
            method = "DoRA" if "magnitude" in plain else "this kind of update"
            raise BuildError(
                f"{self.folder}: tensor '{name:.120}': {method} is not supported; "
                "merge the adapter with PEFT and build the result"
            )
        if _WRAPPER in plain:
            self.bases.add(plain.replace(_WRAPPER, ""))
        plain = plain.replace(_WRAPPER, "").replace(".modules_to_save.default", "").replace(".modules_to_save", "")
        self.whole[plain] = name

    def _check_pair(self, module: str, names: Mapping[str, str]) -> None:
        if "A" not in names or "B" not in names or {"linear", "embedding"} <= names.keys():
            missing = "lora_A" if "A" not in names else "lora_B"
            raise BuildError(
                f"{self.folder}: {module:.120}: {missing} not found; save the adapter again, or download all of it"
            )
        first, second = self.file.shape(names["A"]), self.file.shape(names["B"])
        rank = self.config.rank_of(module)
        if len(first) != 2 or len(second) != 2:
            raise BuildError(
                f"{self.folder}: {module:.120}: LoRA matrices of shapes {list(first)} and {list(second)} are not "
                "supported, only those of linear layers and embeddings; merge the adapter with PEFT"
            )
        if first[0] != rank or second[1] != rank:
            raise BuildError(
                f"{self.folder}: {module:.120}: expected matrices of rank {rank} by {CONFIG}, got shapes "
                f"{list(first)} and {list(second)}; use the {CONFIG} of this adapter"
            )


class AdaptedWeights:
    """A checkpoint with adapters merged: W + Σ weight · scale · B·A for each target, computed by rows in float32.

    Raises BuildError if a target is not in the checkpoint or has another shape, and if two adapters save one tensor.
    """

    def __init__(self, base: Weights, adapters: Sequence[Adapter]) -> None:
        self.base = base
        self._updates: dict[str, list[_Update | _Shift]] = {}
        self._whole: dict[str, tuple[Adapter, str]] = {}
        for adapter in adapters:
            self._add_whole(adapter)
            self._add_updates(adapter)

    def names(self) -> Collection[str]:
        """Return the names of all tensors: the checkpoint's, and those that only an adapter has."""
        return dict.fromkeys((*self.base.names(), *self._whole)).keys()

    def shape(self, name: str) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        if name in self._whole:
            adapter, saved = self._whole[name]
            return adapter.file.shape(saved)
        return self.base.shape(name)

    def dtype(self, name: str) -> str:
        """Return the dtype of a tensor by its name in safetensors: float32 if an adapter has it or updates it."""
        return "F32" if name in self._whole or name in self._updates else self.base.dtype(name)

    def bytes(self, name: str) -> int:
        """Return the size of a tensor in bytes, as it is read."""
        if name in self._whole or name in self._updates:
            return 4 * math.prod(self.shape(name))
        return self.base.bytes(name)

    def check_numbers(self, names: Iterable[str]) -> None:
        """Raise BuildError if one of these tensors has a dtype that no weight may have."""
        self.base.check_numbers(name for name in names if name not in self._whole)

    def read(self, name: str, place: Place = ()) -> Tensor:
        """Return a tensor, or its part at a place along its first axes: in float32 if an adapter has or updates it."""
        if name in self._whole:
            adapter, saved = self._whole[name]
            value = adapter.file.read(saved)[place].float()
        else:
            value = self.base.read(name, place)
        updates = self._updates.get(name, ())
        if not updates:
            return value
        first: int | slice = place[0] if place else slice(0, self.shape(name)[0])
        start, stop = (first.start, first.stop) if isinstance(first, slice) else (first, first + 1)
        rest = (slice(None) if isinstance(first, slice) else 0, *place[1:])
        merged = value.float()
        for update in updates:
            merged = merged + update.rows(start, stop)[rest]
        return merged

    def _add_whole(self, adapter: Adapter) -> None:
        for plain, saved in adapter.whole.items():
            name = _find(plain, self.base.names()) or plain
            is_base = plain in adapter.bases
            if name in self._whole:
                other, copy = self._whole[name]
                if is_base and torch.equal(adapter.file.read(saved), other.file.read(copy)):
                    continue
                raise BuildError(
                    f"{adapter.folder}: '{name}' is saved whole here and in {other.folder}; use one of them"
                )
            if adapter.weight != 1 and not is_base:
                raise BuildError(
                    f"{adapter.folder}: '{name}' is saved whole, so a weight of {adapter.weight:g} is not supported; "
                    "remove the weight"
                )
            shape = adapter.file.shape(saved)
            if name in self.base.names() and not _is_resized(self.base.shape(name), shape):
                raise BuildError(
                    f"{adapter.folder}: '{name}': expected shape {list(self.base.shape(name))} as in the checkpoint, "
                    f"got {list(shape)}; use the adapter with its own base model"
                )
            self._whole[name] = adapter, saved

    def _add_updates(self, adapter: Adapter) -> None:
        targets = {module: self._target(adapter, f"{module}.weight") for module in adapter.matrices}
        transposed = adapter.config.transposed or any(
            self._orientations(adapter, module, name) == [True]
            for module, name in targets.items()
            if "embedding" not in adapter.matrices[module]
        )
        for module, name in targets.items():
            names = adapter.matrices[module]
            possible = self._orientations(adapter, module, name)
            if not possible:
                shapes = " and ".join(str(list(adapter.file.shape(names[role]))) for role in ("B", "A"))
                raise BuildError(
                    f"{adapter.folder}: '{name}' {list(self.shape(name))} of the checkpoint does not fit LoRA "
                    f"matrices of shapes {shapes}; use the adapter with its own base model"
                )
            # Of a square matrix the shape has no orientation: the adapter's other targets, or its settings, have.
            choice = possible[0] if len(possible) == 1 else transposed or "embedding" in names
            scale = adapter.weight * adapter.config.scale_of(module)
            if name in self._whole and self._whole[name][0] is not adapter and not self._is_copy(name):
                raise BuildError(
                    f"{adapter.folder}: updates '{name}', which {self._whole[name][0].folder} saves whole; "
                    "use one of them"
                )
            self._updates.setdefault(name, []).append(_Update(adapter.file, names, scale, choice))
            if "bias" in names:
                bias = self._target(adapter, f"{module}.bias")
                if self.base.shape(bias) != adapter.file.shape(names["bias"]):
                    raise BuildError(
                        f"{adapter.folder}: '{bias}' has another shape in the checkpoint; use its own base"
                    )
                self._updates.setdefault(bias, []).append(_Shift(adapter.file, names["bias"], scale))

    def _is_copy(self, name: str) -> bool:
        """Return whether a whole tensor of an adapter is a copy of the base model's."""
        adapter, saved = self._whole[name]
        return any(adapter.whole[plain] == saved for plain in adapter.bases)

    def _orientations(self, adapter: Adapter, module: str, name: str) -> list[bool]:
        """Return which layouts of the update fit a stored matrix: [out, in] (False), [in, out] (True)."""
        names = adapter.matrices[module]
        outputs, inputs = adapter.file.shape(names["B"])[0], adapter.file.shape(names["A"])[1]
        layouts = {False: (outputs, inputs), True: (inputs, outputs)}
        if "embedding" in names:
            del layouts[False]
        return [transposed for transposed, shape in layouts.items() if self.shape(name) == shape]

    def _target(self, adapter: Adapter, plain: str) -> str:
        name = _find(plain, self.names())
        if name is None:
            raise BuildError(
                f"{adapter.folder}: the checkpoint has no tensor '{plain:.120}', which the adapter updates; "
                "use the adapter with its own base model"
            )
        return name


def _find(plain: str, names: Collection[str]) -> str | None:
    """Return the tensor of a name: the same name, or the only one that differs by a prefix such as `model.`."""
    if plain in names:
        return plain
    fitting = [name for name in names if name.endswith(f".{plain}") or plain.endswith(f".{name}")]
    return fitting[0] if len(fitting) == 1 else None


def _is_resized(base: tuple[int, ...], saved: tuple[int, ...]) -> bool:
    """Return whether a saved tensor has the checkpoint's shape, perhaps with another number of rows (tokens)."""
    return len(base) == len(saved) and base[1:] == saved[1:]


def open_adapters(base: Weights, adapters: Sequence[AdapterOption]) -> Weights:
    """Return a checkpoint's tensors with adapters merged; without adapters, the checkpoint itself."""
    return AdaptedWeights(base, [Adapter(option) for option in adapters]) if adapters else base


def check_adapters(folder: Path | None, adapters: Sequence[AdapterOption], warn: Callable[[str], None]) -> None:
    """Warn of an adapter next to the checkpoint that is not merged; `folder` is None for random weights.

    Raises BuildError for adapters of random weights, and for an adapter folder in place of its base model.
    """
    if folder is None:
        if adapters:
            raise BuildError("--adapter has no effect on random weights; name a checkpoint with --weights")
        return
    if not (folder / CONFIG).is_file():
        return
    if not (folder / "config.json").is_file() and not [*folder.glob("model*.safetensors")]:
        raise BuildError(
            f"{folder / 'adapter_config.json'}: a LoRA adapter without its base model; build the checkpoint of the "
            f"base model with --adapter {folder}"
        )
    if not any(adapter.folder.resolve() == folder.resolve() for adapter in adapters):
        warn(f"{folder}: its LoRA adapter ({CONFIG}) is not merged; merge it with --adapter {folder}")


def describe_adapters(adapters: Sequence[AdapterOption]) -> dict[str, str]:
    """Return the manifest's entry for merged adapters, folder names with their weights; empty without adapters."""
    names = [f"{item.folder.resolve().name}={item.weight:g}" for item in adapters]
    return {"adapters": ", ".join(names)} if names else {}
