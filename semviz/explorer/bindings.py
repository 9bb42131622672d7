"""Connect controls with a study: controls act on the study, and follow when the study changes."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ipywidgets as widgets


class Bindings:
    """Connects controls to actions; an exception of an action is shown, never lost.

    Attributes:
        lock: Held while controls follow, since both the job's thread and the notebook's update them.
    """

    def __init__(self, on_error: Callable[[BaseException], None]) -> None:
        """Start without any connection.

        Args:
            on_error: Called with the exception that an action raised.
        """
        self.lock = threading.RLock()
        self._on_error = on_error
        self._thread_state = threading.local()

    def act(self, action: Callable[[], object]) -> None:
        """Run an action on the study, without the lock: the action may wait for a job that needs the lock."""
        try:
            action()
        except Exception as error:  # nothing above a callback would show it to the user
            self._on_error(error)

    def on_value(self, control: widgets.Widget, action: Callable[[Any], object]) -> None:
        """Run an action when a user or a program sets a control's value, but not when the control only follows."""

        def changed(event: dict[str, Any]) -> None:
            if not getattr(self._thread_state, "following", False):
                self.act(lambda: action(event["new"]))

        control.observe(changed, "value")

    def on_click(self, button: widgets.Button, action: Callable[[], object]) -> None:
        """Run an action when a button is pressed."""
        button.on_click(lambda _: self.act(action))

    @contextmanager
    def following(self) -> Iterator[None]:
        """Let controls follow the study: values that are set inside trigger no actions."""
        with self.lock:
            was_following = getattr(self._thread_state, "following", False)
            self._thread_state.following = True
            try:
                yield
            finally:
                self._thread_state.following = was_following
