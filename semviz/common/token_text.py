"""What a token looks like: plain text from a tokenizer, and short safe labels for axes, hovers and tables.

Three steps, kept apart so that each can be tested alone:

- `decode` asks the tokenizer: each id becomes a plain text, with its leading space.
- `short_label` makes a text fit for an axis: invisible characters become visible and long texts are cut.
- `html_label` makes a text safe inside a Plotly text, which reads a small HTML dialect and ``$...$`` formulas.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Iterable
from typing import Any

import regex

ELLIPSIS = "…"
_VISIBLE = {" ": "␣", "\n": "↵", "\t": "⇥", "\r": "␍"}
# Invisible on its own, but part of the spelling inside a cluster: Persian and Indic joiners, emoji sequences, flags.
_JOINERS = frozenset({0x200C, 0x200D, *range(0xE0020, 0xE0080)})
# Real clusters (a family emoji with skin tones) stay below this; piled-up accents do not.
_MAX_CLUSTER = 16
_METASPACE = "▁"


def short_label(text: str, *, width: int = 12) -> str:
    r"""Return a token's text as a label for an axis.

    Spaces at either end, newlines and tabs become ``␣ ↵ ⇥``. Control characters, bidirectional overrides and other
    characters that draw nothing are written as ``\u202e``. A mark without its letter is put on a dotted circle.
    The result is not escaped; pass it through `html_label` before it enters a Plotly text.

    Args:
        text: Plain decoded text, as `decode` returns it.
        width: Largest number of graphemes (what a reader counts as one character), the ellipsis included.

    Returns:
        One line of text.

    Example:
        >>> short_label(" the\n")
        '␣the↵'
        >>> short_label("internationalisation", width=8)
        'interna…'
    """
    inner = text.strip(" ")
    lead = len(text) - len(text.lstrip(" ")) if inner else len(text)
    trail = len(text) - lead - len(inner)
    # A hostile text may be megabytes long: only what can be shown is processed.
    budget = _MAX_CLUSTER * (width + 1)
    clusters = ["␣"] * min(lead, width + 1)
    clusters += [_visible_cluster(match.group()) for match in regex.finditer(r"\X", inner[:budget])]
    clusters += ["␣"] * min(trail, width + 1)
    if len(clusters) <= width and len(inner) <= budget:
        return "".join(clusters)
    return "".join(clusters[: max(width - 1, 0)]) + ELLIPSIS


def html_label(text: str) -> str:
    r"""Escape a text for Plotly: it will be drawn letter by letter, never as a tag, an entity or a formula.

    Plotly reads ``<b>``, ``<a href>`` and entities in every text, and hands ``$...$`` to MathJax where the page has it.
    It decodes numeric entities but not ``&quot;``, so quotes stay as they are: Plotly texts are never attributes.
    For real HTML pages use the template engine's own escaping instead.

    Example:
        >>> html_label("<b>$x$ & y")
        '&lt;b&gt;&#36;x&#36; &amp; y'
    """
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("$", "&#36;")


def decode(tokenizer: Any, ids: Iterable[int]) -> list[str]:
    """Return the plain text of each token.

    ``tokenizer.decode([id])`` is not enough: it drops the leading space of sentencepiece tokens and turns parts of a
    character into ``�``. Here ``▁the`` and ``Ġthe`` become ``" the"``, a byte that is not a whole character becomes
    ``<0xE4>``, and special tokens keep their name.

    Args:
        tokenizer: Any Hugging Face tokenizer, fast or slow.
        ids: Token ids. Negative ids stand for "no token" and give an empty text; ids beyond the vocabulary
            (padded rows of the head) give ``<id 50300>``.

    Returns:
        One text per id.
    """
    token_ids = [int(i) for i in ids]
    size = len(tokenizer)
    pieces = {i: tokenizer.convert_ids_to_tokens(i) for i in set(token_ids) if 0 <= i < size}
    verbatim = set(tokenizer.all_special_tokens) | set(tokenizer.get_added_vocab())
    plain = _piece_decoder(tokenizer)

    def text_of(token_id: int) -> str:
        if token_id < 0:
            return ""
        piece = pieces.get(token_id)
        if piece is None:
            return f"<id {token_id}>"
        return str(piece) if piece in verbatim else plain(str(piece))

    texts = {i: text_of(i) for i in set(token_ids)}
    return [texts[i] for i in token_ids]


def _visible_cluster(cluster: str) -> str:
    """Make one grapheme cluster visible."""
    if len(cluster) > 1 and not _is_hidden(cluster[0]):
        spelling = "".join(c if ord(c) in _JOINERS or not _is_hidden(c) else _escape(c) for c in cluster)
        return spelling[:_MAX_CLUSTER]
    shown = "".join(_VISIBLE.get(c, _escape(c)) if c in "\n\t\r" or _is_hidden(c) else c for c in cluster)
    return "◌" + shown[:_MAX_CLUSTER] if unicodedata.category(cluster[0]) in ("Mn", "Me") else shown


def _is_hidden(char: str) -> bool:
    """Tell whether a character draws nothing, or changes how its neighbours are drawn."""
    return char != " " and unicodedata.category(char) in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs")


def _escape(char: str) -> str:
    """Write a character as its code point."""
    code = ord(char)
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _piece_decoder(tokenizer: Any) -> Callable[[str], str]:
    """Choose how this tokenizer's pieces become plain text, as its own decoder would turn them into it."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    decoder = getattr(backend, "decoder", None)
    if decoder is not None:
        # The decoder's saved state names its steps; the tokenizers package offers no other way to read them.
        steps = _decoder_steps(json.loads(decoder.__getstate__()))
        kinds = {step["type"] for step in steps}
        if "ByteLevel" in kinds:
            return _from_byte_level
        if "WordPiece" in kinds:
            prefix = next(step["prefix"] for step in steps if step["type"] == "WordPiece")
            return lambda piece: piece.removeprefix(prefix) if piece.startswith(prefix) else " " + piece
        if "BPEDecoder" in kinds:
            suffix = next(step["suffix"] for step in steps if step["type"] == "BPEDecoder")
            return lambda piece: piece.removesuffix(suffix) + " " if piece.endswith(suffix) else piece
        return _from_sentencepiece
    if getattr(tokenizer, "byte_decoder", None):
        return _from_byte_level
    if backend is None and not hasattr(tokenizer, "sp_model"):
        # A custom slow tokenizer: only it knows its markers.
        return lambda piece: str(tokenizer.convert_tokens_to_string([piece]))
    return _from_sentencepiece


