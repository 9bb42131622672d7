"""Binder: what repo2docker makes of `binder/`, and a session in an environment of exactly what is listed there.

No container engine is needed. The second part installs and runs for minutes, so it waits for SEMVIZ_BINDER=1, which
`make binder` sets.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psutil
import pytest

import semviz as sv

ROOT = Path(__file__).parents[1]
BINDER = ROOT / "binder"
LIMIT = 2 * 1024**3  # what mybinder.org allows
GOAL = 1.5e9  # what we want of it
SLOW = pytest.mark.skipif(os.environ.get("SEMVIZ_BINDER", "0") in ("", "0"), reason="installs for minutes: make binder")


def pins(path):
    """Package to version, of lines like `torch==2.13.0`."""
    return dict(re.findall(r"^([\w.-]+)==([\w.]+)", path.read_text(), flags=re.MULTILINE))


def test_repo2docker_takes_the_python_buildpack_and_all_four_files(tmp_path, monkeypatch):
    from repo2docker.app import Repo2Docker

    tool = Path(sys.executable).with_name("jupyter-repo2docker")
    # What is at the top of the repository could be read instead of binder/, so it is there too.
    shutil.copytree(BINDER, tmp_path / "binder")
    for file in ("pyproject.toml", "constraints.txt", "Makefile"):
        shutil.copy2(ROOT / file, tmp_path)
    monkeypatch.chdir(tmp_path)
    app = Repo2Docker()
    first = next(pack for pack in app.buildpacks if pack(base_image=app.base_image).detect())
    assert first.__name__ == "PythonBuildPack"
    done = subprocess.run([tool, "--no-build", "--debug", str(tmp_path)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr[-2000:]
    said = done.stdout + done.stderr
    assert 'pip install --no-cache-dir -r "binder/requirements.txt"' in said
    version = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    assert re.search(rf"environment-2epy-2d{version.replace('.', '-2e')}-2dlinux", said), version
    assert "RUN ./binder/postBuild" in said
    assert 'R2D_ENTRYPOINT="${REPO_DIR}/binder/start"' in said
    # The constraints and the package itself lie outside binder/: they must be there before pip runs.
    assert said.index("COPY --chown=0:0 src/ ") < said.index("pip install --no-cache-dir -r")


def test_torch_is_the_pinned_one_built_for_processors():
    listed = (BINDER / "requirements.txt").read_text()
    assert f"torch=={pins(ROOT / 'constraints.txt')['torch']}+cpu" in listed
    assert "-c ../constraints.txt" in listed
    assert "--extra-index-url https://download.pytorch.org/whl/cpu" in listed


@pytest.mark.parametrize(
    ("limit", "threads"), [("1.0", "1"), ("0.5", "1"), ("2", "2"), ("3.7", "3"), ("", "unset"), (None, "unset")]
)
def test_a_session_computes_on_as_many_threads_as_it_may_use(limit, threads):
    environ = {key: value for key, value in os.environ.items() if key not in ("CPU_LIMIT", "OMP_NUM_THREADS")}
    if limit is not None:
        environ["CPU_LIMIT"] = limit
    done = subprocess.run(
        ["bash", BINDER / "start", "sh", "-c", "echo ${OMP_NUM_THREADS-unset}"],
        env=environ, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == threads


def badges():
    """Every address of mybinder.org in README and notebooks, with the file that has it."""
    pages = [ROOT / "README.md", *sorted((ROOT / "notebooks").rglob("*.md")), *sorted(ROOT.glob("notebooks/*.ipynb"))]
    return [
        (page, url) for page in pages for url in re.findall(r"https://mybinder\.org/v2/[^)\"\s\\]+", page.read_text())
    ]


def test_badges_open_a_tag_and_files_that_are_there():
    found = badges()
    opened = set()
    for page, url in found:
        parts = urlsplit(url)
        assert parts.path.endswith(f"/v{sv.__version__}"), f"{page.name}: a badge opens the released tag: {url}"
        (path,) = parse_qs(parts.query)["urlpath"]
        kind, _, file = re.fullmatch(r"(lab/tree|voila/render)(/)(.*)", path).groups()
        assert (ROOT / file).is_file(), f"{page.name}: {url}"
        opened.add((kind, file))
    assert len({urlsplit(url).path for _, url in found}) == 1, "one repository, one tag"
    assert {("lab/tree", "notebooks/01_tour.ipynb"), ("voila/render", "notebooks/explorer.ipynb")} <= opened


class Peak(threading.Thread):
    """Watches the memory of processes and all that they start."""

    def __init__(self, *processes: int) -> None:
        super().__init__(daemon=True)
        self.processes, self.bytes, self.ended = [psutil.Process(pid) for pid in processes], 0, threading.Event()

    def run(self) -> None:
        while not self.ended.wait(0.1):
            total = 0
            for top in self.processes:
                try:
                    for each in (top, *top.children(recursive=True)):
                        total += _own(each)
                except psutil.NoSuchProcess:
                    continue
            self.bytes = max(self.bytes, total)


def _own(process: psutil.Process) -> int:
    """What a container counts: pages that processes share count once, where the system knows (on Linux)."""
    try:
        return process.memory_full_info().pss
    except AttributeError:
        return process.memory_info().rss


@SLOW
def test_what_binder_lists_installs_and_runs_the_tour_within_a_sessions_memory(tmp_path):
    repo, venv = tmp_path / "repo", tmp_path / "venv"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    for name in filter(None, listed.stdout.split("\0")):
        if (ROOT / name).is_file():
            (repo / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, repo / name)
    # As listed, but for torch's index and its local version: here torch comes from where the tests have it from.
    requirements = repo / "binder" / "requirements.txt"
    lines = [line.replace("+cpu", "") for line in requirements.read_text().splitlines()]
    requirements.write_text("\n".join(line for line in lines if not line.startswith("--extra-index-url")))
    version = (BINDER / "runtime.txt").read_text().strip().removeprefix("python-")
    assert version == f"{sys.version_info.major}.{sys.version_info.minor}", "run this with Binder's Python"
    subprocess.run([sys.executable, "-m", "venv", venv], check=True)
    pip = [venv / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "-r", "binder/requirements.txt"], cwd=repo, check=True, timeout=900)
    subprocess.run([venv / "bin/python", "-m", "pip", "check"], check=True)
    installed = json.loads(
        subprocess.run(
            [venv / "bin/python", "-m", "pip", "list", "--format", "json"], capture_output=True, text=True, check=True
        ).stdout
    )
    pinned = {name.lower().replace("_", "-"): v for name, v in pins(ROOT / "constraints.txt").items()}
    for package in installed:
        name = package["name"].lower().replace("_", "-")
        if name not in ("pip", "setuptools", "semviz"):
            assert pinned[name] == package["version"].removesuffix("+cpu"), f"{name} is not pinned"

    environ = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("JUPYTER", "PYTHON", "VIRTUAL", "OMP"))},
        "PATH": f"{venv / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path / "home"),
        "MEM_LIMIT": str(LIMIT),
        "CPU_LIMIT": "1.0",
        "HF_HUB_OFFLINE": "1",
    }
    (tmp_path / "home").mkdir()
    subprocess.run(["bash", "binder/postBuild"], cwd=repo, env=environ, check=True, timeout=300)
    # The server that a visitor has, and the tour in a kernel beside it.
    lab = ["bash", "binder/start", "jupyter", "lab", "--no-browser", "--allow-root", "--port=0", "--ServerApp.token=x"]
    tour = ["bash", "binder/start", "jupyter", "nbconvert", "--to", "notebook", "--execute", "--stdout"]
    began = time.monotonic()
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with (
        subprocess.Popen(lab, cwd=repo, env=environ, **quiet) as server,
        (tmp_path / "tour.ipynb").open("wb") as out,
        subprocess.Popen([*tour, "notebooks/01_tour.ipynb"], cwd=repo, env=environ, stdout=out) as running,
    ):
        peak = Peak(server.pid, running.pid)
        peak.start()
        try:
            assert running.wait(600) == 0
            assert server.poll() is None, "JupyterLab ended"
        finally:
            peak.ended.set()
            running.kill()
            server.terminate()
    ran = [cell for cell in json.loads((tmp_path / "tour.ipynb").read_text())["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in ran)
    print(f"\nthe tour: {time.monotonic() - began:.0f} s, the session's peak: {peak.bytes / 1e6:.0f} MB")
    assert 3e8 < peak.bytes < GOAL
