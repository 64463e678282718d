"""The report of `archc inspect`: modules, tensors, memory and FLOPs of a spec or a plan, as text or JSON."""