def _decoder_steps(state: dict[str, Any]) -> list[dict[str, Any]]:
    """Flatten a decoder's state: sequences of decoders may be nested."""
    return [step for child in state["decoders"] for step in _decoder_steps(child)] if "decoders" in state else [state]


def _from_sentencepiece(piece: str) -> str:
    """Read a sentencepiece piece: ``▁`` is a space, ``<0xE4>`` one byte (an ASCII byte is its character)."""
    byte = regex.fullmatch(r"<0x([0-9A-Fa-f]{2})>", piece)
    if byte:
        code = int(byte.group(1), 16)
        return chr(code) if code < 0x80 else piece
    return piece.replace(_METASPACE, " ")


def _from_byte_level(piece: str) -> str:
    """Read a byte-level piece: each character stands for one byte, and the bytes may be half a character."""
    if any(char not in _BYTE_OF for char in piece):
        return piece
    raw = bytes(_BYTE_OF[char] for char in piece)
    text = raw.decode("utf-8", errors="surrogateescape")
    return "".join(f"<0x{ord(c) - 0xDC00:02X}>" if 0xDC80 <= ord(c) <= 0xDCFF else c for c in text)


def _byte_alphabet() -> dict[str, int]:
    """Build GPT-2's alphabet: printable Latin-1 bytes stand for themselves, the others for 256 and up."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {chr(b): b for b in printable} | {chr(256 + i): b for i, b in enumerate(rest)}


_BYTE_OF = _byte_alphabet()
