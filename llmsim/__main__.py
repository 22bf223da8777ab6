"""`python -m llmsim` is `llmsim`."""

from __future__ import annotations

import sys

from llmsim.cli import main

sys.exit(main())
