from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from llmsim import discovery
from llmsim.errors import InputError
from llmsim.scheduler import Decision, InstanceView, Scheduler

POLICY = """\
from __future__ import annotations
from dataclasses import dataclass
from llmsim.scheduler import Decision, InstanceView, Scheduler

@dataclass(frozen=True)
class {name}(Scheduler):
    most: int = 4

    def schedule(self, view: InstanceView) -> Decision:
        return Decision()
"""


class Idle(Scheduler):
    def schedule(self, view: InstanceView) -> Decision:
        return Decision()


def load(path: Path) -> type[Scheduler]:
    return discovery.load_file(path, Scheduler)


def find(name: str, package: str = "llmsim.schedulers") -> type[Scheduler]:
    return discovery.find(package, name, Scheduler)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "found_policies"
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "patient.py").write_text(POLICY.format(name="Patient"))
    (folder / "empty.py").touch()
    (folder / "_private.py").touch()
    monkeypatch.syspath_prepend(tmp_path)
    return folder


def test_a_file_in_the_package_is_a_policy(package: Path) -> None:
    assert discovery.names(package.name) == ["empty", "patient"]
    assert find("patient", package.name).__name__ == "Patient"


def test_an_unknown_name_is_told_with_the_nearest(package: Path) -> None:
    with pytest.raises(InputError, match="unknown scheduler 'pateint'; did you mean 'patient'"):
        find("pateint", package.name)


def test_a_file_of_the_package_without_a_policy_is_told(package: Path) -> None:
    with pytest.raises(InputError, match=r"found_policies.empty: expected one .*Scheduler, found none"):
        find("empty", package.name)


def test_installed_entry_points_are_policies(monkeypatch: pytest.MonkeyPatch) -> None:
    def points(group: str) -> list[EntryPoint]:
        values = {"idle": "Idle", "lost": "Lost", "wrong": "Path"}
        return [EntryPoint(name, f"{__name__}:{value}", group) for name, value in values.items()]

    monkeypatch.setattr(discovery, "entry_points", points)

    assert {"idle", "lost", "wrong"} <= set(discovery.names("llmsim.schedulers"))
    assert find("idle") is Idle
    with pytest.raises(InputError, match=r"entry point lost = .*: AttributeError"):
        find("lost")
    with pytest.raises(InputError, match=r"entry point wrong = .*: expected a subclass of Scheduler"):
        find("wrong")


def test_a_policy_is_loaded_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(POLICY.format(name="Mine"))

    assert load(file)(most=7).most == 7  # type: ignore[call-arg, attr-defined]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n", "expected one concrete subclass of Scheduler, found none"),
        ("from llmsim.scheduler import Scheduler\n", "found none"),
        (POLICY.format(name="A") + POLICY.format(name="B").partition("\n")[2], "found A, B"),
        ("import no_such_module\n", "ModuleNotFoundError: No module named 'no_such_module' (line 1)"),
        ("def f(:\n", "SyntaxError: invalid syntax"),
        ("\n1 / 0\n", "ZeroDivisionError: division by zero (line 2)"),
    ],
)
def test_a_file_without_exactly_one_policy_is_told_in_one_line(tmp_path: Path, text: str, says: str) -> None:
    file = tmp_path / "mine.py"
    file.write_text(text)

    with pytest.raises(InputError) as caught:
        load(file)

    assert str(caught.value).startswith(f"{file}: ")
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_what_is_no_python_file_is_told(tmp_path: Path) -> None:
    (tmp_path / "policy.toml").touch()

    with pytest.raises(InputError, match="no such file"):
        load(tmp_path / "missing.py")
    with pytest.raises(InputError, match="expected a Python file"):
        load(tmp_path / "policy.toml")
