"""One self-contained HTML page of a study: it opens with no network, and no script but its own can run in it.

Users' texts (names, labels, tokens) are embedded in three languages here, and each is escaped in one place: HTML by
jinja2's autoescape, Plotly's pseudo-HTML by `token_text.html_label` where the figures are made, and JSON inside a
script element by `_figure_json`. A content security policy in the page forbids every request.
"""

from __future__ import annotations

import json
import math
import os
import platform
from dataclasses import asdict
from datetime import datetime
from importlib import metadata, resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from semviz.common import formats
from semviz.common.checks import as_path, of_class, require_attributes
from semviz.common.errors import SemvizError
from semviz.common.files import write_text_file
from semviz.common.provenance import source_of
from semviz.common.scores import score_named

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from semviz.figures.drawing.protocols import GainLike, ProbesLike, RunsLike
    from semviz.traces.trace import Trace

_TEMPLATE = "report.html.j2"
_PACKAGES = ("torch", "transformers", "datasets", "peft", "plotly", "pandas", "numpy")


def write_report(
    path: str | os.PathLike[str],
    *,
    trace: Trace,
    gain: GainLike,
    runs: RunsLike,
    probes: ProbesLike | None = None,
    title: str | None = None,
) -> Path:
    """Write a study as one HTML file that opens without a network.

    The page is written under a temporary name in the same folder and renamed, so an existing report is replaced whole
    or not at all.

    Args:
        path: File to write, such as ``"mood.html"``; its folder must exist.
        trace: What `semviz.trace` returned.
        gain: What `Trace.gain` returned.
        runs: What `semviz.sweep` returned.
        probes: What `semviz.probe` or `Runs.probes` returned, to show the predicted benefit of every boundary.
        title: Heading of the page; None names task and model.

    Returns:
        The path of the file.

    Raises:
        SemvizError: The folder is missing or not writable, the path is a folder, or another argument is of the wrong
            kind.
    """
    target = as_path("path", path)
    if target.is_dir():
        raise SemvizError(f"path={str(target)!r} is a folder. Pass the name of a file in it, such as 'report.html'.")
    if not target.parent.is_dir():
        raise SemvizError(f"path={str(target)!r}: the folder {str(target.parent)!r} does not exist. Make it first.")
    of_class("title", title, (str, type(None)), "a text, or None")
    require_attributes("trace", trace, ("positions", "values", "meta"), "what sv.trace() returns")
    require_attributes("gain", gain, ("gains", "message"), "what Trace.gain() returns")
    require_attributes("runs", runs, ("table", "answer"), "what sv.sweep() returns")
    if probes is not None:
        require_attributes("probes", probes, ("points", "message"), "what sv.probe() or Runs.probes() returns, or None")
    page = report_page(trace=trace, gain=gain, runs=runs, probes=probes, title=title)
    # A lone surrogate in a user's text has no UTF-8 encoding; it is written as its code point.
    return write_text_file(target, page.encode("utf-8", "backslashreplace").decode("utf-8"))


def report_page(
    *, trace: Trace, gain: GainLike, runs: RunsLike, probes: ProbesLike | None = None, title: str | None = None
) -> str:
    """Build the page that `write_report` writes; it takes the same arguments.

    Raises:
        SemvizError: If they are not of one model, or not of one task or subsets of it.
    """
    expected = source_of(runs)
    for name, part in (("trace", trace), ("gain", gain), ("probes", probes)):
        source_of(part).check(name, expected, "pass what was made from the model and task of the runs")

    import jinja2
    from markupsafe import Markup
    from plotly.offline import get_plotlyjs

    from semviz.figures.drawing import style
    from semviz.report.sections import sections_of

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    template = environment.from_string((resources.files("semviz.report") / _TEMPLATE).read_text(encoding="utf-8"))
    sections = sections_of(trace, gain, runs, probes)
    figures = ",".join(f"{_script_json(s.key)}:{_figure_json(s.figure)}" for s in sections)
    return template.render(
        title=title or f"{runs.model} on {runs.task}",
        model=runs.model,
        task=runs.task,
        date=datetime.now().astimezone(),
        answer=runs.answer(),
        score=score_named(runs.score),
        scopes=(scopes := _scope_rows(runs)),
        profiled=any(scope["profiled"] for scope in scopes),
        advice=gain.message,
        prediction=probes.message if probes is not None else "",
        sections={s.key: s for s in sections},
        tokens=[s for s in sections if s.key.startswith("tokens")],
        facts=_facts(trace, gain, runs),
        fidelity=_fidelity_warning(trace),
        light=asdict(style.LIGHT),
        dark=asdict(style.DARK),
        # Trusted from here on: plotly.js itself and JSON that cannot leave its script element.
        plotly_js=Markup(get_plotlyjs().replace("</script", "<\\/script")),
        figures=Markup("{" + figures + "}"),
        swaps=Markup(_script_json(style.swaps())),
        config=Markup(_script_json(style.CONFIG)),
    )


