"""The language, as CONTRIBUTING has it: words that must not come back, and docstrings that begin with a verb."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
SOURCES = [path for folder in ("edgeseg", "converters") for path in sorted((ROOT / folder).rglob("*.py"))]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]

#: What to say instead. Spelling is codespell's part, in scripts/test.
BETTER = {
    r"left out": "omitted",
    r"\bmends?\b|\bmended\b": "fixes",
    r"\bpictures?\b": "image",
    r"\bstands (behind|for|beside)\b": "is after, is, is beside",
    r"\bbehind (the|a|an|it|its|them)\b": "after",
    r"\bheld (against|beside)\b": "compared with",
}
#: What an earlier edgeseg wrote, or what something is called outside of it.
ALLOWED = ("training pictures", "lag behind the weights")

#: First words of a docstring that has no verb: "The size of ...", "Whether ...", "What ...".
_NO_VERB = re.compile(
    r"(The|A|An|What|Whether|Where|How|Which|Of|One|Those|That|This|Every|Each|Some|All|Who|When|Why|It|Its|For|From|In"
    r"|On|With|Without|By|As|To|Numbers?|Bytes|Seconds|Values?|Rows|Two|No|None|Nothing|Not|Only|Versions?|Settings)\b"
    r"|[`(0-9]"
)


def banned(text: str) -> Iterator[str]:
    """Lines with a word that has a better one."""
    for number, line in enumerate(text.splitlines(), 1):
        for pattern, better in BETTER.items():
            found = re.search(pattern, line, re.IGNORECASE)
            if found and not any(allowed in line for allowed in ALLOWED):
                yield f"line {number}: '{found[0]}'; better: {better}"


def without_verb(source: str) -> Iterator[str]:
    """Docstrings of modules, functions and methods whose first line is no sentence; properties may be nouns."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            if any("property" in ast.unparse(decorator) for decorator in node.decorator_list):
                continue
        elif not isinstance(node, ast.Module):
            continue
        first = (ast.get_docstring(node) or "").partition("\n")[0]
        if _NO_VERB.match(first):
            yield f"{getattr(node, 'name', 'module')}: {first}"


def test_words_that_must_not_come_back() -> None:
    found = [
        f"{path.relative_to(ROOT)}: {text}" for path in (*SOURCES, *PAGES) for text in banned(path.read_text("utf-8"))
    ]
    assert found == []


def test_docstrings_begin_with_a_verb() -> None:
    found = [f"{path.relative_to(ROOT)}: {text}" for path in SOURCES for text in without_verb(path.read_text("utf-8"))]
    assert found == []


def test_both_checks_find_what_is_wrong() -> None:
    first, second = banned("# 17 when left out.\nfine\n# A Picture.")
    assert (first, second[:17]) == ("line 1: 'left out'; better: omitted", "line 3: 'Picture'")
    source = '"""Which maximum."""\ndef size() -> int:\n    """The size."""\ndef load() -> None:\n    """Load."""\n'
    assert list(without_verb(source)) == ["module: Which maximum.", "size: The size."]
