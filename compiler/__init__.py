"""The compiler: spec and checkpoint → torch modules → graph → lowered graph → engine.plan."""
