"""A JupyterLab (which serves Notebook 7 too) and a Voilà of the tests' own, and the kernels that they start."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
import psutil

KERNEL = "semviz-tests"
OLD_KERNEL = "semviz-tests-old"
MARK = "SEMVIZ_TEST_SERVER"

# Runs a module as -m does; on Linux (option 1 of prctl) it is told to end when the tests die without cleaning up.
LEASH = """
import ctypes, runpy, signal, sys
sys.argv.pop(0)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""

# What is run, and its options, in the file where it looks for them.
PROGRAMS = {"lab": "jupyterlab", "voila": "voila"}
FILES = {"lab": "jupyter_lab_config.json", "voila": "voila.json"}
LAB = {
    "ServerApp": {"open_browser": False, "port_retries": 0, "allow_root": True, "ip": "127.0.0.1"},
    "LabApp": {
        "check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "news_url": None,
        "expose_app_in_browser": True,
        "extension_manager": "readonly",
    },
    "JupyterNotebookApp": {"expose_app_in_browser": True},
}
VOILA = {"Voila": {"open_browser": False, "port_retries": 0, "ip": "127.0.0.1"}}
NO_NEWS = {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True}
QUIET = {
    "OMP_NUM_THREADS": "1",
    "GOMP_SPINCOUNT": "10000",
    "TQDM_DISABLE": "1",
    "HF_HUB_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}


@dataclass
class Server:
    """A running server: its address, its token, and the folder of notebooks that it serves."""

    name: str
    home: Path
    port: int = 0
    token: str = field(default_factory=lambda: secrets.token_hex(16))
    process: subprocess.Popen[bytes] | None = None

    @property
    def folder(self) -> Path:
        return self.home / "notebooks"

    @property
    def log(self) -> Path:
        return self.home / f"{self.name}.log"

    def url(self, path: str, **query: str) -> str:
        """The address of a page, with the token."""
        pairs = "&".join(
            key if value == "" else f"{key}={value}" for key, value in {**query, "token": self.token}.items()
        )
        return f"http://127.0.0.1:{self.port}/{path}?{pairs}"

    def ask(self, method: str, path: str) -> object:
        """One request to the server; its JSON, or None where it answers something else or nothing."""
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/{path}", method=method)
        request.add_header("Authorization", f"token {self.token}")
        # Never through a proxy that the environment names.
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            body = answer.read()
        try:
            return json.loads(body)
        except ValueError:
            return None

    def write(self, cells: list[str], *, name: str, kernel: str = KERNEL) -> str:
        """Write a notebook of code cells into the served folder; its file name."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell.strip()) for cell in cells])
        return self.place(notebook, name=name, kernel=kernel)

    def place(self, notebook: nbformat.NotebookNode, *, name: str, kernel: str = KERNEL) -> str:
        """Write a notebook as it is, but for a kernel of the tests; its file name."""
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel, "language": "python"}
        nbformat.write(notebook, self.folder / f"{name}.ipynb")
        return f"{name}.ipynb"

    def start(self, *, seconds: float = 60) -> None:
        """Start the program and wait until it answers.

        Raises:
            RuntimeError: It ended, or was silent for too long; with the end of its log.
        """
        program = [PROGRAMS[self.name], *([str(self.folder)] if self.name == "voila" else [])]
        # A free port may be taken between asking for it and using it.
        for _ in range(3):
            self.port = _free_port()
            _configure(self)
            with self.log.open("wb") as log:
                self.process = subprocess.Popen(
                    [sys.executable, "-c", LEASH, *program],
                    cwd=self.folder, env=_environment(self), stdin=subprocess.DEVNULL, stdout=log,
                    stderr=subprocess.STDOUT, start_new_session=True,
                )  # fmt: skip
            until = time.monotonic() + seconds
            while self.process.poll() is None and time.monotonic() < until:
                try:
                    self.ask("GET", "api/status" if self.name == "lab" else "voila/tree")
                except OSError:
                    time.sleep(0.1)
                else:
                    return
            ended = self.process.poll() is not None
            self.stop()
            if not ended:
                break
        raise RuntimeError(f"{self.name} did not start:\n{self.log.read_text(errors='replace')[-3000:]}")

    def stop(self) -> None:
        """End the server and all that it started: kindly first, then by force."""
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout=5)
        left = self.processes()
        for process in left:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(left, timeout=5)
        if self.process is not None:
            self.process.wait(timeout=5)

    def processes(self) -> list[psutil.Process]:
        """The server and its kernels that still run, found by a mark that they inherit (kernels leave its group)."""
        mine = []
        for process in psutil.process_iter():
            try:
                if process.environ().get(MARK) == self.token and process.status() != psutil.STATUS_ZOMBIE:
                    mine.append(process)
            except (psutil.NoSuchProcess, psutil.AccessDenied):
                continue
        return mine

    def end_kernels(self) -> None:
        """End all of JupyterLab's kernels."""
        sessions = self.ask("GET", "api/sessions")
        assert isinstance(sessions, list)
        for session in sessions:
            try:
                self.ask("DELETE", f"api/sessions/{session['id']}")
            except urllib.error.HTTPError as error:
                if error.code not in (404, 410):
                    raise


def old_kernel() -> str:
    """The folder with an old ipykernel, "" if none is named.

    `make test` makes it. It goes before the tests' own packages, so that the kernel is old and all else is what the
    other tests use.
    """
    return os.environ.get("SEMVIZ_OLD_KERNEL", "")


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _configure(server: Server) -> None:
    """Write the server's options, its settings and its kernels."""
    if server.name == "lab":
        options = {**LAB, "ServerApp": {**LAB["ServerApp"], "port": server.port, "root_dir": str(server.folder)}}
        options["IdentityProvider"] = {"token": server.token}
    else:
        options = {"Voila": {**VOILA["Voila"], "port": server.port, "token": server.token}}
    (server.home / "config").mkdir(parents=True, exist_ok=True)
    (server.home / "config" / FILES[server.name]).write_text(json.dumps(options))
    server.folder.mkdir(parents=True, exist_ok=True)
    settings = server.home / "config/lab/user-settings/@jupyterlab/apputils-extension"
    settings.mkdir(parents=True, exist_ok=True)
    (settings / "notification.jupyterlab-settings").write_text(json.dumps(NO_NEWS))
    for name, folder in {KERNEL: "", OLD_KERNEL: old_kernel()}.items():
        path = os.pathsep.join(part for part in (folder, os.environ.get("PYTHONPATH", "")) if part)
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"],
            "display_name": name,
            "language": "python",
            "env": {"PYTHONPATH": path} if path else {},
        }
        place = server.home / "data/kernels" / name
        place.mkdir(parents=True, exist_ok=True)
        (place / "kernel.json").write_text(json.dumps(spec))


def _environment(server: Server) -> dict[str, str]:
    """The tests' environment, with nothing of the person's Jupyter in it."""
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("JUPYTER", "IPYTHON", "XDG_"))}
    places = {
        "HOME": "home",
        "JUPYTER_CONFIG_DIR": "config",
        "JUPYTER_DATA_DIR": "data",
        "JUPYTER_RUNTIME_DIR": "runtime",
        "IPYTHONDIR": "ipython",
    }
    for folder in places.values():
        (server.home / folder).mkdir(parents=True, exist_ok=True)
    return {
        **kept,
        **QUIET,
        **{key: str(server.home / folder) for key, folder in places.items()},
        "JUPYTER_PREFER_ENV_PATH": "0",
        MARK: server.token,
    }
