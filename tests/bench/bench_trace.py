"""What a trace costs, as ratios measured in one run.

    python tests/bench/bench_trace.py                 # everything that this machine can run
    python tests/bench/bench_trace.py forward bases   # some of it
    python tests/bench/bench_trace.py peers --cache ~/.cache/semviz-bench

Prints a Markdown table a section, and at the end one line of JSON with every number.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path

import numpy as np
import torch
import workloads
from pairs import load
from peers import MALLOC, PEERS, run_peer
from peers.measuring import PeakMemory, resident_bytes

import semviz as sv
from semviz.tasks.streaming import batch_rows, pad_batch, pad_id, stream
from semviz.tasks.tokenizing import encode
from semviz.traces.calibration import default_calibration
from semviz.traces.label_choices import label_choices
from semviz.traces.reduction import Reducer
from semviz.traces.semantic_bases import SemanticBases
from semviz.traces.trace_plan import Plan, position_table

NUMBERS: dict[str, dict] = {}


def main() -> None:
    sections = {f.__name__: f for f in (forward, heads, answers, bases, memory, processes, peers, gpu)}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sections", nargs="*", help=f"some of {', '.join(sections)}; all by default")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--cache", type=Path, default=Path.home() / ".cache" / "semviz-bench")
    options = parser.parse_args()
    workloads.threads(int(os.environ.get("OMP_NUM_THREADS", "2")))
    where = torch.cuda.get_device_name() if torch.cuda.is_available() else platform.machine()
    print(f"{date.today()}, {where}, {torch.get_num_threads()} threads, torch {torch.__version__}\n")
    for name in options.sections or sections:
        sections[name](options)
        print(flush=True)
    print(json.dumps(NUMBERS))


def best(functions: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Smallest time of each function; they take turns, so that a noisy moment hits all of them."""
    for function in functions.values():
        function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(repeat):
        for name, function in functions.items():
            _wait()
            started = time.perf_counter()
            function()
            _wait()
            seconds[name].append(time.perf_counter() - started)
    return {name: min(found) for name, found in seconds.items()}


