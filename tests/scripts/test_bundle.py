from __future__ import annotations

import zipfile
from pathlib import Path

import pytest

from scripts import bundle
from tests.conftest import ROOT


def test_the_bundle_is_all_that_runs_on_aws(tmp_path: Path) -> None:
    files = {path.as_posix() for path in bundle.build(tmp_path / "code")}
    dags = {f"airflow/dags/{path.name}" for path in (ROOT / "dags").glob("*.py")}
    sql = {
        f"airflow/dags/sql/{path.relative_to(ROOT / 'sql').as_posix()}"
        for path in (ROOT / "sql").rglob("*.sql")
    }
    alone = {
        "glue/clean_events.py",
        "glue/erase_user.py",
        "glue/clickstream_glue.zip",
        "airflow/plugins.zip",
        "airflow/requirements.txt",
    }
    assert files == dags | sql | alone
    with zipfile.ZipFile(tmp_path / "code" / "airflow" / "plugins.zip") as archive:
        names = archive.namelist()
    assert {"clickstream/names.json", "clickstream/config.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_same_sources_give_the_same_bytes_and_nothing_old_stays(tmp_path: Path) -> None:
    folder = tmp_path / "code"

    def contents() -> dict[Path, bytes]:
        return {path: (folder / path).read_bytes() for path in bundle.build(folder)}

    first = contents()
    (folder / "glue" / "stale.py").write_text("")
    assert contents() == first


def test_a_part_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dags").mkdir()
    monkeypatch.setattr(bundle, "ROOT", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"dags has no file like \*\.py"):
        bundle.build(tmp_path / "code")


def test_amazons_airflow_gets_the_versions_that_are_tested() -> None:
    pinned = (ROOT / "requirements" / "airflow.txt").read_text()
    lines = (ROOT / "requirements" / "mwaa.txt").read_text().splitlines()
    wanted = [line for line in lines if not line.startswith("#")]
    assert wanted
    for line in wanted:
        name, _, version = line.partition("==")
        assert f"\n{name.partition('[')[0]}=={version} " in pinned
