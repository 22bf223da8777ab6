"""Check the licences of all that `pip install llmsim` brings: each is named and permissive, or the exit code is 1.

Reads the metadata of what is installed, so it needs no network. Extras are for those who ask for them.
"""

from __future__ import annotations

import re
import sys
from importlib.metadata import Distribution, distribution

from packaging.requirements import Requirement

PERMISSIVE = re.compile(
    r"MIT|BSD|Apache|PSF|Python Software Foundation|HPND|Historical Permission|ISC|Zlib|Unlicense|MPL|CC0",
    re.IGNORECASE,
)
COPYLEFT = re.compile(r"(?<![A-Za-z])(A?GPL|LGPL|General Public)", re.IGNORECASE)
#: parts that are linked in, under GPL with an exception for just that: the runtime libraries of GCC
EXCEPTION = re.compile(r"GPL-3\.0-or-later WITH GCC-exception-3\.1", re.IGNORECASE)


def installed(name: str, found: dict[str, Distribution]) -> dict[str, Distribution]:
    """Gather a distribution and all that it needs, by name."""
    key = re.sub(r"[-_.]+", "-", name).lower()
    if key not in found:
        found[key] = distribution(name)
        for text in found[key].requires or ():
            needed = Requirement(text)
            if needed.marker is None or needed.marker.evaluate({"extra": ""}):
                installed(needed.name, found)
    return found


def licence_of(one: Distribution) -> str:
    """Say what its metadata says, in a line: an expression, classifiers, or the first line of a text."""
    said = one.metadata
    classifiers = [
        words.rpartition(" :: ")[2] for words in said.get_all("Classifier", []) if words.startswith("License")
    ]
    words = said.get("License-Expression") or ", ".join(classifiers) or said.get("License") or ""
    return (words.strip().splitlines() or [""])[0]


def main() -> int:
    """Print a line for each, and say which are wrong."""
    wrong = []
    for name, one in sorted(installed("llmsim", {}).items()):
        licence = licence_of(one)
        fine = bool(PERMISSIVE.search(licence)) and not COPYLEFT.search(EXCEPTION.sub("", licence))
        print(f"{name:20} {one.version:14} {licence}{'' if fine else '  <- not known to be permissive'}")
        wrong += [] if fine else [name]
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
