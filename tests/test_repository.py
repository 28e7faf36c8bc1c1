"""What holds for the repository as a whole: its pins, its pages, its command list."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from scripts import dag_pages

ROOT = Path(__file__).resolve().parents[1]
REQUIREMENTS = sorted((ROOT / "requirements").glob("*.in"))
# Put together here, so that this file does not hold what it looks for.
FOREIGN = [
    re.compile("--" + r"(?:extra-)?index-url|--" + "find-links|https?://[^ \"']+/" + r"simple\b"),
    re.compile("/(?:root|home/(?!runner)|Users|work)/" + r"[\w.]"),
]


def tracked(*patterns: str) -> list[Path]:
    """The files git tracks that match one of `patterns` (all without one)."""
    command = ["git", "ls-files", "-z", "--", *patterns]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    paths = [ROOT / name for name in listed.split("\0") if name]
    assert paths, f"git tracks no file like {patterns}"
    return [path for path in paths if path.exists()]


def test_no_tracked_file_names_an_index_or_a_folder_of_one_machine() -> None:
    found = []
    for path in tracked():
        for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
            if any(pattern.search(line) for pattern in FOREIGN):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:100]}")
    assert found == []


@pytest.mark.parametrize("source", REQUIREMENTS, ids=lambda path: path.name)
def test_every_requirement_is_pinned_with_hashes(source: Path) -> None:
    entries = {
        _normal(re.split(r"[\[=<>~! ;]", line, maxsplit=1)[0])
        for line in source.read_text().splitlines()
        if line and not line.startswith(("#", "-c"))
    }
    compiled = source.with_suffix(".txt").read_text()
    pins = re.findall(
        r"^([\w.-]+)(?:\[[\w,-]+\])?==[^\\\n]+\\$((?:\n    --hash=.*)+)", compiled, re.M
    )
    assert entries
    assert entries <= {_normal(name) for name, _ in pins}
    assert len(pins) == len(re.findall(r"^[\w.-]+", compiled, re.M)), "a line without a hash"


def test_help_lists_every_target() -> None:
    makefile = (ROOT / "Makefile").read_text()
    declared = re.search(r"^\.PHONY: (.*)$", makefile, re.M)
    assert declared
    listed = subprocess.run(
        ["make", "-C", ROOT, "help"], capture_output=True, text=True, check=True
    ).stdout
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.M))
    assert targets == set(declared[1].split())
    assert targets == set(re.findall(r"^  make ([a-z-]+) ", listed, re.M))


def test_decisions_are_numbered_without_gaps_and_say_why() -> None:
    records = sorted(tracked("docs/adr/*.md"))
    assert [path.name[:5] for path in records] == [f"{n:04}-" for n in range(1, len(records) + 1)]
    for path in records:
        headings = re.findall(r"^## (.*)$", path.read_text(), re.M)
        assert headings == ["Context", "Decision", "Consequences"], path.name


@pytest.mark.parametrize("page", tracked("*.md"), ids=lambda path: str(path.relative_to(ROOT)))
def test_links_between_pages_resolve(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.S)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if re.match(r"[a-z]+:", target):
            continue
        found = page.parent / path if path else page
        assert found.exists(), f"{target} does not exist"
        if anchor and found.suffix == ".md":
            assert anchor in _anchors(found), f"{target}: no such heading"


def test_the_dag_page_is_what_the_docstrings_say() -> None:
    assert dag_pages.PAGE.read_text() == dag_pages.render(), "run make docs"


def test_an_old_python_is_told_what_is_needed(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "scripts", tmp_path / "scripts")
    script = tmp_path / "scripts" / "bootstrap.py"
    script.write_text(script.read_text().replace("(3, 11), (3, 13)", "(3, 98), (3, 99)"))
    done = subprocess.run(["python3", script, ".venv"], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"Python 3\.98 to 3\.99 is needed, and .* make PYTHON=\S+\n", done.stderr)


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
