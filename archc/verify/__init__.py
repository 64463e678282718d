"""`archc verify`: comparing a plan with transformers, or with archc's own torch graph, within a tolerance."""