def _scope_rows(runs: RunsLike) -> list[dict[str, Any]]:
    """Format the table of scopes, from few to many frozen blocks."""
    from semviz.figures.drawing.pareto_points import WEIGHTS

    score = score_named(runs.score)
    value, low, high = score.columns
    rows = []
    for row, name in zip(runs.table().to_dict("records"), runs.scope_names(), strict=True):
        method = str(row["method"])
        get = {key: _finite(row.get(key)) for key in (value, low, high, "speedup", "predicted", "benefit", "lr")}
        rows.append(
            {
                "scope": row["scope"],
                "name": name.without_method,
                "method": "all weights" if method == WEIGHTS else method,
                "runs": row["runs"],
                "profiled": "profile" in name.names,
                "trainable": formats.si(row["trainable"]),
                "share": formats.percent(row["share"]),
                "score": score.text(get[value]),
                "interval": f"{score.text(get[low])} to {score.text(get[high])}"
                if np.isfinite(get[low]) and np.isfinite(get[high])
                else formats.MISSING,
                "seconds": formats.seconds(_finite(row.get("seconds"))),
                "speedup": f"{get['speedup']:.2f} ×" if np.isfinite(get["speedup"]) else formats.MISSING,
                "predicted": formats.percent(get["predicted"]),
                "benefit": formats.percent(get["benefit"]),
                "lr": formats.number(get["lr"], digits=2),
            }
        )
    return rows


def _finite(value: Any) -> float:
    """Return a number, NaN if it is missing."""
    return float("nan") if value is None or value is np.ma.masked else float(value)


def _facts(trace: Trace, gain: GainLike, runs: RunsLike) -> list[tuple[str, str]]:
    """List what was done, as pairs of a name and a text."""
    meta = dict(trace.meta)
    path = {"slerp": "great circle (slerp)", "lerp": "straight line (lerp)"}.get(
        str(meta.get("path")), meta.get("path")
    )
    vocabulary = {"full": "whole vocabulary", "labels": "label words only"}.get(
        str(meta.get("vocab")), meta.get("vocab")
    )
    facts = [
        ("Model", f"{runs.model} ({trace.n_blocks} blocks)"),
        ("Model hash", meta.get("model_hash")),
        ("Task", f"{runs.task} ({meta.get('kind', 'unknown kind')})"),
        ("Split that was traced", meta.get("split")),
        ("Samples and positions", _counts_text(meta.get("samples"), meta.get("positions"))),
        ("Metric of the gain", gain.facts.title),
        ("Rule of the boundary", gain.rule),
        ("Compared with", vocabulary),
        ("Virtual path", path),
        ("Ridge of the bases", _ridge_text(meta.get("ridge"))),
        ("Temperature τ", _number_text(meta.get("tau"))),
        ("Fidelity φ", _number_text(meta.get("fidelity"))),
        ("States centred", {True: "yes", False: "no"}.get(bool(meta.get("centred")))),
        ("Tracing took", formats.seconds(meta.get("seconds"))),
        ("Versions", _versions_text(meta.get("semviz"))),
    ]
    return [(name, str(value)) for name, value in facts if value not in (None, "")]


def _fidelity_warning(trace: Trace) -> str:
    """Warn where the semantic bases represent the model poorly."""
    from semviz.traces.deviations import POOR_FIDELITY

    value = trace.meta.get("fidelity")
    if value is None or value >= POOR_FIDELITY:
        return ""
    share, least = (f"{100 * part:.0f}\u00a0%" for part in (value, POOR_FIDELITY))
    return (
        f"The semantic bases agree with the model's own choice at only {share} of positions (fidelity below {least}): "
        "read the semantic, target and virtual deviations with care, and trust the logit lens and measured runs more."
    )


def _counts_text(samples: Any, positions: Any) -> str | None:
    return None if samples is None else f"{samples:,} samples, {positions:,} positions"


def _ridge_text(value: Any) -> str | None:
    is_infinite = isinstance(value, float) and math.isinf(value)
    return "infinite: the head's own rows" if is_infinite else _number_text(value)


def _number_text(value: Any) -> str | None:
    return formats.number(value) if isinstance(value, int | float) else value


def _versions_text(semviz: Any) -> str:
    """List the versions that the study ran on."""
    versions = [f"semviz {semviz}"] if semviz else []
    versions.append(f"Python {platform.python_version()}")
    for package in _PACKAGES:
        try:
            versions.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            continue
    return ", ".join(versions)


def _figure_json(figure: go.Figure) -> str:
    """Write a figure as JSON that cannot end its script element."""
    return _script_json(json.loads(str(figure.to_json())))


def _script_json(value: Any) -> str:
    return _escape_for_script(json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False))


def _escape_for_script(text: str) -> str:
    r"""Replace what HTML or JavaScript could read inside a script; in JSON these stand in strings only."""
    for char in "<>&\u2028\u2029":
        text = text.replace(char, f"\\u{ord(char):04x}")
    return text
