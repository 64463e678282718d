"""The checked spec: sections, variants and overrides assembled and checked, with sizes still as names."""
