"""``python -m scripts.bundle``: the code that runs on AWS, as it lies in the artifacts bucket.

Terraform uploads the folder; the embedded AWS, where there is no Terraform, does the same.
"""

from __future__ import annotations

import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "build" / "code"


def build(folder: Path = FOLDER) -> list[Path]:
    """Write Glue's scripts and Airflow's DAGs, plugins and SQL under `folder`.

    The same sources give the same bytes, so that an upload happens only for what changed.

    Returns:
        The files, by their path in the bucket.

    Raises:
        FileNotFoundError: this checkout lacks a part of the code.
    """
    shutil.rmtree(folder, ignore_errors=True)
    copies = {
        "glue/clean_events.py": ROOT / "glue" / "clean_events.py",
        "glue/erase_user.py": ROOT / "glue" / "erase_user.py",
        "airflow/requirements.txt": ROOT / "requirements" / "mwaa.txt",
        **{f"airflow/dags/{path.name}": path for path in _some(ROOT / "dags", "*.py")},
        **{
            f"airflow/dags/sql/{path.relative_to(ROOT / 'sql').as_posix()}": path
            for path in _some(ROOT / "sql", "**/*.sql")
        },
    }
    for name, source in copies.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    _zip(folder / "glue" / "clickstream_glue.zip", ROOT / "glue" / "clickstream_glue")
    _zip(folder / "airflow" / "plugins.zip", ROOT / "plugins" / "clickstream")
    return sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())


def _some(folder: Path, pattern: str) -> Iterable[Path]:
    found = sorted(folder.glob(pattern))
    if not found:
        raise FileNotFoundError(f"{folder} has no file like {pattern}")
    return found


def _zip(target: Path, package: Path) -> None:
    """The package as a zip with the package's folder at its top."""
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in _some(package, "**/*"):
            if path.is_file() and "__pycache__" not in path.parts:
                entry = zipfile.ZipInfo(path.relative_to(package.parent).as_posix())
                entry.compress_type = zipfile.ZIP_DEFLATED
                archive.writestr(entry, path.read_bytes())


if __name__ == "__main__":
    for made in build():
        print(made)