def _wait() -> None:
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def peak(function: Callable[[], object]) -> int:
    """Bytes by which resident (or GPU) memory grows while a function runs."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    before = resident_bytes()
    with PeakMemory() as found:
        function()
    return found.bytes - before


def table(title: str, head: str, lines: list[str]) -> None:
    columns = head.count("|") - 1
    print(f"### {title}\n\n{head}\n{'|---' * columns}|")
    print("\n".join(lines))


# What a trace does is `read`; `whole` and `body` are the plain passes over the same batches.


def padded(model, encoded):
    rows = batch_rows(encoded, device=model.device)
    return [pad_batch(encoded, part, pad=pad_id(model), device=model.device) for part in rows]


@torch.no_grad()
def whole(model, passed):
    for batch in passed:
        model.model(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)


@torch.no_grad()
def body(model, passed):
    for batch in passed:
        model.anatomy.model.get_decoder()(input_ids=batch.ids, attention_mask=batch.mask, use_cache=False)


def read(model, encoded, keys, labels_only=False, readout=None):
    calibration = default_calibration(model, progress=False)
    ids, readout = encoded.label_ids, readout or calibration.readout
    plan = Plan(model, calibration, keys, ids, True, labels_only, "slerp", centre=False, readout=readout)
    choices = label_choices(encoded)
    reducer = Reducer(plan, position_table(encoded, 0, choices), choices)
    stream(model, encoded, reducer.start, label="", progress=False)
    return reducer


CASES = {
    "`target`, answer": ("answer", ("target",), False),
    "`semantic` + `lens` over labels, answer": ("answer", ("semantic", "lens"), True),
    "`target`, next": ("next", ("target",), False),
}
LIMITS = {"demo": (1.15, 1.25), "stories260K-llama": (1.15, 1.25), "random GPT-2 small": (1.05, 1.10)}


HEAD = (
    "| model | what | forward s | trace s | ratio | goal | ratio to the body alone | peak memory, ratio (goal ≤ 1.10) "
    "| extra MB |"
)


def forward(options) -> None:
    """Light metrics against the plain forward passes over the same batches."""
    lines = []
    samples = {workloads.demo: 512, workloads.stories: 512, workloads.gpt2_small: 24, workloads.smollm2: 16}
    for make in workloads.available(*samples):
        lines += forward_lines(make, samples[make], options.repeat)
    table("Light metrics against plain forward passes over the same batches (64 tokens a sample)", HEAD, lines)


def forward_lines(make, samples, repeat) -> list[str]:
    model, lines = make(), []
    # On the CPU in a process of its own, whose allocator gives freed memory back.
    if torch.cuda.is_available():
        grown = peaks(model, samples)
    else:
        call = f"print(json.dumps(bench_trace.peaks(bench_trace.workloads.{make.__name__}(), {samples})))"
        grown = _alone(f"import json; {call}", **MALLOC)
    for name, (where, _, _) in CASES.items():
        seconds = best(passes(model, samples, name), repeat)
        ratio, strict = seconds["trace"] / seconds["whole"], seconds["trace"] / seconds["body"]
        base, more = grown[name]["base"], {key: grown[name][key] for key in ("whole", "trace")}
        size = (base + more["trace"]) / (base + more["whole"])
        goal = LIMITS.get(model.name, (1.05, 1.10))[where == "next"]
        lines.append(
            f"| {model.name} | {name} | {seconds['whole']:.3f} | {seconds['trace']:.3f} | **{ratio:.2f}** | "
            f"≤ {goal:.2f} | {strict:.2f} | {size:.2f} | {more['whole'] / 1e6:.0f} → {more['trace'] / 1e6:.0f} |"
        )
        NUMBERS[f"{model.name}, {name}"] = seconds | {f"{key}_bytes": value for key, value in grown[name].items()}
    return lines


def passes(model, samples, name) -> dict[str, Callable[[], object]]:
    """The plain passes and the trace of one case."""
    where, keys, labels = CASES[name]
    encoded = workloads.rows(model, samples=samples, tokens=64, where=where)
    passed = padded(model, encoded)
    return {
        "whole": lambda: whole(model, passed),
        "body": lambda: body(model, passed),
        "trace": lambda: read(model, encoded, keys, labels),
    }


def peaks(model, samples) -> dict[str, dict[str, int]]:
    """Memory of the process (or GPU) before each case, and what each pass adds at its peak."""
    default_calibration(model, progress=False)
    made = {}
    for name in CASES:
        todo = passes(model, samples, name)
        base = torch.cuda.memory_allocated() if torch.cuda.is_available() else resident_bytes()
        made[name] = {"base": base} | {key: peak(function) for key, function in todo.items()}
    return made


def heads(options) -> None:
    """Full-vocabulary lens and rank, by both readouts, against the body and L+1 bare head products."""
    lines = []
    counts = {workloads.demo: 128, workloads.stories: 128, workloads.gpt2_small: 8, workloads.smollm2: 4}
    for make in workloads.available(*counts):
        model, samples = make(), counts[make]
        encoded = workloads.rows(model, samples=samples, tokens=64, where="next")
        seconds = best(
            {
                "bare": lambda m=model, e=encoded: bare_heads(m, e),
                "raw": lambda m=model, e=encoded: read(m, e, ("lens", "rank"), readout="raw"),
                "translated": lambda m=model, e=encoded: read(m, e, ("lens", "rank")),
                "all five": lambda m=model, e=encoded: read(m, e, tuple(sv.METRICS)),
            },
            options.repeat if samples > 8 else 2,
        )
        keys = ("raw", "translated", "all five")
        ratios = " | ".join(f"{seconds[key]:.2f} | **{seconds[key] / seconds['bare']:.2f}**" for key in keys)
        lines.append(f"| {model.name} | {seconds['bare']:.2f} | {ratios} |")
        NUMBERS[f"{model.name}, heads"] = seconds
    table(
        "`lens` and `rank` over the whole vocabulary at every space, against the body and L+1 bare head products",
        "| model | bare s | raw lens + rank s | ratio | translated s | ratio | all five s | ratio |",
        lines,
    )


@torch.no_grad()
def bare_heads(model, encoded):
    """The least that any reading over the vocabulary must do: the body, and one head product a space."""
    head = model.anatomy.head
    for batch in padded(model, encoded):
        keep = batch.mask.bool()
        keep[:, -1] = False
        with model.anatomy.tap(lambda _space, states, keep=keep: head(model.anatomy.output_frame(states[keep]))):
            body(model, [batch])


def answers(options) -> None:
    """All that a trace of a task costs: 500 rows of trec on SmolLM2, as a user asks for it, in seconds of the CPU."""
    if not workloads.available(workloads.smollm2):
        print("### A whole trace\n\nSmolLM2 is not there: not measured.")
        return
    model, task = load("smollm2-trec")
    default_calibration(model, progress=False)  # from now on it is on disk
    encoded = encode(model, task, "train").take(np.arange(500))
    passed = padded(model, encoded)
    lines, spent = [], {}

    def spend(name, function):
        started = time.process_time()
        function()
        spent[name] = time.process_time() - started

    spend("forward", lambda: whole(model, passed))
    spend("body", lambda: body(model, passed))
    for detail in (0, 16):
        fresh = sv.load_model(workloads.SMOLLM2, dtype="float32")
        spend(f"detail={detail}", lambda m=fresh, d=detail: sv.trace(m, task, samples=500, detail=d, progress=False))
    for name, seconds in spent.items():
        ratios = f"{seconds / spent['forward']:.2f} | {seconds / spent['body']:.2f}"
        lines.append(f"| {name} | {seconds:.1f} | {ratios} |")
    head = "| what | CPU s | against forward | against the body and no head |"
    table("500 rows of trec on SmolLM2, all metrics, calibration from disk", head, lines)
    NUMBERS["answers"] = spent


def bases(options) -> None:
    """Semantic bases by one Cholesky factor against the pseudo-inverse."""
    weight = 0.02 * torch.randn(50_000, 768, generator=torch.Generator().manual_seed(0))
    some = torch.arange(0, 50_000, 782)
    todo = {
        "pinv": lambda: torch.linalg.pinv(weight),
        "all": lambda: SemanticBases(weight).unit_rows(),
        "some": lambda: SemanticBases(weight).rows(some),
    }
    seconds, grown = best(todo, 2), {key: peak(function) for key, function in todo.items()}
    exact = torch.linalg.pinv(weight.double()).T
    error = float((SemanticBases(weight).rows(some) - exact[some]).abs().max() / exact[some].abs().max())
    lines = [
        f"| {name} | {seconds[key]:.2f} | **{seconds['pinv'] / seconds[key]:.1f} ×** | {goal} | "
        f"{grown[key] / 1e6:.0f} |"
        for key, name, goal in (
            ("pinv", "`torch.linalg.pinv`", ""),
            ("all", "all rows", "≥ 1.5 ×"),
            ("some", "64 rows", "≥ 8 ×"),
        )
    ]
    table(
        f"Bases of a 50,000 × 768 head ({weight.nbytes / 1e6:.0f} MB); largest error {error:.0e} of the largest entry",
        "| what | seconds | faster | goal | extra MB |",
        lines,
    )
    NUMBERS["bases"] = seconds | {f"{key}_bytes": value for key, value in grown.items()} | {"error": error}


def memory(options) -> None:
    """100,000 samples through the demo LM, in a process of its own."""
    found = _alone("bench_trace.one_hundred_thousand()")
    table(
        "`sv.trace` over 100,000 samples of 32 tokens, demo LM, all metrics, answer positions",
        "| seconds | resident memory grows by, MB | goal | the trace itself, MB |",
        [f"| {found['seconds']:.0f} | **{found['grown'] / 1e6:.0f}** | < 300 | {found['trace'] / 1e6:.0f} |"],
    )
    NUMBERS["memory"] = found


def one_hundred_thousand(samples: int = 100_000) -> None:
    """Print what a large trace adds to a process that has the model and the texts."""
    model = sv.load_model()
    words = [t for t in model.tokenizer.get_vocab() if t.isalpha() and len(t) > 1]
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(words, 26)) for _ in range(samples)]
    labels = [("yes", "no")[i % 2] for i in range(len(texts))]
    task = sv.Task.from_texts(texts, labels, name="large", max_tokens=32)
    sv.trace(model, task, samples=200, progress=False)
    gc.collect()
    before, started = resident_bytes(), time.perf_counter()
    with PeakMemory() as found:
        trace = sv.trace(model, task, progress=False)
    held = sum(a.nbytes for a in (*trace.values.values(), trace.nearest, trace.top1))
    size = held + int(trace.positions.memory_usage(deep=True).sum())
    seconds = time.perf_counter() - started
    print(json.dumps({"seconds": seconds, "grown": found.bytes - before, "trace": size}))


def processes(options) -> None:
    """One process against two, one thread each."""
    seconds = {count: min(_launched(count) for _ in range(2)) for count in (1, 2)}
    table(
        "torchrun: the same trace by one process and by two, one thread each",
        "| one s | two s | faster | goal |",
        [f"| {seconds[1]:.1f} | {seconds[2]:.1f} | **{seconds[1] / seconds[2]:.2f} ×** | ≥ 1.6 × |"],
    )
    NUMBERS["processes"] = {str(key): value for key, value in seconds.items()}


def _launched(count: int) -> float:
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", str(count)]
    script = str(Path(__file__).with_name("share.py"))
    done = subprocess.run(
        [sys.executable, *launch, script], check=True, capture_output=True, text=True, env=_env(OMP_NUM_THREADS="1")
    )
    return float(done.stdout.splitlines()[-1])


def _alone(code: str, **extra: str):
    """Run code in a process of its own; what it prints last is JSON."""
    here, threads = str(Path(__file__).parent), torch.get_num_threads()
    before = f"import sys; sys.path[:0] = [{here!r}]; import bench_trace; bench_trace.workloads.threads({threads}); "
    done = subprocess.run(
        [sys.executable, "-c", before + code], check=True, stdout=subprocess.PIPE, text=True, env=_env(**extra)
    )
    return json.loads(done.stdout.splitlines()[-1])


def _env(**extra: str) -> dict[str, str]:
    return {**os.environ, "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", **extra}


def peers(options) -> None:
    """Cross-entropy and rank at every position and space, as tuned-lens and TransformerLens users get them."""
    counts = {workloads.gpt2_small: 8, workloads.smollm2: 2}
    for make in workloads.available(*counts):
        peers_of(make, counts[make], options.cache)


def peers_of(make, samples, cache) -> None:
    model = make()
    encoded = workloads.rows(model, samples=samples, tokens=64, where="next")
    found, lines = {}, []
    with tempfile.TemporaryDirectory() as folder:
        model.model.save_pretrained(folder)
        file = Path(folder) / "batches.npz"
        np.savez(file, ids=np.stack(encoded.ids).astype(np.int64)[None])
        for name in PEERS:
            out = Path(folder) / f"{name}.npz"
            threads = torch.get_num_threads()
            said = run_peer(name, model=Path(folder), batches=file, out=out, cache=cache, threads=threads)
            found[name] = said | dict(np.load(out))
    for keys in (("lens", "rank"), ("target",)):
        read(model, encoded, keys, readout="raw")  # as the peers read: through the model's own head
        seconds = best({"semviz": lambda k=keys: read(model, encoded, k, readout="raw")}, 3)["semviz"]
        call = f"extra_of_a_peers_work(bench_trace.workloads.{make.__name__}(), {samples}, {keys})"
        extra = _alone(f"print(bench_trace.{call})", **MALLOC)
        reducer = read(model, encoded, keys, readout="raw")
        NUMBERS[f"peers, {model.name}, {'+'.join(keys)}"] = {"seconds": seconds, "extra_bytes": extra}
        lines.append(f"| semviz `{'` + `'.join(keys)}` | {seconds:.2f} | | {extra / 1e6:.0f} | | |")
        for name, said in found.items():
            error = ""
            if "lens" in keys:
                own = reducer.values["lens"].reshape(samples, 63, -1)
                error = f"{np.nanmax(np.abs(own - said['ce'][0])):.0e}"
            lines.append(
                f"| {name} {said['version']} | {said['seconds']:.1f} | **{said['seconds'] / seconds:.1f} ×** | "
                f"{said['extra_bytes'] / 1e6:.0f} | {said['extra_bytes'] / extra:.0f} × | {error} |"
            )
            NUMBERS[f"{name}, {model.name}"] = {key: said[key] for key in ("seconds", "extra_bytes", "version")}
    table(
        f"{model.name}, {samples} × 64 tokens, every position and space, against the peers",
        "| who | seconds | semviz faster by | extra MB | semviz less by | largest difference, nats |",
        lines,
    )


def extra_of_a_peers_work(model, samples, keys) -> int:
    """Bytes that semviz adds while it does what the peers do."""
    encoded = workloads.rows(model, samples=samples, tokens=64, where="next")
    default_calibration(model, progress=False)
    return peak(lambda: read(model, encoded, keys, readout="raw"))


def gpu(options) -> None:
    """The light metrics on a random Llama of a billion parameters in bfloat16."""
    if not torch.cuda.is_available():
        print("### GPU\n\nNo GPU here: not measured.")
        return
    table(
        "Light metrics against plain forward passes on a GPU (bfloat16)",
        HEAD,
        forward_lines(workloads.llama_1b, 4096, options.repeat),
    )


if __name__ == "__main__":
    main()
