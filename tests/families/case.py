"""Cases of a family, under the name that reference files import."""

from archc.proof.case import Case, Ids, Outputs, Reference

__all__ = ["Case", "Ids", "Outputs", "Reference"]
