"""Files that we write: permissions, links, strange mounts, long names, leftovers of killed processes, URLs."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from made import made_trace
from safetensors.torch import save_file

import semviz as sv
from semviz.common import files
from semviz.common.checks import as_path
from semviz.common.errors import SemvizError
from semviz.common.files import atomic_write, temporary_folder, write_text_file

posix = pytest.mark.skipif(os.name != "posix", reason="permissions and links of POSIX")


def mode_of(path):
    return stat.S_IMODE(os.stat(path).st_mode)


@pytest.fixture
def umask():
    before = os.umask(0)
    yield os.umask
    os.umask(before)


@posix
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o077, 0o600), (0o027, 0o640), (0o002, 0o664)])
@pytest.mark.brings(
    "Files",
    "a umask",
    "is kept, so texts on a shared server stay private",
)
def test_a_new_file_follows_the_umask(tmp_path, umask, mask, mode):
    umask(mask)
    assert mode_of(write_text_file(tmp_path / "a.txt", "x")) == mode


@posix
@pytest.mark.parametrize(("mask", "mode"), [(0o022, 0o644), (0o027, 0o640)])
def test_so_do_weights_for_which_safetensors_makes_a_private_file(tmp_path, umask, mask, mode):
    umask(mask)
    path = tmp_path / "a.safetensors"
    with atomic_write(path) as temporary:
        save_file({"a": torch.zeros(2)}, temporary)
    assert mode_of(path) == mode
    path.chmod(0o604)
    with atomic_write(path) as temporary:
        save_file({"a": torch.ones(2)}, temporary)
    assert mode_of(path) == 0o604


@posix
@pytest.mark.parametrize("mode", [0o600, 0o640, 0o444, 0o755])
def test_a_file_that_is_replaced_keeps_its_permissions(tmp_path, mode):
    path = tmp_path / "a.txt"
    path.write_text("old")
    path.chmod(mode)
    write_text_file(path, "new")
    assert (path.read_text(), mode_of(path)) == ("new", mode)


@posix
@pytest.mark.parametrize("exists", [True, False])
@pytest.mark.parametrize("relative", [True, False])
@pytest.mark.brings(
    "Files",
    "a link to a file",
    "stays a link; what it leads to is replaced",
)
def test_links_stay_links(tmp_path, exists, relative):
    (tmp_path / "elsewhere").mkdir()
    real, link = tmp_path / "elsewhere" / "real.txt", tmp_path / "link.txt"
    if exists:
        real.write_text("old")
    link.symlink_to("elsewhere/real.txt" if relative else real)
    write_text_file(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"
    assert {p.name for p in tmp_path.rglob("*")} == {"elsewhere", "real.txt", "link.txt"}


@posix
def test_a_link_into_nothing_and_one_in_a_circle(tmp_path):
    for name, target in {"a": "missing/b", "c": "c"}.items():
        (tmp_path / name).symlink_to(target)
        with pytest.raises(SemvizError, match="writable folder"):
            write_text_file(tmp_path / name, "x")
        assert (tmp_path / name).is_symlink()


@pytest.mark.parametrize("call", ["fsync", "chmod", "flock"])
@pytest.mark.parametrize("code", [errno.EPERM, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.EROFS])
@pytest.mark.brings(
    "Files",
    "a mount without `chmod` or `fsync`",
    "writes all the same",
)
def test_what_a_mount_refuses_loses_nothing(tmp_path, monkeypatch, call, code):
    def refuse(*_args):
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(*((files._locks, "flock") if call == "flock" else (os, call)), refuse)
    path = tmp_path / "a.txt"
    for text in ("first", "second"):
        write_text_file(path, text)
        assert path.read_text() == text
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO])
def test_what_did_not_reach_the_disk_is_told(tmp_path, monkeypatch, code):
    path = write_text_file(tmp_path / "a.txt", "old")
    monkeypatch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(code, os.strerror(code))))
    with pytest.raises(SemvizError, match="Cannot write"):
        write_text_file(path, "new")
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("name", ["a" * 255, "é" * 127, "a" * 250 + ".json", "😀" * 63])
@pytest.mark.brings(
    "Files",
    "names as long as the system allows",
    "writes them",
)
def test_names_up_to_the_systems_limit(tmp_path, name):
    assert write_text_file(tmp_path / name, "x").read_text() == "x"
    assert os.listdir(tmp_path) == [name]


def test_a_name_beyond_it_is_told(tmp_path):
    with pytest.raises(SemvizError, match="a name of more than 255 bytes"):
        write_text_file(tmp_path / ("a" * 256), "x")
    assert not os.listdir(tmp_path)


KILLED = """
import os, signal, sys
from semviz.common.files import atomic_write, temporary_folder
folder = temporary_folder("states")
open(os.path.join(folder.name, "large"), "wb").write(b"x" * 1000)
with atomic_write(sys.argv[1]) as path:
    open(path, "w").write("half")
    if sys.argv[2] == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    print("ready", flush=True)
    sys.stdin.read()
