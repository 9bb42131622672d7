"""The Explorer's own HTML: small, escaped, readable in both themes and without colours."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from semviz.common import token_text
from semviz.scopes.scope import Scope
from semviz.study.forecast import ForecastLine


def header(model: str, task: str, facts: Iterable[str]) -> str:
    """The first lines: the question, and what is studied."""
    said = " · ".join(escape(fact) for fact in facts)
    return f"<h2>Where should I finetune {_name(model)} on {_name(task)}?</h2><p class='quiet'>{said}</p>"


def strip(scope: Scope, *, note: str = "") -> str:
    """The blocks from the embeddings to the head; frozen ones are hatched, and words say how many.

    Args:
        scope: What would train.
        note: What else there is to say of it, plain.
    """
    trained = set(scope.blocks)
    numbered = scope.n_blocks <= 32
    blocks = "".join(
        f"<i{'' if b in trained else ' class=f'}>{b if numbered else ''}</i>" for b in range(1, scope.n_blocks + 1)
    )
    words = f"{scope.boundary} of {scope.n_blocks} blocks frozen, {len(trained)} trained"
    return (
        f"<div class='strip' role='img' aria-label='{words}'><b>embeddings</b>{blocks}<b>head</b></div>"
        f"<p class='quiet'>{words}; hatched blocks are frozen{escape(note)}</p>"
    )


def definition_list(known: Sequence[ForecastLine]) -> str:
    """Facts side by side: a name, the number, and what it is made of."""
    return "<div class=facts>" + "".join(
        f"<div><span>{escape(fact.name)}</span><strong>{escape(fact.value)}</strong><span>{escape(fact.detail)}</span></div>"
        for fact in known
    ) + "</div>"  # fmt: skip


def paragraph(text: str, *, quiet: bool = False) -> str:
    """One paragraph of plain text."""
    return f"<p{' class=quiet' if quiet else ''}>{escape(text)}</p>"


def status(text: str, *, going: str = "", wrong: bool = False, traceback: str = "") -> str:
    """The status line; a traceback is folded.

    Args:
        text: What is read out by screen readers, see page.js.
        going: How far it is, which changes too often to be read out.
        wrong: Whether it is a problem.
        traceback: Of a problem; empty if there is none.
    """
    more = f"<details><summary>Traceback</summary><pre>{escape(traceback)}</pre></details>" if traceback else ""
    said = f"{'Problem: ' if wrong else ''}{escape(text)}"
    return f"<div class='status{' wrong' if wrong else ''}'><span class=said>{said}</span> {escape(going)}</div>{more}"


def nearest(caption: str, rows: Sequence[tuple[int, str, Sequence[str], str]], here: int) -> str:
    """The nearest tokens at every space, the top one first.

    Args:
        caption: What position is shown.
        rows: Space, deviation, nearest tokens and the token that the head ranks first, all plain.
        here: The space that was clicked.
    """
    body = "".join(
        f"<tr{' class=here aria-current=true' if space == here else ''}><th scope=row>{space}</th><td>{escape(value)}"
        f"</td><td>{', '.join(_token(t) for t in near)}</td><td>{_token(first) if first else ''}</td></tr>"
        for space, value, near, first in rows
    )
    return (
        f"<table class=near><caption>{escape(caption)}</caption><thead><tr><th scope=col>space</th>"
        "<th scope=col>deviation</th><th scope=col>nearest tokens</th><th scope=col>head says</th></tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


def code(text: str) -> str:
    """A block of source text."""
    return f"<pre class=code tabindex=0>{escape(text)}</pre>"


def _token(text: str) -> str:
    return f"<code class=token>{escape(token_text.short_label(text, width=16))}</code>"


def _name(text: str) -> str:
    return f"<b>{escape(token_text.short_label(text, width=40))}</b>"
