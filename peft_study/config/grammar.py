"""Values that Hydra's command line cannot parse, and their quoted form for a shell."""

import re
import shlex

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, OverrideParseException

from peft_study.errors import UserError

# Outside of quotes, Hydra 1.3's grammar refuses `, = ' ( [ {` in a value, and some letters that are not ASCII.
_SPECIAL_IN_DOUBLE_QUOTES = re.compile(r'(["$`\\])')
_HISTORY = "!"
_QUOTED = re.compile(r"""(['"])(.*)\1""", re.DOTALL)
_NO_INTERPOLATION = re.compile(r"(\\*)\$\{(?!\.*[A-Za-z_][\w.]*(:[\w.,/-]*)?\})", re.ASCII)
SETTINGS_HINT = "settings are written group.key=value; python -m peft_study --cfg job shows all of them"


def quote(text: str) -> str:
    """Quote a text so that Hydra takes it literally, except for an interpolation such as `${group.key}`."""
    # OmegaConf looks for `${` within quotes too.
    text = _NO_INTERPOLATION.sub(lambda match: match[1] * 2 + "\\${", text)
    escaped = re.sub(r"(\\+)(?='|\Z)", r"\1\1", text).replace("'", "\\'")
    return f"'{escaped}'"


def shell_form(override: str) -> str | None:
    """Write an override with a quoted value as a word for a POSIX shell.

    Args:
        override: as Hydra got it; quotes around the value count as an attempt to quote it.

    Returns:
        the word; None if quotes do not help, because the error is not in the value or a terminal cannot show it.
    """
    key, equals, value = override.partition("=")
    attempt = _QUOTED.fullmatch(value)
    quoted = f"{key}={quote(attempt[2] if attempt else value)}"
    if not equals or not all(line.isprintable() for line in quoted.split("\n")):
        return None
    # A hint that fails as well would be worse than none.
    try:
        OverridesParser.create().parse_override(quoted)
    except HydraException:
        return None
    if _HISTORY in quoted:  # an interactive bash expands it between double quotes
        return shlex.quote(quoted)
    return '"' + _SPECIAL_IN_DOUBLE_QUOTES.sub(r"\\\1", quoted) + '"'


def explain_unread(error: OverrideParseException) -> UserError:
    """The error for an override that Hydra cannot parse, with the quoted value as a hint."""
    override = str(error.override)
    key, _, value = override.partition("=")
    if not any(sign in override for sign in "=~+"):
        what = f"an override must be written group.key=value, got {override}"
        return UserError(what, where=override, hint=SETTINGS_HINT)
    form = shell_form(override)
    evaluated = re.search(r"^\w+ while evaluating .*", str(error), re.MULTILINE)
    if form is None or evaluated:
        reason = evaluated[0] if evaluated else next(iter(str(error).splitlines()), "")
        return UserError(f"Hydra cannot read {override}: {reason}", where=override, hint=SETTINGS_HINT)
    return UserError(f"the value of {key} must be quoted, got {value}", where=override, hint=form)


def explain_several_values(override: str) -> UserError:
    """The error for several values without a sweep; the hint quotes a text with commas."""
    key, _, value = override.partition("=")
    return UserError(
        f"{key} must be one value without --multirun, got {value}",
        where=override,
        hint=f"--multirun for a sweep, {key}=[A,B] for a list; one text is quoted: {shell_form(override)}",
    )
