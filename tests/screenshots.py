"""Screenshots of llmsim's pages, as wide as a desktop's and a phone's: python tests/screenshots.py DIR."""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path

import llmsim
from browser import ABSENT, FOUND, Browser
from llmsim.cli.explore import explorer_of

SIZES = {"desktop": (1200, 900), "phone": (390, 844)}
#: an expression that waits until a page of `llmsim explore` shows what was asked `{0}` times
SHOWN = """new Promise((done) => {{
  const page = document.body.dataset;
  const look = () => page.shown === "{0}" ? done(Number(page.redrawnMs)) : setTimeout(look, 5);
  look();
}})"""


def take(folder: Path) -> list[Path]:
    """Write screenshots of reports, and of `llmsim explore`, into a folder; return the files."""
    folder.mkdir(parents=True, exist_ok=True)
    explorer = explorer_of("quickstart", [])
    threading.Thread(target=explorer.serve_forever, daemon=True).start()
    files = []
    with tempfile.TemporaryDirectory() as scratch, Browser(Path(scratch) / "profile") as browser:
        result = llmsim.run("quickstart").save(Path(scratch) / "run")
        llmsim.sweep("quickstart", axes=["cluster.instances=1,2"], seeds=2, out=Path(scratch) / "sweep")
        llmsim.compare("quickstart", schedulers=["chunked_prefill", "fcfs"], out=Path(scratch) / "compare")
        pages = {
            "report": llmsim.report(result).save(Path(scratch) / "report.html"),
            "sweep": llmsim.report(Path(scratch) / "sweep").save(Path(scratch) / "sweep.html"),
            "compare": llmsim.report(Path(scratch) / "compare").save(Path(scratch) / "compare.html"),
        }
        for size, (width, height) in SIZES.items():
            for name, page in pages.items():
                browser.open(page.as_uri(), width, height)
                files.append(folder / f"{name}-{size}.png")
                browser.screenshot(files[-1])
            browser.open(explorer.address, width, height)
            browser.run(SHOWN.format(1))
            files.append(folder / f"explore-{size}.png")
            browser.screenshot(files[-1])
    explorer.shutdown()
    return files


if __name__ == "__main__":
    if FOUND is None:
        sys.exit(ABSENT)
    print(*take(Path(sys.argv[1])), sep="\n")
