"""One virtual environment for each peer, outside the repository, and the peers' scripts run in them."""

from __future__ import annotations

import json
import os
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
# For memory only. By default glibc raises this threshold to 32 MB as blocks are freed, and takes the next ones from a
# heap that it may be unable to give back: TransformerLens' `logit_lens` took from 0.7 to 3.9 GB, by chance, and 0.6 GB
# with this. Not for time: with it the same call takes about a quarter longer. What is compared with a peer needs the
# same two runs.
MALLOC = {"MALLOC_MMAP_THRESHOLD_": str(2**20)}
CACHE = Path(os.environ.get("XDG_CACHE_HOME", "~/.cache")).expanduser() / "semviz-bench"


class PeerError(RuntimeError):
    """A peer's environment could not be made, or its script failed."""


@dataclass(frozen=True)
class Peer:
    """A script, and the environment that it runs in.

    Attributes:
        package: Names the environment and its requirements file.
        script: File name of the script.
        arguments: What this way of using the package adds to the script's command line.
    """

    package: str
    script: str
    arguments: tuple[str, ...] = ()


PEERS = {
    "tuned_lens": Peer("tuned_lens", "run_tuned_lens.py"),
    "transformer_lens": Peer("transformer_lens", "run_transformer_lens.py"),
    "transformer_lens_logit_lens": Peer("transformer_lens", "run_transformer_lens.py", ("--way", "logit_lens")),
}


def make_environment(package: str, cache: Path = CACHE) -> Path:
    """Make the environment of a package if it is missing or was made from other requirements.

    Args:
        package: `tuned_lens` or `transformer_lens`.
        cache: Folder for the environments, each about 1.6 GB.

    Returns:
        The environment's python.

    Raises:
        PeerError: If the environment cannot be made, with the end of what pip said.
    """
    requirements = HERE / f"requirements_{package}.txt"
    wanted = requirements.read_text()
    folder = cache.expanduser().absolute() / package
    python = folder / "bin" / "python"
    # Written last: an environment that was left half made lacks it.
    made = folder / "made-from.txt"
    if python.exists() and made.exists() and made.read_text() == wanted:
        return python
    torch = next(line for line in wanted.splitlines() if line.startswith("torch=="))
    try:
        venv.create(folder, clear=True, with_pip=True)
        # torch first and on its own: asked for through another package, pip may take a build of several gigabytes.
        for what in ([torch], ["-r", str(requirements)]):
            pip = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *what]
            subprocess.run(pip, check=True, capture_output=True, text=True, env=_variables())
    except (OSError, subprocess.CalledProcessError) as error:
        raise PeerError(f"cannot make the environment of {package} in {folder}: {error}\n{_said(error)}") from error
    made.write_text(wanted)
    return python


def run_peer(
    name: str, *, model: Path, batches: Path, out: Path, cache: Path = CACHE, threads: int = 2, repeat: int = 1
) -> dict[str, Any]:
    """Have a peer compute cross-entropies and ranks; makes its environment if it is missing.

    The script runs twice: with `MALLOC` for memory, and without for time and numbers.

    Args:
        name: One of `PEERS`.
        model: A `save_pretrained` folder.
        batches: An `.npz` file with `ids`, int64, shape (batches, B, T), no padding.
        out: The `.npz` file to write: `ce` and `rank`, float32, shape (batches, B, T-1, L+1).
        cache: Folder for the environments.
        threads: Threads of torch.
        repeat: Passes over all batches; the fastest counts.

    Returns:
        What the script says in the run for time: `peer`, `version`, `seconds`, `per_layer_order` and more; but the
        `extra_bytes` of the run for memory, and as `extra_bytes_default_malloc` those of the run for time.

    Raises:
        PeerError: If the environment cannot be made or the script fails.
    """
    peer = PEERS[name]
    python = make_environment(peer.package, cache)
    command = [str(python), str(HERE / peer.script), *peer.arguments]
    for option, value in {"model": model, "batches": batches, "out": out, "threads": threads}.items():
        command += [f"--{option}", str(value)]
    memory = _run(name, command, MALLOC)
    said = _run(name, [*command, "--repeat", str(repeat)], {})
    return said | {"extra_bytes": memory["extra_bytes"], "extra_bytes_default_malloc": said["extra_bytes"]}


def _run(name: str, command: list[str], more: dict[str, str]) -> dict[str, Any]:
    """What a script says on its last line, run with more environment variables."""
    ran = subprocess.run(command, capture_output=True, text=True, env=_variables() | more)
    if ran.returncode:
        raise PeerError(f"{name} failed with exit status {ran.returncode}\n{ran.stderr[-2000:]}")
    return json.loads(ran.stdout.splitlines()[-1])


def _variables() -> dict[str, str]:
    """This process's environment variables, less those that let its packages in or tell malloc what to do."""
    left_out = {"PYTHONPATH", "PYTHONHOME", *MALLOC}
    return {name: value for name, value in os.environ.items() if name not in left_out}


def _said(error: Exception) -> str:
    """The end of what a failed process said."""
    if not isinstance(error, subprocess.CalledProcessError):
        return ""
    # ensurepip speaks bytes on stdout, pip text on stderr.
    said = error.stderr or error.stdout or ""
    return (said.decode(errors="replace") if isinstance(said, bytes) else said)[-2000:]
