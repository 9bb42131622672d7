"""One run of a sweep as a job for any executor: trained where it lands, and written into the shared store."""

from __future__ import annotations

import os
import socket
import threading
import time
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from semviz.common import checks
from semviz.common.errors import Cancelled, ModelError, SemvizError
from semviz.common.progress import Control
from semviz.common.training_methods import ConfiguredMethod
from semviz.experiments.claims import claimed
from semviz.experiments.run_store import Store
from semviz.finetuning.encoded_task import EncodedTask
from semviz.finetuning.finetune import train_scope
from semviz.finetuning.recipe import Recipe
from semviz.lm.copies import HALF
from semviz.lm.model import LanguageModel, load_model
from semviz.lm.origin import Origin
from semviz.lm.quantization import is_rounded
from semviz.scopes.methods import METHODS
from semviz.scopes.scope import Scope
from semviz.tasks.task import Task
from semviz.version import __version__

JOBS = "jobs"
"""Folder in the store for what workers and callers tell each other."""
_LOOK = 0.5  # seconds between looks for the signal
_PATIENCE = 5.0  # seconds in which a file may come to be seen on another machine


@dataclass(frozen=True)
class Job:
    """What a worker needs for one run.

    Attributes:
        origin: Where the model comes from.
        model_name: Its name in tables.
        model_hash, weights_hash: What it has to be.
        task, scope, recipe: What is trained.
        key: The run's.
        store: Folder that all machines see.
        keep_weights: Whether the trained weights are stored too.
        signal: A file in the store; once it is gone, the job stops.
        version: semviz' where the sweep was asked for.
    """

    origin: Origin
    model_name: str
    model_hash: str
    weights_hash: str
    task: Task
    scope: Scope
    recipe: Recipe
    key: str
    store: str
    keep_weights: bool
    signal: str
    version: str = __version__


@dataclass(frozen=True)
class Done:
    """What came of a job.

    Attributes:
        outcome: `"stored"`; `"stopped"`, since its signal is not there; `"refused"`, with a `SemvizError`'s message; or
            `"failed"`.
        host: The machine.
        message: What is wrong, in words.
        trace: Where it failed, as Python prints it.
    """

    outcome: Literal["stored", "stopped", "refused", "failed"]
    host: str
    message: str = ""
    trace: str = ""


def run_job(job: Job) -> Done:
    """Train a run and write it into the store, unless it is there; one training at a time in a process.

    Errors are returned, since not every executor brings an exception back as it was.
    """
    control, host = _Signal(job.signal), socket.gethostname()
    try:
        with _turn(control):
            control.wait_for_it()
            _train(job, control)
        return Done("stored", host)
    except Cancelled:
        return Done("stopped", host)
    except SemvizError as error:
        return Done("refused", host, str(error))
    except Exception as error:
        message = f"{type(error).__name__}: {checks.first_line(error)}"
        return Done("failed", host, message, traceback.format_exc())


def _train(job: Job, control: Control) -> None:
    if job.version != __version__:
        raise SemvizError(
            f"The worker on {socket.gethostname()} has semviz {__version__} and the sweep was asked for with "
            f"{job.version}; install the same version there."
        )
    if job.recipe.method not in METHODS and not isinstance(job.recipe.method, ConfiguredMethod):
        raise SemvizError(
            f"The worker on {socket.gethostname()} knows no method {job.recipe.method!r}; register it in a module that "
            "workers import, such as by the pool's initializer."
        )
    store = Store(job.store, weights=job.keep_weights)
    folder = Path(job.store, JOBS)
    with claimed(folder, job.key, is_done=lambda: store.has(job.key), check=control.check) as is_left:
        if not is_left:
            return
        encoded = _encoded_task(job, control)
        run = train_scope(
            encoded, job.scope, job.recipe, keep_weights=job.keep_weights, control=control, progress=False
        )
        # Devices round differently, and so does a hash in half precision: the run is that of the model asked for.
        store.add(replace(run, key=job.key, model_name=job.model_name, model_hash=job.model_hash))


class _Signal(Control):
    """A control that stops a job once a file is gone, looked for not too often."""

    def __init__(self, path: str) -> None:
        super().__init__()
        self._path, self._is_gone, self._looked = path, False, 0.0

    @property
    def cancelled(self) -> bool:
        """Whether the file is gone."""
        if not self._is_gone and time.monotonic() - self._looked >= _LOOK:
            self._looked, self._is_gone = time.monotonic(), not self._is_there()
        return self._is_gone

    def check(self) -> None:
        """Raise `Cancelled` if the file is gone."""
        if self.cancelled:
            raise Cancelled("Cancelled before the end; the model is as before, and finished runs are in the store.")

    def wait_for_it(self) -> None:
        """Raise `Cancelled` if the file does not come to be seen soon: a mount may take a while."""
        began = time.monotonic()
        while not self._is_there():
            if time.monotonic() - began > _PATIENCE:
                raise Cancelled("The job's signal is not there.")
            time.sleep(_LOOK)

    def _is_there(self) -> bool:
        try:
            os.stat(self._path)
        except FileNotFoundError:
            return False
        except OSError:  # a mount that cannot answer has not said that it is gone
            pass
        return True


# What a process has loaded: one model, and the task as it reads it, with its cached prefixes.
_TURN = threading.Lock()
_LENT: dict[str, LanguageModel] = {}
_LOADED: dict[str, LanguageModel] = {}
_ENCODED: dict[tuple[str, str], EncodedTask] = {}


@contextmanager
def _turn(control: Control) -> Iterator[None]:
    while not _TURN.acquire(timeout=_LOOK):
        control.check()
    try:
        yield
    finally:
        _TURN.release()


@contextmanager
def lent(model: LanguageModel, model_hash: str) -> Iterator[None]:
    """Let jobs in threads of this process use the caller's model instead of loading it again."""
    _LENT[model_hash] = model
    try:
        yield
    finally:
        with _TURN:  # a job that has not stopped yet
            _LENT.pop(model_hash, None)
            _ENCODED.clear()


def _encoded_task(job: Job, control: Control) -> EncodedTask:
    model, place = _model(job), (job.model_hash, job.task.hash)
    if place not in _ENCODED:
        _ENCODED.clear()
        _ENCODED[place] = EncodedTask(model, job.task, progress=False)
    encoded = _ENCODED[place]
    encoded.control = control
    return encoded


def _model(job: Job) -> LanguageModel:
    """The model, loaded once in a process.

    Raises:
        ModelError: If what lies there is another one.
    """
    known = _LENT.get(job.model_hash) or _LOADED.get(job.model_hash)
    if known is not None:
        return known
    _LOADED.clear()
    _ENCODED.clear()
    arguments: dict[str, Any] = dict(job.origin.arguments)
    model = load_model(**arguments)
    place = checks.short_repr(arguments.get("source", "demo"))
    is_near = model.model.dtype in HALF or is_rounded(model.model)
    if model.hash != job.model_hash and not (is_near and model.weights_hash == job.weights_hash):
        raise ModelError(
            f"What the worker on {socket.gethostname()} loads from {place} is another model than the sweep's: weights, "
            "adapters, hooks or patches were changed after it was loaded, or its files there differ. Save the model as "
            "it is, and pass load_model(its folder)."
        )
    _LOADED[job.model_hash] = model
    return model
