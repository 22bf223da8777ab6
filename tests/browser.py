"""Chromium without a window, driven over a pipe by the DevTools protocol: for tests of pages, and for screenshots."""

from __future__ import annotations

import base64
import json
import os
import shutil
import subprocess
from pathlib import Path
from types import TracebackType
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FOUND = next((path for name in BROWSERS if (path := shutil.which(name))), None)
#: why tests skip
ABSENT = "no Chromium on this machine (Debian's package is chromium)"


class Browser:
    """One page in one browser. What its script returns comes as a value, what it throws as an AssertionError."""

    def __init__(self, profile: Path, width: int = 1200, height: int = 900) -> None:
        assert FOUND is not None
        take, self._to = os.pipe()
        self._from, give = os.pipe()
        os.dup2(take, 103), os.dup2(give, 104)
        options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--remote-debugging-pipe", "--no-first-run"]
        options += [f"--user-data-dir={profile}", f"--window-size={width},{height}", "about:blank"]
        # the browser reads commands from descriptor 3, and writes answers to 4
        shell = 'exec 3<&103 4>&104 103<&- 104>&-; exec "$@"'
        self._process = subprocess.Popen(
            ["bash", "-c", shell, "browser", FOUND, *options], pass_fds=(103, 104), stderr=subprocess.DEVNULL
        )
        for one in (take, give, 103, 104):
            os.close(one)
        self._rest, self._number = b"", 0
        targets = self._call("Target.getTargets")["targetInfos"]
        page = next(target["targetId"] for target in targets if target["type"] == "page")
        self._session = self._call("Target.attachToTarget", targetId=page, flatten=True)["sessionId"]
        self._call("Page.enable")

    def __enter__(self) -> Browser:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        os.close(self._to)
        os.close(self._from)

    def open(self, address: str, width: int = 1200, height: int = 900) -> None:
        """Show a page in a window of this size, and wait until all of it is there."""
        self._call(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500
        )
        self._call("Page.navigate", url=address)
        self._wait("Page.loadEventFired")

    def run(self, script: str) -> Any:
        """Return the value of an expression; of a promise, what it holds in the end."""
        found = self._call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def screenshot(self, file: Path) -> None:
        """Write the whole page as PNG."""
        taken = self._call("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(taken["data"]))

    def _call(self, method: str, **params: Any) -> Any:
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if hasattr(self, "_session") and not method.startswith("Target."):
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def _wait(self, event: str) -> None:
        while self._read().get("method") != event:
            pass

    def _read(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            more = os.read(self._from, 1 << 20)
            assert more, "the browser has ended"
            self._rest += more
        line, _, self._rest = self._rest.partition(b"\0")
        answer: dict[str, Any] = json.loads(line)
        return answer
