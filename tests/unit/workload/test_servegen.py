"""Clients of ServeGen: what their files say is what is drawn, within bounds that theory gives."""

from __future__ import annotations

import json
import math
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from scipy import integrate, stats

from llmsim.errors import InputError
from llmsim.experiment import make_workload
from llmsim.experiment.own_files import NO_FILES
from llmsim.scenario import ServeGenWorkload, load_scenario
from llmsim.studies.sweep.point_keys import files_of, key_of
from llmsim.workload.contract import Workload
from llmsim.workload.servegen import draw_clients, renewals
from llmsim.workload.servegen_files import read_clients
from llmsim.workload.streams import streams
from places import DATA, needs

ARCHIVE = DATA / "traces/servegen/servegen_reason_deepseek-r1.tar.gz"
needs_data = needs("traces/servegen/servegen_reason_deepseek-r1.tar.gz")

WEIBULL_CV = math.sqrt(5.0)  # shape 1/2: the first moments of the gaps are 2 and 24
TRACES = {
    3: "0,40,0.5,Gamma,4,0.00625\n600,0,0,,0,0\n1200,20,2,Gamma,0.25,0.2\n",
    7: "0,30,2.236,Weibull,0.5,0.016667\n600,50,1,Weibull,1,0.02\n1200,0,0,,0,0\n",
}
LENGTHS = {
    3: {
        "0": {"input_tokens": "{10: 0.2, 20: 0.5, 70: 0.3}", "output_tokens": "{5: 0.9, 1000: 0.1}"},
        "900": {"input_tokens": "{33: 1.0}", "output_tokens": "{44: 1.0}", "reason_ratio": "{0.5: 1.0}"},
    },
    7: {"0": {"input_tokens": "{8: 0.5, 9: 0.5}", "output_tokens": "{2: 0.25, 3: 0.0, 6: 0.75}"}},
}


def write(folder: Path, *numbers: int) -> Path:
    folder.mkdir(exist_ok=True)
    for number in numbers or TRACES:
        (folder / f"chunk-{number}-trace.csv").write_text(TRACES[number])
        (folder / f"chunk-{number}-dataset.json").write_text(json.dumps(LENGTHS[number]))
    return folder


def of(workload: Workload, user: int, start_s: float, end_s: float) -> np.ndarray:
    assert workload.user is not None
    return (workload.user == user) & (workload.arrival_s >= start_s) & (workload.arrival_s < end_s)


@pytest.mark.parametrize(
    ("user", "start_s", "rate_per_s", "cv"),
    [(3, 0, 40, 0.5), (3, 1200, 20, 2.0), (7, 0, 30, WEIBULL_CV), (7, 600, 50, 1.0)],
)
@pytest.mark.parametrize("rate_scale", [1.0, 2.5])
def test_each_window_has_its_rate_and_its_cv(
    tmp_path: Path, user: int, start_s: float, rate_per_s: float, cv: float, rate_scale: float
) -> None:
    drawn = draw_clients(streams(5), write(tmp_path / "clients"), rate_scale=rate_scale)
    times = drawn.arrival_s[of(drawn, user, start_s, start_s + 600)]
    expected = rate_per_s * rate_scale * 600
    gaps = np.diff(times)

    assert abs(len(times) - expected) < 4 * cv * math.sqrt(expected)  # central limit theorem of renewal processes
    family = stats.gamma(cv**-2) if user == 3 else stats.weibull_min(0.5 if cv > 1 else 1.0)
    scale = 1 / (rate_per_s * rate_scale * family.mean())
    assert stats.kstest(gaps, lambda x: family.cdf(x / scale)).pvalue > 1e-3
    centred = (gaps - gaps.mean()) ** 2
    spread = centred.std() / math.sqrt(len(gaps)) / (2 * gaps.std() * gaps.mean())  # delta method
    assert abs(gaps.std() / gaps.mean() - cv) < 4 * (spread + cv * cv / math.sqrt(len(gaps)))


def test_a_window_without_requests_stays_empty(tmp_path: Path) -> None:
    drawn = draw_clients(streams(0), write(tmp_path / "clients"))

    assert not of(drawn, 3, 600, 1200).any()
    assert not of(drawn, 7, 1200, 1800).any()
    assert drawn.user is not None
    assert set(drawn.user) == {3, 7}


@pytest.mark.parametrize(("family", "shape"), [("Gamma", 0.1), ("Gamma", 4.0), ("Weibull", 0.4), ("Weibull", 1.7)])
def test_the_mean_number_of_requests_is_rate_times_time_even_in_a_short_window(family: str, shape: float) -> None:
    rng = np.random.default_rng(1)
    counts = np.array([len(renewals(rng, 5.0, rate_per_s=0.6, family=family, shape=shape)) for _ in range(8000)])

    assert abs(counts.mean() - 3.0) < 4 * counts.std() / math.sqrt(len(counts))


