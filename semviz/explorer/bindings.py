"""How controls and a study are tied: a control acts on the study, the study tells what changed, controls follow."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets


class Bindings:
    """Ties controls to actions; what an action raises is shown, never lost.

    Attributes:
        lock: Held while controls follow: the job's thread and the notebook's both make them.
    """

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        """Make a wiring.

        Args:
            on_error: Called with what an action raised.
        """
        self.lock = threading.RLock()
        self._on_error = on_error
        self._here = threading.local()

    def act(self, action: Callable[[], object]) -> None:
        """Do something to the study. The lock is not held: an action may wait for a job, which may wait for it."""
        try:
            action()
        except Exception as error:  # a callback has nobody above it who would tell the user
            self._on_error(error)

    def on_value(self, control: widgets.Widget, action: Callable[[Any], object]) -> None:
        """Act when a person (or a program) sets a control's value, and not when the control only follows."""

        def changed(event: dict[str, Any]) -> None:
            if not getattr(self._here, "following", False):
                self.act(lambda: action(event["new"]))

        control.observe(changed, "value")

    def on_click(self, button: widgets.Button, action: Callable[[], object]) -> None:
        """Act when a button is pressed."""
        button.on_click(lambda _: self.act(action))

    @contextmanager
    def following(self) -> Iterator[None]:
        """Let controls follow the study: what is set inside acts on nothing."""
        with self.lock:
            before = getattr(self._here, "following", False)
            self._here.following = True
            try:
                yield
            finally:
                self._here.following = before
