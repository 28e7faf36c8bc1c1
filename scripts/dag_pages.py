"""``python -m scripts.dag_pages``: write docs/dags.md from the docstrings of the DAG files."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

from scripts.airflow_environment import ROOT

PAGE = ROOT / "docs" / "dags.md"
HEAD = """# DAGs

One section a DAG, from its file's docstring, which Airflow shows as well.
Written by `make docs`; change the docstring, not this page.
"""


def render(folder: Path = ROOT / "dags") -> str:
    """The page for all DAG files of `folder`.

    Raises:
        ValueError: a DAG file has no docstring, or there is no DAG file.
    """
    sections = [HEAD]
    for path in sorted(folder.glob("*.py")):
        text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if not text:
            raise ValueError(f"{path.name} has no docstring")
        sections.append(f"## [{path.stem}](../dags/{path.name})\n\n{text}\n")
    if len(sections) == 1:
        raise ValueError(f"there is no DAG file in {folder}")
    return "\n".join(sections)


def main() -> int:
    """Write the page."""
    try:
        PAGE.write_text(render(), encoding="utf-8")
    except ValueError as error:
        print(f"docs: {error}", file=sys.stderr)
        return 1
    print(PAGE.relative_to(ROOT))
    return 0


if __name__ == "__main__":
    sys.exit(main())
