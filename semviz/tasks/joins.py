"""Whether a blank belongs between a prompt and the word that goes on with it."""

from __future__ import annotations

import re
import unicodedata

# Scripts that write words without blanks and are not wide; wide ones (Chinese, Japanese) are told by their width.
_WITHOUT_BLANKS = ("THAI", "LAO", "KHMER", "MYANMAR", "TIBETAN")
_STRAIGHT_QUOTES = "\"'`"
_EMPHASIS = ("**", "__", "~~")
_BINDING = "¿¡/\\#@<"  # beside opening brackets and quotes, currency signs and low lines
# Of mark-up and chat templates: <label>, <label id="1">, <|assistant|>; no closing ones, after which text goes on.
_OPENING_TAG = re.compile(r"<(\|[^<>|]*\||[A-Za-z][\w:.-]*(\s+[\w:.-]+=[^<>]*)?)>$")


def natural_join(prompt: str) -> str:
    r"""Return `""` or `" "`: what a writer puts between this prompt and the next word.

    No blank goes after a blank or a new line, after an opening quote, bracket, tag or `**` and other signs that belong
    to what follows (`$`, `#`, `@`, `/`, `_`), after a hyphen or an equals sign that touches what is before it, and in
    scripts that write no blanks (Chinese, Japanese, Thai, …). Everywhere else a blank does.

    Example:
        >>> [natural_join(prompt) for prompt in ("Label:", "It was \"", "He said \"no\"", "情感:", "Stars:\n")]
        [' ', '', ' ', '', '']
    """
    last = prompt[-1:]
    if not last or last.isspace():
        return ""
    if last.isalpha() and last.isascii():
        return " "
    before = prompt.rstrip(last)[-1:]
    category = unicodedata.category(last)
    if last in _STRAIGHT_QUOTES:
        return "" if _is_opening_quote(prompt, before) else " "
    if prompt.endswith(_EMPHASIS):
        return "" if _last_line(prompt).count(prompt[-2:]) % 2 else " "
    if category in ("Ps", "Pi", "Pc", "Sc") or last in _BINDING or _OPENING_TAG.search(prompt):
        return ""
    if (category == "Pd" or last == "=") and before and not before.isspace():
        return ""
    letter = next((char for char in reversed(prompt) if char.isalnum()), last)
    return " " if _writes_blanks(last) and _writes_blanks(letter) else ""


def _is_opening_quote(prompt: str, before: str) -> bool:
    """Whether the straight quote that ends a prompt opens; `before` is the character before it."""
    if not before or before.isspace() or unicodedata.category(before) in ("Ps", "Pi"):
        return True
    if before.isalnum():
        return False
    quote = prompt[-1]
    if before in ",:" and prompt.rstrip(quote)[:-1].endswith(quote):
        return True  # between two fields: "good","
    # Elsewhere quotes open and close in turn. An apostrophe inside a word is none.
    return len(re.findall(rf"(?<!\w){quote}|{quote}(?!\w)", _last_line(prompt))) % 2 == 1


def _last_line(prompt: str) -> str:
    return prompt[prompt.rfind("\n") + 1 :]


def _writes_blanks(char: str) -> bool:
    """Whether the character's script has blanks between words."""
    name = unicodedata.name(char, "")
    if name.startswith(_WITHOUT_BLANKS):
        return False
    # Korean is wide and has blanks; emoji are wide and no script.
    wide = unicodedata.east_asian_width(char) in ("W", "F") and unicodedata.category(char) != "So"
    return not wide or name.startswith("HANGUL")
