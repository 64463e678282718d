"""References that are classes of transformers, under the name that reference files import."""

from archc.proof.from_transformers import FromTransformers, make

__all__ = ["FromTransformers", "make"]
