"""Execute the notebooks from clean kernels and keep what they print and draw.

    python notebooks/execute.py [--check] [FILE...]

The same notebook, code and libraries give the same bytes: no time stamps, no names of machines or versions. With
--check nothing is written, and a notebook that fails, warns, or keeps another text than it gives today is an error.
"""

from __future__ import annotations

import argparse
import difflib
import os
import sys
import tempfile
from base64 import b64decode, b64encode
from io import BytesIO
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from PIL import Image

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}
TIMEOUT_S = 600


def executed(file: Path) -> Any:
    """Run a notebook in an empty folder of its own, with llmsim as it lies beside it; return it with its outputs."""
    notebook = nbformat.read(file, as_version=4)
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    with tempfile.TemporaryDirectory() as folder:
        env = {**os.environ, "PYTHONPATH": path, "IPYTHONDIR": f"{folder}/.ipython"}
        client = NotebookClient(
            notebook, timeout=TIMEOUT_S, kernel_name="python3", record_timing=False, coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )  # fmt: skip
        client.execute(env=env)
    return notebook


def tidied(notebook: Any) -> Any:
    """Take away what differs between two equal executions."""
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            if "metadata" in output:
                output.metadata = {}
            if "image/png" in output.get("data", {}):
                output.data["image/png"] = smaller(output.data["image/png"])
    return notebook


def smaller(picture: str) -> str:
    """Encode a PNG, base64, with 256 colours: a third of the size, and charts lose nothing that an eye sees."""
    scratch = BytesIO()
    Image.open(BytesIO(b64decode(picture))).convert("RGB").quantize(256).save(scratch, "png", optimize=True)
    return b64encode(scratch.getvalue()).decode()


def text_of(notebook: Any) -> list[str]:
    """Every line that a reader sees below the code; of pictures, that there is one."""
    lines = []
    for number, cell in enumerate(notebook.cells):
        for output in cell.get("outputs", ()):
            data = output.get("data", {})
            text = output.get("text") or data.get("text/markdown") or data.get("text/plain") or ""
            if "image/png" in data:
                text = "a picture"
            lines += [f"cell {number}: {line}" for line in text.splitlines()]
    return lines


def warnings_in(notebook: Any) -> list[str]:
    """What went to stderr."""
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    return [output.text for output in outputs if output.get("name") == "stderr"]


def complaints(file: Path, notebook: Any) -> list[str]:
    """Say what is wrong with the kept notebook, given the one just executed."""
    if warnings := warnings_in(notebook):
        return ["wrote to stderr:", *warnings]
    kept = text_of(nbformat.read(file, as_version=4))
    return list(difflib.unified_diff(kept, text_of(notebook), "kept", "today", lineterm=""))


def main() -> int:
    """Execute; return 1 if anything is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; complain where the kept text has changed")
    parser.add_argument("files", nargs="*", type=Path, help="notebooks [all]")
    arguments = parser.parse_args()
    wrong = 0
    for file in arguments.files or sorted(FOLDER.glob("*.ipynb")):
        try:
            notebook = tidied(executed(file))
        except CellExecutionError as error:
            print(f"{file}: {error}", file=sys.stderr)
            wrong += 1
            continue
        if not arguments.check:
            nbformat.write(notebook, file)
        said = complaints(file, notebook)
        wrong += bool(said)
        print(f"{file}: {'ok' if not said else 'python notebooks/execute.py makes it anew'}", *said, sep="\n")
    return min(wrong, 1)


if __name__ == "__main__":
    sys.exit(main())
