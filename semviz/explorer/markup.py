"""The Explorer's HTML: small, escaped, and readable in both themes and without colour."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from semviz.common import token_text
from semviz.scopes.scope import Scope
from semviz.study.forecast import ForecastLine


def header(model: str, task: str, facts: Iterable[str]) -> str:
    """Write the heading: the question, and facts about the model and the task."""
    details = " · ".join(escape(fact) for fact in facts)
    return f"<h2>Where should I finetune {_name(model)} on {_name(task)}?</h2><p class='quiet'>{details}</p>"


def strip(scope: Scope, *, note: str = "") -> str:
    """Draw the blocks from the embeddings to the head; frozen ones are hatched, and a line of text counts them.

    Args:
        scope: What would train.
        note: Text to append, not escaped yet.
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


def definition_list(facts: Sequence[ForecastLine]) -> str:
    """Set facts side by side: the name, the value, and where it comes from."""
    return "<div class=facts>" + "".join(
        f"<div><span>{escape(fact.name)}</span><strong>{escape(fact.value)}</strong><span>{escape(fact.detail)}</span></div>"
        for fact in facts
    ) + "</div>"  # fmt: skip


def paragraph(text: str, *, quiet: bool = False) -> str:
    """Write one paragraph of plain text."""
    return f"<p{' class=quiet' if quiet else ''}>{escape(text)}</p>"


def status(text: str, *, progress: str = "", is_problem: bool = False, traceback: str = "") -> str:
    """Write the status line; a traceback is collapsed.

    Args:
        text: The part that screen readers read out, see page.js.
        progress: The job's progress, which changes too often to be read out.
        is_problem: Whether the text describes a problem.
        traceback: The traceback of a problem; empty if there is none.
    """
    details = f"<details><summary>Traceback</summary><pre>{escape(traceback)}</pre></details>" if traceback else ""
    message = f"{'Problem: ' if is_problem else ''}{escape(text)}"
    css_class = f"status{' wrong' if is_problem else ''}"
    return f"<div class='{css_class}'><span class=said>{message}</span> {escape(progress)}</div>{details}"


def nearest(caption: str, rows: Sequence[tuple[int, str, Sequence[str], str]], here: int) -> str:
    """Write the table of the nearest tokens at every space, the top space first.

    Args:
        caption: Which position is shown.
        rows: Space, deviation, nearest tokens and the token that the head ranks first, not escaped yet.
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
    """Write a block of source code."""
    return f"<pre class=code tabindex=0>{escape(text)}</pre>"


def _token(text: str) -> str:
    return f"<code class=token>{escape(token_text.short_label(text, width=16))}</code>"


def _name(text: str) -> str:
    return f"<b>{escape(token_text.short_label(text, width=40))}</b>"
