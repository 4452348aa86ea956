from pathlib import Path

import pytest

from sweep.core.errors import UsageError
from sweep.tasks.data.dataset import DataSource


def test_what_is_given_wins_over_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SWEEP_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SWEEP_CACHE", str(tmp_path / "cache"))
    assert DataSource.from_env() == DataSource(tmp_path / "data", False, tmp_path / "cache")
    given = DataSource.from_env(tmp_path / "a", True, tmp_path / "b")
    assert given == DataSource(tmp_path / "a", True, tmp_path / "b")


def test_without_any_of_it_data_is_downloaded_to_the_users_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SWEEP_DATA", raising=False)
    monkeypatch.setenv("SWEEP_CACHE", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert DataSource.from_env() == DataSource(None, False, tmp_path / "prunesweep")


def test_relative_paths_and_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "/home/someone")
    source = DataSource.from_env("data", cache="~/cache")
    assert source.data_dir == tmp_path / "data"
    assert source.tokens == Path("/home/someone/cache/tokens")


def test_no_home_directory(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "SWEEP_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 123456789)  # a user without an entry in the password file
    with pytest.raises(UsageError, match="set SWEEP_CACHE"):
        DataSource.from_env()
