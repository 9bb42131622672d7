"""Fixtures: a tiny model and two tiny tasks."""

from __future__ import annotations

import atexit
import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

# Read when the libraries are imported, below: the same quiet and offline surroundings however pytest is started.
os.environ.update(
    # What is kept on disk between sessions is kept for this one only: each process has a folder of its own.
    SEMVIZ_CACHE=tempfile.mkdtemp(prefix="semviz-tests-"),
    TQDM_DISABLE="1",
    HF_HUB_DISABLE_PROGRESS_BARS="1",
    HF_HUB_OFFLINE="1",
    TOKENIZERS_PARALLELISM="false",
)

import pytest
import torch
from small import mood_task, plain_text, tiny_llama, word_tokenizer

import semviz as sv

torch.set_num_threads(1)
atexit.register(shutil.rmtree, os.environ["SEMVIZ_CACHE"], ignore_errors=True)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Take what the libraries have made out of garbage collection.

    Every finetune ends in accelerate's `gc.collect()`, which would look at all of it again: most of a tiny run's time.
    """
    import ipywidgets  # noqa: F401
    import peft  # noqa: F401
    import plotly.graph_objects  # noqa: F401

    import semviz.finetuning.finetune  # noqa: F401

    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Give a process whole files, so that what a file makes once is made once, and all browser tests to one process.

    In the order of collection: `make test` names the notebooks first, since a long one that starts last is waited for.
    """
    from xdist.scheduler import LoadFileScheduling

    class ByFile(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return "tests/browser" if nodeid.startswith("tests/browser/") else super()._split_scope(nodeid)

    config.option.loadscopereorder = False
    return ByFile(config, log)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory) -> Path:
    """The tiny model as save_pretrained leaves it."""
    folder = tmp_path_factory.mktemp("models") / "tiny"
    tiny_llama().save_pretrained(folder)
    word_tokenizer().save_pretrained(folder)
    return folder


@pytest.fixture
def tiny() -> sv.LanguageModel:
    """A fresh tiny model."""
    return sv.load_model((tiny_llama(), word_tokenizer()), general_text=plain_text())


@pytest.fixture
def mood() -> sv.Task:
    """A task that one sentence decides: good things are liked."""
    return mood_task()


@pytest.fixture
def stories() -> sv.Task:
    """Next-token prediction on ragged texts."""
    texts = [" ".join(line.split()[: 4 + i % 8]) for i, line in enumerate(plain_text(40))]
    return sv.Task.from_texts(texts, name="tiny stories")


@pytest.fixture
def study(tiny: sv.LanguageModel, mood: sv.Task, tmp_path: Path) -> Iterator[sv.Study]:
    """A study of both."""
    made = sv.Study(tiny, mood, store=tmp_path / "runs", progress=False)
    yield made
    made.close()


@pytest.fixture
def heard(study: sv.Study) -> list[str]:
    """The words that the study tells."""
    changes: list[str] = []
    study.observe(changes.append)
    return changes
