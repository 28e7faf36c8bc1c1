from __future__ import annotations

import shutil
import subprocess
import sys
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
        "glue/build_model.py",
        "glue/clean_events.py",
        "glue/compact_lake.py",
        "glue/erase_user.py",
        "glue/clickstream_glue.zip",
        "glue/libraries.zip",
        "lambda/lambdas.zip",
        "airflow/plugins.zip",
        "airflow/requirements.txt",
    }
    assert files == dags | sql | alone
    with zipfile.ZipFile(tmp_path / "code" / "airflow" / "plugins.zip") as archive:
        names = archive.namelist()
    assert {"clickstream/names.json", "clickstream/config.py"} <= set(names)
    assert not [name for name in names if "__pycache__" in name]


def test_the_libraries_work_out_of_their_zip(tmp_path: Path) -> None:
    bundle.build(tmp_path / "code")
    agent = "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"
    code = f"import ua_parser; print(ua_parser.__file__, ua_parser.parse({agent!r}).device.family)"
    done = subprocess.run(
        [
            *(sys.executable, "-I", "-S", "-c"),
            f"import sys; sys.path.insert(0, sys.argv[1]); {code}",
            tmp_path / "code" / "glue" / "libraries.zip",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    path, family = done.stdout.split()
    assert "libraries.zip" in path
    assert family == "Spider"


def test_the_functions_work_out_of_their_zip(tmp_path: Path) -> None:
    bundle.build(tmp_path / "code")
    archive = tmp_path / "code" / "lambda" / "lambdas.zip"
    with zipfile.ZipFile(archive) as opened:
        assert not [name for name in opened.namelist() if ".." in name or name.startswith("/")]
    code = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "import lambdas.collector.handler, lambdas.react.handler, lambdas.stream.handler\n"
        "for name in 'aws_lambda_powertools', 'clickstream_contract', 'jmespath', 'lambdas':\n"
        "    print(sys.modules[name].__file__)\n"
        "print(__import__('typing_extensions').__file__)"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code, archive],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={"AWS_DEFAULT_REGION": "us-east-1"},
    )
    modules = done.stdout.split()
    assert len(modules) == 5
    assert all(module.startswith(str(archive)) for module in modules), modules


def test_the_same_sources_give_the_same_bytes_and_nothing_old_stays(tmp_path: Path) -> None:
    folder = tmp_path / "code"

    def contents() -> dict[Path, bytes]:
        return {path: (folder / path).read_bytes() for path in bundle.build(folder)}

    first = contents()
    (folder / "glue" / "stale.py").write_text("")
    assert contents() == first


def test_a_part_that_is_not_there_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "dags").mkdir()
    shutil.copytree(ROOT / "glue", tmp_path / "glue")
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
