"""Tests of README.md, CONTRIBUTING.md and docs/: what a page shows is what a user gets."""
