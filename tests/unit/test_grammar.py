"""Values that Hydra's grammar refuses: the message shows a word for the shell, and that word gives the value back."""

import re
import subprocess
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import example, given
from hypothesis import strategies as st
from omegaconf import OmegaConf

from peft_study.cli.score import rescore
from peft_study.config.compose import compose_cell
from peft_study.config.grammar import quote, shell_form
from peft_study.errors import UserError
from peft_study.sweep.command import plan_command
from tests.conftest import Command

REFUSED = {
    "letters": "café/日本",
    "comma": "a,b",
    "comma at the end": "a,",
    "hash": "run #3",
    "apostrophe": "it's here",
    "double quote": 'a"b',
    "both quotes": """a"b'c""",
    "equals": "lr=1",
    "parentheses": "data (copy)",
    "brackets": "a[1]",
    "braces": "{a}",
    "half an interpolation": "a${b",
    "interpolation of nothing": "é${:}",
    "backslashes": "é\\\\'\\",
    "shell": "é $HOME `id` \\$x",
    "history": "wow!é",
    "ampersand": "a&b;c~d",
    "newline": "a\nb",
}
ALONE = {"list": "[a]", "mapping": "{a: b}", "function": "sort(b,a)"}


def shell(word: str) -> str:
    """What a POSIX shell makes of a word."""
    printed = subprocess.run(["sh", "-c", f"printf %s. {word}"], capture_output=True, check=True).stdout.decode()
    return printed.removesuffix(".")


def shown_word(error: UserError) -> str:
    """The word for the shell in an error's hint."""
    match = re.search(r"""(["']dataset\.path=.*)""", error.hint or "", re.DOTALL)
    assert match, error.hint
    return match[1]


def check_form(error: UserError, value: str) -> None:
    """The form that an error shows composes to the value, in one cell and in a sweep."""
    assert f"dataset.path={value}" in (error.where or "")
    override = shell(shown_word(error))
    assert compose_cell(["model=tiny-llama", override]).dataset.path == value
    (cell,) = plan_command(["model=tiny-llama", override])
    assert cell.cell.dataset.path == value


@pytest.mark.parametrize("name", [*REFUSED, *ALONE])
def test_the_form_that_a_message_shows_gives_the_value_back(name: str) -> None:
    value = f"/data/{REFUSED[name]}" if name in REFUSED else ALONE[name]
    with pytest.raises(UserError) as single:
        compose_cell(["model=tiny-llama", f"dataset.path={value}"])
    check_form(single.value, value)
    if name not in {"comma", "function"}:  # which are two values in a sweep
        with pytest.raises(UserError) as sweep:
            plan_command(["model=tiny-llama", "seed=1,2", f"dataset.path={value}"])
        assert shown_word(sweep.value) == shown_word(single.value)


def test_a_path_with_a_comma_is_not_taken_for_two(tmp_path: Path) -> None:
    folder = tmp_path / "a,b"
    folder.mkdir()
    with pytest.raises(UserError) as caught:
        plan_command(["model=tiny-llama", f"dataset.path={folder}"])
    check_form(caught.value, str(folder))

    both = plan_command(["model=tiny-llama", f"dataset.path='{folder}',{tmp_path}"])
    assert [cell.cell.dataset.path for cell in both] == [str(folder), str(tmp_path)]


@pytest.mark.parametrize(("written", "meant"), [("'it's here'", "it's here"), ('"a"b"', 'a"b'), ("'open", "'open")])
def test_a_value_that_is_quoted_wrongly_is_quoted_right(written: str, meant: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_cell(["model=tiny-llama", f"dataset.path={written}"])

    assert compose_cell(["model=tiny-llama", shell(shown_word(caught.value))]).dataset.path == meant


@pytest.mark.parametrize("override", ["dataset.päth=a", "dataset.path", "é", "seed=range(1,x)", "dataset.path=é\x1b["])
def test_no_form_is_shown_that_would_not_work(override: str) -> None:
    with pytest.raises(UserError) as caught:
        compose_cell(["model=tiny-llama", override])

    assert override in (caught.value.where or "") + caught.value.what
    assert "'" not in (caught.value.hint or "")


@given(st.text(st.sampled_from("ab\\'\"$${}[](), \n=é,#:."), max_size=12))
@example("\\\n")
@example("\\${a b}\\")
def test_every_text_can_be_quoted(text: str) -> None:
    parsed = OverridesParser.create().parse_override(f"k={quote(text)}")

    if not re.search(r"\$\{\.*[a-z_][\w.]*(:[\w.,/-]*)?\}", text):  # that is an interpolation
        assert OmegaConf.create({"k": parsed.value()}).k == text


@given(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=12))
def test_a_form_is_one_word_of_a_shell(text: str) -> None:
    form = shell_form(f"k={text}")

    if form is not None and not re.search(r"""^(['"]).*\1$""", text):
        assert shell(form) == f"k={quote(text)}"


@pytest.mark.parametrize("arguments", [[], ["--multirun", "seed=1,2"]])
def test_a_command_shows_the_form(command: Command, tmp_path: Path, arguments: list[str]) -> None:
    ended = command(*arguments, "model=tiny-llama", "dataset.path=/data/café")

    assert ended.code == 2
    assert "\"dataset.path='/data/café'\"" in ended.err
    assert "Traceback" not in ended.err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "setting", ["scoring.wall_seconds={", "scoring.wall_seconds=é", "scoring.wall_seconds=a: b: c"]
)
def test_a_scoring_setting_that_cannot_be_read_is_named(setting: str) -> None:
    with pytest.raises(UserError) as caught:
        rescore([], [setting])

    assert caught.value.where == setting
