"""A report stands alone: checked by a parser that is not ours, and in a browser where there is one."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from browser import ABSENT, FOUND, Browser
from llmsim.cli import main
from llmsim.reports.page.html import VOID, element, in_script

EVIL = '<script>alert("x")</script> & "quoted" [bold]'
SMALL = f"""\
name = {json.dumps(EVIL)}
[workload]
requests = 40
arrivals = {{ process = "poisson", rate_per_s = 8.0 }}
lengths = {{ source = "fixed", prompt_tokens = 200, output_tokens = 20 }}
[cluster]
latency = "roofline"
[sweep]
"scheduler.max_num_batched_tokens" = [256, 512]
seeds = 2
"""


class Reader(HTMLParser):
    """Collects what a browser would see; fails where elements are not closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.scripts: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in ("wbr", "b", "code"):
            self.words.append(" ")
        if tag not in VOID | {"wbr"}:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not {"style", "script"} & set(self.open):
            self.words.append(data)
        elif self.open[-1] == "script":
            self.scripts.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def sources(self) -> list[str]:
        return [value or "" for _, given in self.tags for key, value in given.items() if key in ("src", "href", "data")]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run and a sweep, both reported."""
    base = tmp_path_factory.mktemp("pages")
    (base / "small.toml").write_text(SMALL)
    assert main(["run", str(base / "small.toml"), "--out", str(base / "run")]) == 0
    assert main(["sweep", str(base / "small.toml"), "--jobs", "1", "--out", str(base / "sweep")]) == 0
    for name in ("run", "sweep"):
        assert main(["report", str(base / name)]) == 0
    return base


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_a_page_needs_nothing_else_and_runs_only_its_own_script(folders: Path, name: str) -> None:
    text = (folders / name / "report.html").read_text()
    read = Reader(text)

    assert text.startswith("<!DOCTYPE html>")
    assert all(source.startswith("data:image/png;base64,") for source in read.sources())
    assert len(read.sources()) == {"run": 3, "sweep": 1}[name]
    assert not re.search(r"https?:|//[a-z]|url\(|@import", re.sub(r"data:image/png;base64,[^\"]*", "", text))
    assert not {"link", "iframe", "object", "form", "base"} & {tag for tag, _ in read.tags}
    policies = [given["content"] for _, given in read.tags if given.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(read.scripts[-1].encode()).digest()).decode()
    assert policies == [f"default-src 'none'; style-src 'unsafe-inline'; img-src data:; script-src 'sha256-{digest}'"]
    assert len(text) < 2_000_000
    assert EVIL in read.text  # as text
    assert any(given.get("name") == "viewport" for _, given in read.tags)


def test_the_page_of_a_run_says_what_its_files_say(folders: Path) -> None:
    score = json.loads((folders / "run/score.json").read_text())
    read = Reader((folders / "run/report.html").read_text())

    assert f"Too short to say: {score['verdict']['reason']}." in read.text
    assert "P99s are withheld" in read.text
    assert f"{100 * score['slo']['attainment']:.2f} % SLO attainment" in read.text
    assert "40: 40 finished" in read.text
    assert "Dropping each request when it first misses its SLO" in read.text
    assert "workload.arrivals.rate_per_s 8.0" in read.text


def test_the_command_of_a_page_gives_the_same_run(
    folders: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    read = Reader((folders / "run/report.html").read_text())
    monkeypatch.chdir(folders)
    asked = re.search(r"llmsim (run run/scenario.json --out run-again)", read.text)
    assert asked is not None

    assert main(asked[1].split()) == 0

    capsys.readouterr()
    for file in ("scenario.json", "requests.parquet", "segments.parquet", "step_ends.parquet"):
        assert (folders / "run-again" / file).read_bytes() == (folders / "run" / file).read_bytes()


def test_the_page_of_a_sweep_has_its_table_axes_and_command(folders: Path) -> None:
    read = Reader((folders / "sweep/report.html").read_text())

    assert "Runs: 4 too short." in read.text
    assert "A sweep over scheduler.max_num_batched_tokens, 2 points x 2 seeds: 4 runs." in read.text
    assert "*" not in read.text
    assert "scheduler.max_num_batched_tokens 256, 512" in read.text
    assert f"llmsim sweep {folders / 'small.toml'} --out {folders / 'sweep'}" in read.text
    assert len([tag for tag, _ in read.tags if tag == "tr"]) == 3 + 3, "what was found, and what another SLO would need"


def test_the_page_of_a_forced_sweep_marks_p99s_that_are_not_to_be_relied_on(folders: Path, tmp_path: Path) -> None:
    assert main(["sweep", str(folders / "small.toml"), "--jobs", "1", "--out", str(tmp_path / "x"), "--force"]) == 0
    assert main(["report", str(tmp_path / "x")]) == 0

    read = Reader((tmp_path / "x/report.html").read_text())
    assert "P99s marked * are not to be relied on." in read.text
    assert read.text.count("*") == 1 + 2 * 2, "the note, and two P99s of two points"


def test_a_page_has_the_same_bytes_every_time_and_only_readable_results_get_one(
    folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    again = tmp_path / "again.html"
    assert main(["report", str(folders / "run"), "--out", str(again)]) == 0
    assert again.read_bytes() == (folders / "run/report.html").read_bytes()
    capsys.readouterr()

    for place, words in ((tmp_path, "holds no result"), (tmp_path / "none", "no such folder")):
        assert main(["report", str(place)]) == 2
        assert words in capsys.readouterr().err
    shutil.copytree(folders / "run", tmp_path / "broken")
    (tmp_path / "broken/score.json").write_text("{")
    (tmp_path / "broken/report.html").unlink()
    assert main(["report", str(tmp_path / "broken")]) == 2
    assert "score.json: is not as llmsim wrote it" in capsys.readouterr().err
    assert not (tmp_path / "broken/report.html").exists()


def test_an_unfinished_sweep_says_so(folders: Path, tmp_path: Path) -> None:
    shutil.copytree(folders / "sweep", tmp_path / "half")
    for name in ("sweep.parquet", "curves.png"):
        (tmp_path / "half" / name).unlink()
    assert main(["report", str(tmp_path / "half")]) == 0

    assert "Unfinished: 0 of 4 runs are done." in Reader((tmp_path / "half/report.html").read_text()).text


def test_text_is_escaped_wherever_it_stands() -> None:
    assert element("p", "<b>", element("b", "&"), title='"') == '<p title="&quot;">&lt;b&gt;<b>&amp;</b></p>'


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    if FOUND is None:
        pytest.skip(ABSENT)
    with Browser(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.mark.parametrize("name", ["run", "sweep"])
def test_no_page_is_wider_than_a_phone(folders: Path, tmp_path: Path, name: str, browser: Browser) -> None:
    page = (folders / name / "report.html").read_text().replace("<details>", "<details open>")
    (tmp_path / "page.html").write_text(page)
    browser.open((tmp_path / "page.html").as_uri(), 390, 844)

    assert browser.run("document.documentElement.scrollWidth") <= browser.run("innerWidth") == 390
    assert (
        browser.run("[...document.images].filter(one => one.naturalWidth > 0).length") == {"run": 3, "sweep": 1}[name]
    )


def test_the_slider_of_a_page_goes_through_the_run(folders: Path, browser: Browser) -> None:
    """What the page says at a time is what the tables of the run say."""
    browser.open((folders / "run/report.html").as_uri())
    steps, requests = (pq.read_table(folders / f"run/{name}.parquet").to_pandas() for name in ("steps", "requests"))
    before = browser.run("document.getElementById('lines').toDataURL()")
    browser.run("const slider = document.getElementById('at'); slider.value = 200; slider.oninput(); 0")
    said = browser.run("document.getElementById('now').textContent")

    time_s = 200 / 799 * steps["end_s"].max()
    running = steps["running"][(steps["start_s"] <= time_s) & (time_s < steps["end_s"])].sum()
    there = ((requests["arrival_s"] <= time_s) & (requests["end_s"] > time_s)).sum()
    assert said.startswith(f"at {time_s:.2f} s: running {running} requests; waiting {there - running} requests;")
    assert browser.run("document.getElementById('lines').toDataURL()") != before


def test_a_click_on_its_head_sorts_a_table(folders: Path, browser: Browser) -> None:
    browser.open((folders / "sweep/report.html").as_uri())
    cells = "document.querySelector('table').querySelectorAll('tbody tr td:first-child')"
    first = f"[...{cells}].map(cell => cell.textContent.trim())"
    click = "document.querySelector('th').click(); 0"

    assert browser.run(first) == ["256", "512"]
    browser.run(click)
    assert browser.run(first) == ["512", "256"]
    browser.run(click)
    assert browser.run(first) == ["256", "512"]


def test_values_in_a_script_hold_no_tag() -> None:
    assert in_script({"a": "</script><b>&"}) == '{"a":"\\u003c/script\\u003e\\u003cb\\u003e\\u0026"}'