"""


def older(root, seconds):
    for path in root.rglob("*"):
        os.utime(path, (time.time() - seconds,) * 2, follow_symlinks=False)


@pytest.fixture
def process(tmp_path, monkeypatch):
    """Another process that writes `out/a.txt` and has a temporary folder; and a clean memory of what was cleared."""
    for name in ("temporary", "out"):
        (tmp_path / name).mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "temporary"))
    environment = {**os.environ, "TMPDIR": str(tmp_path / "temporary")}
    files._remove_abandoned_folders.cache_clear()

    def start(how):
        command = [sys.executable, "-c", KILLED, str(tmp_path / "out" / "a.txt"), how]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(command, env=environment, cwd=Path(sv.__file__).parents[1], **pipes)

    yield start
    files._remove_abandoned_folders.cache_clear()


@posix
@pytest.mark.brings(
    "Files",
    "what a killed kernel left",
    "clears it with the next",
)
def test_the_next_process_clears_what_a_killed_one_left(tmp_path, process):
    process("kill").wait()
    assert len(os.listdir(tmp_path / "out")) == len(os.listdir(tmp_path / "temporary")) == 1
    older(tmp_path, 120)
    with temporary_folder("mine") as mine:
        write_text_file(tmp_path / "out" / "b.txt", "x")
        assert os.listdir(tmp_path / "temporary") == [Path(mine).name]
    assert os.listdir(tmp_path / "out") == ["b.txt"]


@posix
def test_what_a_living_process_uses_is_left_alone(tmp_path, process):
    other = process("live")
    assert other.stdout.readline() == b"ready\n"
    before = os.listdir(tmp_path / "temporary")
    older(tmp_path, 1_000_000)  # it may compute for days
    with temporary_folder("mine"):
        write_text_file(tmp_path / "out" / "b.txt", "x")
        assert set(before) < set(os.listdir(tmp_path / "temporary"))
    other.communicate(b"")
    assert (tmp_path / "out" / "a.txt").read_text() == "half"
    assert not os.listdir(tmp_path / "temporary")


@posix
def test_other_programs_files_are_left_alone(tmp_path, process):
    (tmp_path / "temporary" / "semviz-notes").mkdir()
    (tmp_path / "out" / ".hidden").write_text("mine")
    older(tmp_path, 1_000_000)
    with temporary_folder("mine"), atomic_write(tmp_path / "out" / "b.txt") as name:
        Path(name).write_text("x")
    assert sorted(os.listdir(tmp_path / "out")) == [".hidden", "b.txt"]
    assert os.listdir(tmp_path / "temporary") == ["semviz-notes"]


URLS = [
    "https://example.org/runs",
    "http://user:hunter2@example.org/a.parquet",
    "HTTPS://EXAMPLE.ORG/a",
    "s3://bucket/a.parquet",
    "gs://bucket/a",
    "hf://datasets/a/b.csv",
    "file:///tmp/a",
    "ftp://example.org/a",
    Path("https://example.org/runs"),
    Path("s3://bucket/key"),
]


@pytest.mark.parametrize("url", URLS, ids=str)
@pytest.mark.parametrize(
    "use",
    [
        lambda url, trace: as_path("path", url),
        lambda url, trace: sv.Trace.load(url),
        lambda url, trace: trace.save(url),
        lambda url, trace: sv.load_model(url),
    ],
    ids=["path", "load", "save", "model"],
)
@pytest.mark.brings(
    "Files",
    "a URL where a path belongs",
    "refuses it, and makes no request",
)
def test_a_url_makes_no_request_and_no_folder(tmp_path, monkeypatch, url, use):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("socket.socket.connect", lambda *_: pytest.fail("a request"))
    with pytest.raises(SemvizError, match="URL") as refused:
        use(url, made_trace([3.0, 2.0, 1.0]))
    assert "hunter2" not in str(refused.value)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("path", ["C:/Users/a", "C:\\a", "a:b", "./a", "a/b:c/d", "notes: one"])
def test_paths_with_colons_are_paths(path):
    assert as_path("path", path) == Path(path)
