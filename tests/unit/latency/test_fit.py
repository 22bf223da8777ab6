from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from llmsim.cli import main
from llmsim.errors import InputError
from llmsim.latency.fit import _held_out, fit_steps
from llmsim.latency.fitted import Fitted

TRUE = Fitted((0.02, 1e-4, 8e-9), (0.012, 6e-7, 6e-5), (0.018, 5e-7, 1.2e-4), 96)


def steps(batches: Sequence[int] = (1, 4, 16, 64, 96, 128, 200)) -> pd.DataFrame:
    rows = []
    for prompts in (1, 2, 4):
        for tokens in (64, 300, 1000, 2000):
            time_s = TRUE.step_time_s([(0, tokens)] * prompts, 0, 0)
            rows.append((prompts, prompts * tokens, 0, 0, time_s))
    for n in batches:
        for context in (100, 700, 1500):
            rows.append((0, 0, n, n * context, TRUE.step_time_s((), n, n * context)))
    for n in (8, 128):
        rows.append((1, 512, n, n * 500, TRUE.step_time_s([(0, 512)], n, n * 500)))
    return pd.DataFrame(rows, columns=["prefills", "prefill_tokens", "decoding", "context_tokens", "step_s"])


def written(table: pd.DataFrame, folder: Path) -> Path:
    table.to_csv(folder / "steps.csv", index=False)
    return folder / "steps.csv"


def test_exact_steps_give_their_coefficients_back(tmp_path: Path) -> None:
    found = fit_steps(written(steps(), tmp_path), large_batch=96)

    for part in ("prefill", "decode_small", "decode_large"):
        assert getattr(found.latency, part) == pytest.approx(getattr(TRUE, part), rel=1e-6)
    assert [error.kind for error in found.errors] == ["prefill", "decode", "decode, large batch", "mixed"]
    assert max(error.p90_percent for error in found.errors) < 1e-6


def test_error_is_that_of_steps_left_out(tmp_path: Path) -> None:
    table = steps(range(1, 200))
    noise = np.random.default_rng(0).normal(1.0, 0.05, len(table))
    table["step_s"] *= noise
    errors = fit_steps(written(table, tmp_path), large_batch=96).errors_by_kind()

    # the median of |N(0, 5 %)| is 3.4 %; what is held out adds the error of the fit itself
    assert errors["decode"]["median_percent"] == pytest.approx(3.4, abs=0.5)
    assert errors["decode"]["p90_percent"] == pytest.approx(1.645 * 5, abs=1)


def test_no_coefficient_is_below_zero(tmp_path: Path) -> None:
    table = steps()
    prefilling = table.prefills > 0
    table.loc[prefilling, "step_s"] = 1e-4 * table.prefill_tokens[prefilling] ** 0.9
    found = fit_steps(written(table, tmp_path), large_batch=96)

    assert min(found.latency.prefill) >= 0


def test_fit_on_the_command_line_writes_what_fitted_reads(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file, out = written(steps(), tmp_path), tmp_path / "mine.json"
    command = ["profile", "fit", str(file), "--model", "mine", "--large-batch", "96", "--out", str(out), "--json"]

    assert main(command) == 0
    assert json.loads(capsys.readouterr().out)["cross_validated_error"]["decode"]["steps"] == 12
    assert Fitted.from_distserve(out, "mine").decode_large == pytest.approx(TRUE.decode_large, rel=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.json", "steps.csv"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.rename(columns={"decoding": "decodin"}), "no column 'decoding'.*did you mean 'decodin'"),
        (lambda t: t.assign(step_s=["x", *t.step_s[1:]]), "step 1: step_s = x, expected a number, above 0"),
        (lambda t: t.assign(step_s=[*t.step_s[:-1], 0.0]), "step_s = 0.0, expected a number, above 0"),
        (lambda t: t.assign(context_tokens=-1), "step 1: context_tokens = -1, expected a number, not negative"),
        (lambda t: t.assign(prefills=0, prefill_tokens=0), "step 1: a step without prefill and decode"),
        (lambda t: t.assign(prefill_tokens=5), "prefills without prefill_tokens"),
        (lambda t: t[t.prefills > 0], "0 steps of decode alone, expected at least 5"),
        (lambda t: t[:0], "0 steps of prefill alone"),
    ],
)
def test_bad_steps_are_told_in_a_line(change, message: str, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(InputError, match=message):
        fit_steps(written(change(steps()), tmp_path))


def test_missing_and_empty_files_are_told(tmp_path: Path) -> None:
    (tmp_path / "empty.csv").write_text("")
    with pytest.raises(InputError, match="No such file"):
        fit_steps(tmp_path / "none.csv")
    with pytest.raises(InputError, match="not CSV"):
        fit_steps(tmp_path / "empty.csv")


def test_a_step_is_predicted_without_itself() -> None:
    table = steps()
    decodes = np.flatnonzero((table.decoding > 0) & (table.decoding < 96) & (table.prefills == 0))[:5]
    few = pd.concat([table[table.prefills > 0], table.loc[decodes]], ignore_index=True)
    few.loc[len(few) - 1, "step_s"] *= 2
    terms = few[["context_tokens", "decoding"]].tail(5).to_numpy()
    held_out = _held_out(np.column_stack([np.ones(5), terms]), few.step_s.tail(5).to_numpy())

    assert held_out[-1] == pytest.approx(-0.5)  # the four others are exact, and know nothing of the slow one
