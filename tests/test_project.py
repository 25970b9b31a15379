"""The project's habits: workflows, forms and citation fit their schemas, and say what the project does."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from edgeseg import __version__

yaml = pytest.importorskip("yaml")  # comes with the site's generator, which wants Python 3.11
ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github" / "workflows"


def check(schema: str, *files: Path) -> subprocess.CompletedProcess[str]:
    """Check files with a schema that check-jsonschema brings: nothing is downloaded."""
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", schema, *map(str, files)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("schema", "files"),
    [
        ("vendor.github-workflows", sorted(WORKFLOWS.glob("*.yml"))),
        ("vendor.github-issue-forms", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("[!c]*.yml"))),
        ("vendor.github-issue-config", [ROOT / ".github" / "ISSUE_TEMPLATE" / "config.yml"]),
        ("vendor.dependabot", [ROOT / ".github" / "dependabot.yml"]),
        ("vendor.citation-file-format", [ROOT / "CITATION.cff"]),
    ],
)
def test_files_fit_their_schemas(schema: str, files: list[Path], tmp_path: Path) -> None:
    done = check(schema, *files)
    assert done.returncode == 0, done.stdout
    bad = tmp_path / files[0].name
    wrong = re.sub(r"^(jobs|updates|title|body|blank_issues_enabled):", "work:", files[0].read_text(), flags=re.M)
    bad.write_text(wrong)
    assert check(schema, bad).returncode == 1


def test_workflows_run_what_is_there() -> None:
    texts = {path.stem: path.read_text() for path in WORKFLOWS.glob("*.yml")}
    for script in re.findall(r"(?<![\w/-])scripts/[\w-]+", "\n".join(texts.values())):
        assert (ROOT / script).is_file(), script
    for test in re.findall(r"tests/\w+\.py", "\n".join(texts.values())):
        assert (ROOT / test).is_file(), test
    pythons = yaml.safe_load(texts["tests"])["jobs"]["tests"]["strategy"]["matrix"]["python"]
    classifiers = re.findall(r'"Programming Language :: Python :: (3\.\d+)"', (ROOT / "pyproject.toml").read_text())
    assert pythons == classifiers
    style = (ROOT / "scripts" / "test").read_text()
    for tool in ("ruff check .", "mypy", "lint-imports --no-logo", "codespell"):
        assert f"\n{tool}\n" in style and f"--no-sync {tool}\n" in texts["tests"]


def test_no_secret_publishes() -> None:
    text = (WORKFLOWS / "release.yml").read_text()
    assert "secrets." not in text
    jobs = yaml.safe_load(text)["jobs"]
    assert jobs["publish"]["permissions"] == {"id-token": "write"}
    assert [name for name, job in jobs.items() if "permissions" in job] == ["publish"]


def test_a_release_has_its_chapter() -> None:
    chapters = re.findall(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(), re.M)
    assert chapters[0] == "Unreleased"
    assert all(re.fullmatch(r"\d+\.\d+\.\d+ \(\d{4}-\d\d-\d\d\)", chapter) for chapter in chapters[1:])
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)


def test_a_release_has_an_address() -> None:
    # The form of [project.urls] is due with the first release; until then there is no address to give.
    released = "\n## 0." in (ROOT / "CHANGELOG.md").read_text()
    assert released == ("\n[project.urls]\n" in (ROOT / "pyproject.toml").read_text())
