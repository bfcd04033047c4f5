"""What design rules can be counted: names, phrases, sizes of rooms, and the README."""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "peft_study"
VAGUE_NAMES = frozenset({"one", "found", "known", "its", "own", "here", "given"})
INSIDE = "peft_study.sandbox.inside."
MOST_VAGUE_NAMES = 150
PHRASES = re.compile(r"(?<![Tt]here )\b(?:is no|is none|are none)\b(?! longer)")
MOST_FILES_IN_A_ROOM = 15
MOST_ROOMS = 18
MOST_README_WORDS = 700
MOST_PARAGRAPH_WORDS = 40
MOST_SEMICOLONS_IN_1000_WORDS = 3
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]


def _prose(document: Path) -> str:
    """A document without code and tables."""
    text = re.sub(r"```.*?```", "", document.read_text(encoding="utf-8"), flags=re.S)
    return "\n".join(line for line in text.splitlines() if not line.startswith("|"))


def test_names_say_what_a_value_is() -> None:
    vague = [
        f"{file.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for file in PACKAGE.rglob("*.py")
        for token in tokenize.generate_tokens(io.StringIO(file.read_text(encoding="utf-8")).readline)
        if token.type == tokenize.NAME and token.string in VAGUE_NAMES
    ]

    assert len(vague) < MOST_VAGUE_NAMES, vague


def test_sentences_are_plain() -> None:
    files = [
        *PACKAGE.rglob("*.py"),
        *(ROOT / "conf").rglob("*.yaml"),
        *DOCUMENTS,
    ]
    phrases = [
        f"{file.relative_to(ROOT)}: {match.group()}"
        for file in files
        for match in PHRASES.finditer(file.read_text(encoding="utf-8"))
    ]

    assert phrases == []


def test_rooms_are_small() -> None:
    rooms = [path for path in PACKAGE.rglob("*") if path.is_dir() and path.name != "__pycache__"]
    sizes = {str(room.relative_to(ROOT)): len(list(room.glob("*.py"))) - 1 for room in rooms}
    names = {path.stem for path in PACKAGE.iterdir()} - {"__init__", "__main__", "__pycache__", "py"}

    assert {room: size for room, size in sizes.items() if size > MOST_FILES_IN_A_ROOM} == {}
    assert len(names) <= MOST_ROOMS, sorted(names)


def test_beside_hostile_code_run_the_standard_library_and_that_room_alone() -> None:
    foreign = [
        f"{file.relative_to(ROOT)}:{node.lineno}: {name}"
        for file in (PACKAGE / "sandbox" / "inside").rglob("*.py")
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
        for name in _imported(node)
        if name.partition(".")[0] not in sys.stdlib_module_names and not f"{name}.".startswith(INSIDE)
    ]

    assert foreign == []


def _imported(node: ast.AST) -> list[str]:
    if isinstance(node, ast.ImportFrom):
        return [str(node.module)]
    return [alias.name for alias in node.names] if isinstance(node, ast.Import) else []


def test_the_readme_is_one_screen() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    paragraphs = re.split(r"\n\s*\n|\n- ", _prose(ROOT / "README.md"))

    assert len(readme.split()) <= MOST_README_WORDS
    assert [text for text in paragraphs if len(text.split()) > MOST_PARAGRAPH_WORDS] == []
    for picture in re.findall(r"!\[[^]]*\]\(([^)]+)\)", readme):
        assert (ROOT / picture).is_file()


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_documents_have_few_semicolons(document: Path) -> None:
    prose = _prose(document)

    assert prose.count(";") <= max(1, MOST_SEMICOLONS_IN_1000_WORDS * len(prose.split()) / 1000)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda document: document.name)
def test_links_and_paths_of_documents_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    links = [link.partition("#")[0] for link in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in link]
    paths = re.findall(r"`((?:peft_study|tests|benchmarks|conf|docs|scripts|notebooks)/[\w/.-]+\.\w+)`", text)

    assert [link for link in links if link and not (document.parent / link).exists()] == []
    if document.name != "extending.md":  # it makes new files
        assert [path for path in paths if not (ROOT / path).exists()] == []