@pytest.mark.parametrize(("family", "shape"), [("Gamma", 0.5), ("Gamma", 4.0), ("Weibull", 0.5), ("Weibull", 1.7)])
def test_the_first_gap_is_the_rest_of_one(family: str, shape: float) -> None:
    """Its distribution function is the integral of 1 - F over the mean gap, here 1."""
    rng = np.random.default_rng(2)
    first = [renewals(rng, 60.0, rate_per_s=1.0, family=family, shape=shape)[0] for _ in range(3000)]
    gap = stats.gamma(shape, scale=1 / shape)
    if family == "Weibull":
        gap = stats.weibull_min(shape, scale=1 / math.gamma(1 + 1 / shape))
    grid = np.linspace(0, 60, 20_001)
    rest = integrate.cumulative_trapezoid(gap.sf(grid), grid, initial=0.0)

    assert stats.kstest(first, lambda x: np.interp(x, grid, rest)).pvalue > 1e-3


@pytest.mark.parametrize(
    ("user", "start_s", "column", "said"),
    [
        (3, 0, "prompt_tokens", {10: 0.2, 20: 0.5, 70: 0.3}),
        (3, 0, "output_tokens", {5: 0.9, 1000: 0.1}),
        (7, 0, "prompt_tokens", {8: 0.5, 9: 0.5}),
        (7, 600, "output_tokens", {2: 0.25, 6: 0.75}),
    ],
)
def test_lengths_follow_the_distributions_of_their_window(
    tmp_path: Path, user: int, start_s: float, column: str, said: dict[int, float]
) -> None:
    drawn = draw_clients(streams(11), write(tmp_path / "clients"))
    tokens, counts = np.unique(getattr(drawn, column)[of(drawn, user, start_s, start_s + 600)], return_counts=True)

    assert tokens.tolist() == list(said)
    assert stats.chisquare(counts, np.array(list(said.values())) * counts.sum()).pvalue > 1e-3


def test_later_lengths_hold_from_their_start(tmp_path: Path) -> None:
    drawn = draw_clients(streams(0), write(tmp_path / "clients"))
    late = of(drawn, 3, 1200, 1800)

    assert set(drawn.prompt_tokens[late]) == {33}
    assert set(drawn.output_tokens[late]) == {44}


def test_prompt_and_output_are_independent(tmp_path: Path) -> None:
    drawn = draw_clients(streams(4), write(tmp_path / "clients"))
    chosen = of(drawn, 3, 0, 600)
    table = stats.contingency.crosstab(drawn.prompt_tokens[chosen], drawn.output_tokens[chosen]).count

    assert stats.chi2_contingency(table).pvalue > 1e-3


def columns(workload: Workload, chosen: np.ndarray) -> list[list[float]]:
    return [getattr(workload, name)[chosen].tolist() for name in ("arrival_s", "prompt_tokens", "output_tokens")]


def test_same_seed_same_requests_whatever_other_clients_there_are(tmp_path: Path) -> None:
    both = write(tmp_path / "both")
    alone = draw_clients(streams(9), write(tmp_path / "alone", 7))
    drawn, again, other = (draw_clients(streams(seed), both) for seed in (9, 9, 10))
    everyone = np.ones(len(drawn), dtype=bool)

    assert columns(drawn, everyone) == columns(again, everyone)
    assert columns(drawn, of(drawn, 7, 0, 1800)) == columns(alone, of(alone, 7, 0, 1800))
    assert drawn.arrival_s[:50].tolist() != other.arrival_s[:50].tolist()


def test_clients_and_windows_that_are_alike_draw_apart(tmp_path: Path) -> None:
    for number in (1, 2):
        (tmp_path / f"chunk-{number}-trace.csv").write_text("0,5,1,Gamma,1,0.2\n600,5,1,Gamma,1,0.2\n")
        (tmp_path / f"chunk-{number}-dataset.json").write_text(json.dumps(LENGTHS[3]))
    drawn = draw_clients(streams(3), tmp_path)
    parts = [of(drawn, user, start_s, start_s + 600) for user in (1, 2) for start_s in (0, 600)]
    firsts = {round(drawn.arrival_s[part][0] % 600, 6) for part in parts}
    lengths = {tuple(drawn.prompt_tokens[part][:100]) for part in parts}

    assert len(firsts) == len(lengths) == 4


