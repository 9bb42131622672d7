"""Texts that try to become something else: markup, scripts, formulas, templates, formats, paths, other directions.

Each that runs sets `hacked` in the page, opens a dialog, or asks a network for `evil.invalid`; all of them must be seen
as the letters that they are.
"""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
from small import WORDS, plain_text, tiny_llama, word_tokenizer

import semviz as sv

CORPUS = (
    # HTML that loads or runs
    "<script>hacked=1</script>",
    "</script><script>hacked=2</script>",
    "<img src=x onerror=hacked=3>",
    "<img/src=//evil.invalid/a.png>",
    "<svg/onload=hacked=4>",
    "<svg><script>hacked=5</script></svg>",
    "<iframe src=javascript:parent.hacked=6>",
    "<iframe srcdoc='<script>parent.hacked=7</script>'>",
    "<object data=//evil.invalid/o>",
    "<embed src=//evil.invalid/e>",
    "<link rel=stylesheet href=//evil.invalid/s.css>",
    "<style>@import'//evil.invalid/i.css'</style>",
    "<base href=//evil.invalid/>",
    "<meta http-equiv=refresh content=0;url=//evil.invalid/>",
    "<a href=javascript:hacked=8>link</a>",
    "<a xlink:href=javascript:hacked=9>link</a>",
    "<body onload=hacked=10>",
    "<details open ontoggle=hacked=11>",
    "<video src=//evil.invalid/v onerror=hacked=12>",
    "<input autofocus onfocus=hacked=13>",
    "<math><mtext><script>hacked=14</script></mtext></math>",
    "<form action=//evil.invalid/><button>Finetune</button></form>",
    "<b onmouseover=hacked=15>bold</b>",
    # ends of what a text may stand in
    '"><script>hacked=16</script>',
    "'><script>hacked=17</script>",
    "--><script>hacked=18</script>",
    "]]><script>hacked=19</script>",
    "</style><script>hacked=20</script>",
    "</textarea><script>hacked=21</script>",
    "</title><script>hacked=22</script>",
    "</span></div></table><script>hacked=23</script>",
    '" onmouseover="hacked=24',
    "';hacked=25;//",
    "\\u003cscript>hacked=26\\u003c/script>",
    "\\x3cscript>hacked=27\\x3c/script>",
    "&lt;script&gt;hacked=28&lt;/script&gt;",
    "&#60;script&#62;hacked=29&#60;/script&#62;",
    "`${hacked=30}`",
    # other little languages
    "$$\\href{javascript:hacked=31}{x}$$",
    "$x^2$",
    "{{hacked=32}}",
    "{% raw %}{{ hacked }}{% endraw %}",
    "%{customdata[0]}",
    "%{z:<script>}",
    "<extra>gone</extra>",
    "<br><br><sup>up</sup>",
    "javascript:hacked=33",
    "data:text/html,<script>hacked=34</script>",
    '=HYPERLINK("//evil.invalid")',
    "![x](//evil.invalid/m.png)",
    "[x](javascript:hacked=35)",
    "{text}{0}%s%n",
    # what is not what it looks like
    "\u202egnp.exe",
    "a\u2066b\u2069c",
    "\u0000null",
    "bell\u0007\u001b[31mred",
    "line\nbreak\ttab",
    "\ud800lone",
    "../../etc/passwd",
    "Z\u0335\u0321\u034d\u0355" + "\u0300" * 60 + "algo",
    "",
    " ",
)
NAMES = [text for text in CORPUS if text.strip()]


def study() -> tuple[sv.LanguageModel, sv.Task, sv.Trace]:
    """A model, a task and a trace whose names, labels, tokens and vocabulary are hostile; only the ids are ordinary."""
    model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
    model = replace(model, name=" ".join(NAMES[12:24]))
    labels = NAMES[: len(WORDS)]
    texts = [f"the {WORDS[i % 40]} was {label}" for i in range(3) for label in labels]
    task = sv.Task.from_texts(
        texts, labels * 3, prompt="{text} mood :", words=dict(zip(labels, WORDS, strict=False)),
        name=" ".join(NAMES[:12]), max_tokens=40,
    )  # fmt: skip
    trace = sv.trace(model, task, detail=3, progress=False)
    # As objects: pandas' own strings take no lone surrogate.
    tokens = pd.Series([CORPUS[i % len(CORPUS)] for i in range(len(trace.positions))], dtype=object)
    trace.positions["token"] = trace.positions["target"] = trace.positions["predicted"] = tokens
    trace.vocabulary.update({key: CORPUS[i % len(CORPUS)] for i, key in enumerate(trace.vocabulary)})
    return model, task, trace
