"""`python -m archc` is `archc`."""

from __future__ import annotations

import sys

from archc.cli.app import main

if __name__ == "__main__":
    sys.exit(main())
