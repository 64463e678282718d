"""What can go wrong, by whose mistake it is.  Every message says what was found, where, and what to do."""


class EngineError(Exception):
    """Any failure of the runtime; catch this one to catch them all."""


class PlanError(EngineError):
    """The plan file is damaged, hostile, too new, or cannot be written."""


class PromptError(EngineError):
    """The caller's ids, text, messages or options cannot be used with this plan."""


class BackendError(EngineError):
    """The package, execution provider or device that the plan's target needs is missing or wrong."""
