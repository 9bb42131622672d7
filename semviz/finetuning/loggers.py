"""Loggers that Trainer reports to: whether they can be used, where they write, and a run in them for each training."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from transformers.integrations.integration_utils import get_reporting_integration_callbacks

from semviz.common import checks
from semviz.common.errors import SemvizError

if TYPE_CHECKING:
    from transformers import Trainer

# Modules of each, any of which will do, and what pip calls them where that is another name.
_MODULES = {
    "azure_ml": ("azureml",),
    "clearml": ("clearml",),
    "codecarbon": ("codecarbon",),
    "comet_ml": ("comet_ml",),
    "dagshub": ("dagshub",),
    "dvclive": ("dvclive",),
    "flyte": ("flytekit",),
    "kubeflow": ("kubeflow",),
    "mlflow": ("mlflow",),
    "neptune": ("neptune",),
    "swanlab": ("swanlab",),
    "tensorboard": ("tensorboard", "tensorboardX"),
    "trackio": ("trackio",),
    "wandb": ("wandb",),
}
_PIP = {"azure_ml": "azureml-sdk", "comet_ml": "comet-ml", "flyte": "flytekit"}
# Where those that write files do so, by the environment variable that says it; a variable of the user's stays.
_PLACES = {
    "tensorboard": {"TENSORBOARD_LOGGING_DIR": "{folder}/tensorboard/{name}"},
    "mlflow": {"MLFLOW_TRACKING_URI": "sqlite:///{folder}/mlflow.db", "MLFLOW_DISABLE_TELEMETRY": "true"},
    "trackio": {"TRACKIO_DIR": "{folder}/trackio"},
    "wandb": {"WANDB_DIR": "{folder}", "WANDB_DATA_DIR": "{folder}/wandb", "WANDB_CACHE_DIR": "{folder}/wandb"},
}
# Variables by which loggers would send weights away.
_UPLOADS = {
    "wandb": ("WANDB_LOG_MODEL",),
    "mlflow": ("HF_MLFLOW_LOG_ARTIFACTS",),
    "trackio": ("TRACKIO_SPACE_ID", "TRACKIO_BUCKET_ID"),
}
_BOARD = "TENSORBOARD_LOGGING_DIR"
_OFF = ("", "0", "false", "no", "off")


def loggers_of(arguments: Mapping[str, Any]) -> list[str]:
    """Names of the loggers that are asked for.

    Raises:
        SemvizError: If one is unknown.
    """
    given = arguments.get("report_to")
    names = [given] if isinstance(given, str) else checks.as_list("report_to", given or [], 'a name such as "wandb"')
    if names == ["all"]:
        return [name for name, modules in _MODULES.items() if _is_installed(modules)]
    return [checks.one_of("report_to", name, [*_MODULES, "none"]) for name in names if name != "none"]


def check_loggers(arguments: Mapping[str, Any]) -> None:
    """Refuse loggers that cannot be used.

    Raises:
        SemvizError: If one is unknown or not installed, has nowhere to write, would send weights away, or has a run of
            the user's open.
    """
    for name in loggers_of(arguments):
        if not _is_installed(_MODULES[name]):
            raise SemvizError(
                f'report_to="{name}" needs a library that is not installed; run `pip install {_PIP.get(name, name)}`, '
                "or leave it out."
            )
        for variable in _UPLOADS.get(name, ()):
            if os.environ.get(variable, "").lower() not in _OFF:
                raise SemvizError(
                    f"The environment variable {variable} would have {name} send things away, and finetune only logs "
                    "numbers; unset it, and upload what the run keeps afterwards."
                )
        if "output_dir" not in arguments and _writes_files_only(name):
            raise SemvizError(
                f'report_to="{name}" writes its logs into a folder; pass arguments={{"report_to": "{name}", '
                '"output_dir": folder}.'
            )
        if _open_run(name) is not None:
            raise SemvizError(
                f"A run of {name} is open already, and each training gets its own; end it first: {_END[name]}."
            )


_END = {"wandb": "wandb.finish()", "trackio": "trackio.finish()", "mlflow": "mlflow.end_run()"}


def _is_installed(modules: Sequence[str]) -> bool:
    return any(module in sys.modules or importlib.util.find_spec(module) for module in modules)


def _writes_files_only(name: str) -> bool:
    """Whether a logger has nothing but files, and nobody said where."""
    mode = os.environ.get("WANDB_MODE", "").lower()
    if name == "wandb" and mode != "offline":
        return False
    variable = next(iter(_PLACES.get(name, ())), None)
    return variable is not None and variable not in os.environ


def _open_run(name: str) -> Any:
    """The run that is open in a logger that has one at a time."""
    library: Any = sys.modules.get(name)
    if library is None:
        return None
    if name == "wandb":
        return getattr(library, "run", None)
    if name == "trackio":
        return library.context_vars.current_run.get()
    return library.active_run() if name == "mlflow" else None


class Loggers:
    """The loggers of one training: a run of theirs, written into one folder.

    They hear of a training when it is certain that it is one: of two that are compared, the one that is dropped leaves
    nothing in them.
    """

    def __init__(self, names: Sequence[str], folder: str, name: str) -> None:
        """Say which.

        Args:
            names: Their names.
            folder: Where those that write files do so.
            name: What the training is called.
        """
        self.names, self.folder, self.name = names, folder, name
        self._added: dict[str, str] = {}
        self._before: dict[str, str] = {}

    def attach(self, trainer: Trainer) -> None:
        """Begin to report a training, with what it has logged so far."""
        if not self.names:
            return
        self._set_places()
        state, step = trainer.state, trainer.state.global_step
        for callback_class in get_reporting_integration_callbacks(list(self.names)):
            callback = callback_class()
            callback.on_init_end(trainer.args, state, trainer.control)
            if trainer.is_in_train:  # otherwise Trainer says so
                callback.on_train_begin(trainer.args, state, trainer.control, model=trainer.model)
                for logs in list(state.log_history):
                    state.global_step = logs["step"]
                    shown = {key: value for key, value in logs.items() if key != "step"}
                    callback.on_log(trainer.args, state, trainer.control, model=trainer.model, logs=shown)
                state.global_step = step
            trainer.add_callback(callback)

    def _set_places(self) -> None:
        Path(self.folder).mkdir(parents=True, exist_ok=True)
        values = {"folder": os.path.abspath(self.folder), "name": folder_name(self.name)}
        wanted = {key: text.format(**values) for logger in self.names for key, text in _PLACES.get(logger, {}).items()}
        place = os.environ.get(_BOARD)
        if place is not None and _BOARD in wanted:  # one folder for each training there too
            self._before[_BOARD] = os.environ.pop(_BOARD)
            wanted[_BOARD] = os.path.join(os.path.expanduser(place), values["name"])
        self._added = {key: value for key, value in wanted.items() if key not in os.environ}
        os.environ.update(self._added)

    def close(self) -> None:
        """End what was opened, and put the environment back."""
        for name in self.names if self._added or self._before else ():
            if _open_run(name) is not None:
                library: Any = sys.modules[name]
                library.end_run() if name == "mlflow" else library.finish()
        for key in self._added:
            os.environ.pop(key, None)
        os.environ.update(self._before)
        self._added, self._before = {}, {}


def folder_name(name: str) -> str:
    """A training's name as the name of a folder."""
    return re.sub(r"[^\w.,+ –-]+", "_", name).strip() or "run"
