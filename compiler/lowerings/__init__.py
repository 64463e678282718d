"""Lowerings: one function per operator and form, which replaces a node by operators that a target's runtime has.

A target's file in `compiler.targets` chooses one lowering for each operator; `driver.Lower` applies them.
"""