def test_a_part_is_the_same_part_of_the_whole(tmp_path: Path) -> None:
    folder = write(tmp_path / "clients")
    drawn = draw_clients(streams(9), folder)
    part = draw_clients(streams(9), folder, start_s=500, duration_s=800, limit=3000)
    inside = np.flatnonzero((drawn.arrival_s >= 500) & (drawn.arrival_s < 1300))[:3000]

    assert len(part) == 3000
    assert part.arrival_s.tolist() == (drawn.arrival_s[inside] - 500).tolist()
    assert part.prompt_tokens.tolist() == drawn.prompt_tokens[inside].tolist()
    assert part.source == "ServeGen clients (2 clients), window [500 s, 1300 s), first 3000"


def test_an_archive_is_the_same_as_its_folder(tmp_path: Path) -> None:
    folder = write(tmp_path / "clients")
    with tarfile.open(tmp_path / "clients.tar.gz", "w:gz") as archive:
        archive.add(folder, "reason/model")
    drawn, packed = (draw_clients(streams(1), path) for path in (folder, tmp_path / "clients.tar.gz"))

    assert packed.arrival_s.tolist() == drawn.arrival_s.tolist()
    assert packed.output_tokens.tolist() == drawn.output_tokens.tolist()


@pytest.mark.parametrize(
    ("name", "old", "new", "says"),
    [
        ("chunk-3-trace.csv", "1200,20,", "1200,many,", "(client 3), line 3: rate is 'many'"),
        ("chunk-3-trace.csv", "1200,20,", "1200,-2,", "(client 3), line 3: rate is '-2'"),
        ("chunk-3-trace.csv", "1200,20,", "1200,nan,", "(client 3), line 3: rate is 'nan'"),
        ("chunk-3-trace.csv", "2,Gamma", "2,Gama", "line 3: unknown family 'Gama'; did you mean 'Gamma'?"),
        ("chunk-3-trace.csv", "Gamma,0.25", "Gamma,0", "line 3: shape is '0', expected a number of at least 0.0001"),
        ("chunk-3-trace.csv", ",,0,0", ",0", "line 2: 4 fields, expected 6: window start, rate, CV"),
        ("chunk-3-trace.csv", "1200,20", "1500,20", "line 3: window start is 1500, expected 1200"),
        ("chunk-3-trace.csv", "600,0", "0,0", "line 2: window start is 0, expected a later one"),
        ("chunk-3-trace.csv", "1200,20", "1200,1e12", "requests to draw, expected at most 50,000,000"),
        ("chunk-7-dataset.json", '"0"', '"noon"', "(client 7): window 'noon', expected its start in seconds"),
        ("chunk-7-dataset.json", '"0"', '"1"', "(client 7): no lengths for the requests at 0 s"),
        ("chunk-7-dataset.json", "}}", "}", "(client 7), line 1: not valid JSON"),
        ("chunk-7-dataset.json", "input_tokens", "prompts", "window '0', input_tokens: missing"),
        ("chunk-7-dataset.json", "8: 0.5", "8: 0.6", "input_tokens: probabilities that sum to 1.1, expected 1"),
        ("chunk-7-dataset.json", "8: 0.5", "9: 0.5", "input_tokens: expected different token counts from 1"),
        ("chunk-7-dataset.json", "8: 0.5", "0: 0.5", "input_tokens: expected different token counts from 1"),
        ("chunk-7-dataset.json", "8: 0.5", "8.5: 0.5", "input_tokens: expected token counts and probabilities"),
        ("chunk-7-dataset.json", "{8: 0.5, 9: 0.5}", "{}", "input_tokens: empty, and the client has requests"),
    ],
)
def test_what_is_wrong_with_a_file_is_told_in_one_line(
    tmp_path: Path, name: str, old: str, new: str, says: str
) -> None:
    file = write(tmp_path / "clients") / name
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new, 1))

    with pytest.raises(InputError) as raised:
        draw_clients(streams(0), file.parent)
    assert says in str(raised.value)
    assert str(file.parent) in str(raised.value)
    assert "\n" not in str(raised.value)


def test_what_is_wrong_with_a_folder_or_archive_is_told(tmp_path: Path) -> None:
    folder = write(tmp_path / "clients")
    (folder / "chunk-3-dataset.json").unlink()
    (tmp_path / "broken.tar.gz").write_bytes(b"\x1f\x8b\x08 no more")
    twice = write(tmp_path / "twice")
    write(twice / "below", 7)
    (tmp_path / "empty").mkdir()
    says = {
        folder: "client 3 has no chunk-3-dataset.json",
        tmp_path / "broken.tar.gz": "the gzip file is truncated",
        twice: "client 7 is in below/chunk-7-dataset.json and in chunk-7-dataset.json",
        tmp_path / "empty": "no client; expected files named",
        tmp_path / "nowhere": "no such folder or archive",
    }
    for path, said in says.items():
        with pytest.raises(InputError, match=f"{path}: {said}"):
            read_clients(path)
    with pytest.raises(InputError, match=r"no request in .*; its 2 clients end at 1800 s"):
        draw_clients(streams(0), write(tmp_path / "clients"), start_s=1800)


