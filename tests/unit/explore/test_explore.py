"""The page that simulates anew: its answers are those of `llmsim run`, and nothing but its own page gets them."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shlex
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from browser import ABSENT, FOUND, Browser
from llmsim.cli.explore import explorer_of
from llmsim.explore import Explorer
from llmsim.scenario import load_scenario
from screenshots import SHOWN

SMALL = ["workload.requests=200"]
RATE = "workload.arrivals.rate_per_s"


@pytest.fixture
def explorer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Explorer]:
    monkeypatch.chdir(tmp_path)
    opened = explorer_of("quickstart", SMALL)
    threading.Thread(target=opened.serve_forever, args=(0.02,), daemon=True).start()
    yield opened
    opened.shutdown()
    opened.server_close()


def post(explorer, path, body, token=None, host=None):
    port = explorer.server_address[1]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"X-Llmsim-Token": explorer.token if token is None else token, "Host": host or f"127.0.0.1:{port}"}
    connection.request("POST", path, json.dumps(body), headers)
    answer = connection.getresponse()
    with contextlib.closing(connection):
        return answer.status, answer.read().decode()


def test_the_command_that_it_shows_gives_the_numbers_that_it_shows(explorer, run_cli):
    values = {RATE: 3.0, "cluster.instances": 2, "cluster.gpu": "h100-sxm-80gb", "slo.ttft_s": 0.5}
    status, text = post(explorer, "/answer", {"values": values})
    answer = json.loads(text)
    score = json.loads(run_cli(*shlex.split(answer["command"])[1:], "--json", "--force"))

    assert status == 200
    cards = {words: value for value, words, _ in answer["cards"]}
    assert cards["TTFT p99, SLO 500 ms"] == f"{1e3 * score['ttft_s']['p99']:.3g} ms"
    assert cards["SLO attainment"] == f"{100 * score['slo']['attainment']:.2f} %"
    assert answer["verdict"]["answer"] == score["verdict"]["answer"]
    assert len({len(line["values"]) for line in answer["timeline"]["lines"]}) == 1


def test_values_as_they_were_given_are_no_part_of_the_command(explorer):
    values = {control.key: control.value for control in explorer.question.controls}
    answer = json.loads(post(explorer, "/answer", {"values": values})[1])

    assert answer["command"] == "llmsim run quickstart --set workload.requests=200"
    assert {control.key for control in explorer.question.controls} == {
        *(RATE, "cluster.instances", "cluster.gpu", "scheduler.name", "slo.ttft_s", "slo.tbt_s")
    }


def test_what_cannot_be_is_said_in_a_line(explorer):
    answer = json.loads(post(explorer, "/answer", {"values": {"cluster.gpu": "l4"}})[1])

    assert list(answer) == ["error"]
    assert "l4" in answer["error"]
    assert json.loads(post(explorer, "/answer", {"values": {"seed": 3}})[1]) == {"error": "seed: not on this page"}
    assert "error" in json.loads(post(explorer, "/answer", [1])[1])


def test_it_saves_a_scenario_here_and_never_over_another_file(explorer, tmp_path):
    asked = {"values": {RATE: 3.0}, "name": "../mine.toml"}
    assert json.loads(post(explorer, "/save", asked)[1]) == {"saved": "mine.toml"}

    assert load_scenario("mine.toml") == load_scenario("quickstart", ["name=mine", *SMALL, f"{RATE}=3.0"])
    assert "is there already" in json.loads(post(explorer, "/save", asked)[1])["error"]
    assert "ends in .toml" in json.loads(post(explorer, "/save", {"values": {}, "name": ".bashrc"})[1])["error"]
    assert [file.name for file in tmp_path.iterdir()] == ["mine.toml"]


def test_only_its_own_page_gets_answers(explorer):
    asked = {"values": {}}

    assert explorer.server_address[0] == "127.0.0.1"
    assert post(explorer, "/answer", asked, token="guessed")[0] == 403
    assert post(explorer, "/answer", asked, host="evil.example")[0] == 403  # a name that leads to this machine
    assert post(explorer, "/files", asked)[0] == 403
    connection = http.client.HTTPConnection(*explorer.server_address, timeout=10)
    connection.request("GET", "/../pyproject.toml")
    with contextlib.closing(connection):
        assert connection.getresponse().status == 404


def test_bad_input_is_refused_before_anything_is_served(refused):
    assert "did you mean 'quickstart'" in refused("explore", "quickstar")
    assert "no step times for llama-3.1-8b on l4" in refused("explore", "quickstart", "--gpu", "l4")
    with explorer_of("quickstart", SMALL) as other:
        assert f"--port {other.server_address[1]}" in refused(
            "explore", "quickstart", "--no-browser", "--port", other.server_address[1]
        )


def test_two_thousand_requests_are_answered_in_less_than_300_ms_of_this_processor():
    with explorer_of("quickstart", []) as explorer:
        question = explorer.question
    took_s = []
    for rate_per_s in (1.9, 2.0, 2.1):
        began_s = time.process_time()
        assert "error" not in question.answer({RATE: rate_per_s})
        took_s.append(time.process_time() - began_s)

    assert load_scenario("quickstart").workload.requests == 2000
    assert min(took_s) < 0.3


@pytest.mark.skipif(FOUND is None, reason=ABSENT)
def test_a_slider_in_a_browser_simulates_anew_and_redraws(explorer, tmp_path_factory):
    move = (
        "document.getElementById('{0}').value = {1}; document.getElementById('{0}').dispatchEvent(new Event('input'))"
    )
    text = "document.getElementById('{0}').textContent"
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(explorer.address)
        browser.run(SHOWN.format(1))
        before = browser.run("document.getElementById('lines').toDataURL()")
        browser.run(move.format("cluster.instances", 4))
        redrawn_ms = browser.run(SHOWN.format(2))
        simulated_ms = float(re.search(r"simulated in (\d+) ms", browser.run(text.format("more")))[1])

        assert browser.run(text.format("command")).endswith("--set cluster.instances=4")
        assert browser.run("document.getElementById('lines').toDataURL()") != before
        assert redrawn_ms - simulated_ms < 1000  # some tens on a machine that does nothing else
        browser.run(move.format("cluster.gpu", "'l4'"))
        browser.run(SHOWN.format(3))
        assert "l4" in browser.run(text.format("verdict"))
        browser.open(explorer.address, 390, 844)
        browser.run(SHOWN.format(1))
        assert browser.run("document.documentElement.scrollWidth") <= 390
