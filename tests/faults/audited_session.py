# ruff: noqa: E402
"""The whole everyday session under Python's audit hook: prints what it asked of network, files and other programs.

    python tests/faults/audited_session.py FOLDER

`tests/test_security.py` runs it and judges. Only what semviz and the libraries do after they were imported counts, but
for connections, which are refused from the first line on.
"""

from __future__ import annotations

import json
import os
import sys
from collections import defaultdict
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="0", TQDM_DISABLE="1", TOKENIZERS_PARALLELISM="false", OMP_NUM_THREADS="1")
FOLDER = Path(sys.argv[1]).resolve()
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
NETWORK = ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto", "urllib.Request")
PROGRAMS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil.rmtree")
seen: dict[str, list[str]] = defaultdict(list)
watching = False


def hook(event: str, args: tuple) -> None:
    if event in NETWORK:
        seen["network"].append(f"{event} {args[1:] if event.startswith('socket.c') else args}")
        raise OSError(f"{event} is closed")
    if not watching:
        return
    if event == "pickle.find_class":
        seen["unpickled"].append(".".join(map(str, args)))
    elif event in PROGRAMS:
        seen["programs"].append(f"{event} {args}")
    elif event == "open" and isinstance(args[0], str | bytes | os.PathLike):
        writes = isinstance(args[2], int) and args[2] & WRITING
        if writes and not os.fspath(args[0]).startswith(("/dev/null", "/proc/self")):
            seen["written"].append(os.path.abspath(os.fsdecode(args[0])))
    elif event in CHANGES:
        seen["written"].append(os.path.abspath(os.fsdecode(args[0])))


sys.addaudithook(hook)

sys.path.insert(0, str(Path(__file__).parents[1]))

import datasets  # noqa: F401
import IPython  # noqa: F401
import ipywidgets  # noqa: F401
import peft  # noqa: F401
import transformers  # noqa: F401
from small import plain_text, tiny_llama, word_tokenizer

import semviz as sv

home = FOLDER / "told"
home.mkdir()
watching = True
demo = sv.load_model()
packaged = sv.load_task("mood").subset(train=64, test=32)
some = sv.trace(demo, packaged, samples=16, progress=False)
some.token_heatmap(sample=some.detailed[0])

model = sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())
texts = [f"the {('cat', 'dog')[i % 2]} was {('good', 'bad')[i // 2 % 2]} ." for i in range(60)]
task = sv.Task.from_texts(texts, [("yes", "no")[i // 2 % 2] for i in range(60)], prompt="{text} mood :")
quick = {"lr": 1e-3, "epochs": 1, "progress": False}
trace = sv.trace(model, task, progress=False)
trace.save(home / "trace.parquet")
again = sv.Trace.load(home / "trace.parquet")
gain = again.gain()
runs = sv.sweep(
    model, task, [sv.Scope.full(model), sv.Scope.half(model), sv.Scope.last(model)], gain=gain,
    store=home / "runs", keep_weights=True, **quick,
)  # fmt: skip
sv.sweep(model, task, [sv.Scope.half(model)], methods=("lora",), store=home / "runs", **quick)
probes = runs.probes()
sv.load_run(model, runs.runs[0])
sv.write_report(home / "report.html", trace=trace, gain=gain, runs=runs, probes=probes)
for figure in (trace.profile(), trace.sample_heatmap(), trace.transition_map(), gain.figure(), runs.pareto()):
    figure.to_json()
app = sv.Explorer(model, task, store=home / "runs", progress=False)
app.study.set(steps=1, lr=1e-3)
app.run.click()
app.job.wait()
app.snapshot()
app.close()
watching = False
print(json.dumps(seen))