def test_a_scenario_draws_them(tmp_path: Path) -> None:
    folder = write(tmp_path / "clients")
    changes = [f"workload.servegen={folder}", "workload.rate_scale=0.5", "workload.requests=100"]
    scenario = load_scenario("quickstart", changes)
    drawn = make_workload(scenario, streams(scenario.seed))

    assert scenario.workload == ServeGenWorkload(servegen=str(folder), rate_scale=0.5, limit=100)
    assert drawn.source == "ServeGen clients (2 clients), first 100, rate x 0.5"
    with pytest.raises(InputError, match=r"workload\.rate_scal: unknown key.*did you mean 'rate_scale'"):
        load_scenario("quickstart", [*changes, "workload.rate_scal=2"])
    with pytest.raises(InputError, match=r"workload\.servegen: no such file: nowhere"):
        load_scenario("quickstart", ["workload.servegen=nowhere"])
    late = load_scenario("quickstart", [*changes, "workload.start_s=7200"])
    with pytest.raises(InputError, match=r"workload\.servegen: .*no request in \[7200 s"):
        make_workload(late, streams(0))


def test_a_points_key_depends_on_the_clients_files_wherever_they_lie(tmp_path: Path) -> None:
    one, other = write(tmp_path / "one"), write(tmp_path / "other")
    first, second = (load_scenario("quickstart", [f"workload.servegen={each}"]) for each in (one, other))
    before = key_of(first)

    assert before == key_of(second)
    (other / "chunk-7-trace.csv").write_text(TRACES[7].replace("0,30", "0,31"))
    assert before != key_of(second)


@pytest.mark.parametrize("packed", [False, True])
def test_every_file_of_clients_that_is_opened_is_part_of_the_key(tmp_path: Path, packed: bool) -> None:
    source = write(tmp_path / "clients")
    (source / "notes.txt").write_text("not read")
    if packed:
        with tarfile.open(tmp_path / "clients.tar.gz", "w:gz") as archive:
            archive.add(source, "model")
        source = tmp_path / "clients.tar.gz"
    scenario = load_scenario("quickstart", [f"workload.servegen={source}", "workload.limit=10"])
    opened: set[Path] = set()
    watching = True

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        if watching and event == "open" and isinstance(arguments[0], str | Path):
            opened.add(Path(arguments[0]))

    sys.addaudithook(watch)
    make_workload(scenario, streams(0))
    watching = False

    read = {file for file in opened if tmp_path in file.parents}
    assert read == {file for file in files_of(scenario, NO_FILES).values() if tmp_path in file.parents}
    assert len(read) == (1 if packed else 4)


@needs_data
def test_deepseek_r1_has_its_73_clients_and_their_rates() -> None:
    clients = read_clients(ARCHIVE)
    with tarfile.open(ARCHIVE) as archive:
        lines = [
            archive.extractfile(each).read().decode().splitlines()  # type: ignore[union-attr]
            for each in archive.getmembers()
            if each.name.endswith("-trace.csv")
        ]
    at = 90  # 15:00
    rates = [float(each[at].split(",")[1]) for each in lines]
    shapes = [each[at].split(",")[3:5] for each in lines]
    drawn = draw_clients(streams(0), ARCHIVE, start_s=at * 600, duration_s=600)

    assert len(clients) == len(lines) == 73
    assert math.isclose(sum(client.windows[at].rate_per_s for client in clients), sum(rates))
    variance = sum(600 * rate * _cv2(*shape) for rate, shape in zip(rates, shapes, strict=True) if rate)
    assert abs(len(drawn) - 600 * sum(rates)) < 4 * math.sqrt(variance)


def _cv2(family: str, shape: str) -> float:
    gap = stats.gamma(float(shape)) if family == "Gamma" else stats.weibull_min(float(shape))
    return float(gap.var() / gap.mean() ** 2)


def test_requests_drawn_without_output_are_left_out_and_counted(tmp_path: Path) -> None:
    folder = write(tmp_path / "clients", 7)
    (folder / "chunk-7-dataset.json").write_text(
        json.dumps({"0": {"input_tokens": "{8: 1.0}", "output_tokens": "{0: 0.25, 6: 0.75}"}})
    )
    drawn = draw_clients(streams(3), folder)
    left_out = int(drawn.source.split(", ")[1].removesuffix(" without output left out"))

    assert set(drawn.output_tokens) == {6}
    assert stats.binomtest(left_out, left_out + len(drawn), 0.25).pvalue > 1e-3
    assert len(draw_clients(streams(3), folder, limit=100)) == 100
