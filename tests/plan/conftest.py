"""Fixtures of the tests of the plan format."""

from tests.runtime.fixtures import (  # noqa: F401
    answering,
    answering_path,
    decoder,
    decoder_path,
    encoder,
    encoder_path,
    plan,
    rewrite,
    tiny,
)
