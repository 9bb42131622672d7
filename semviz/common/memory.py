"""Free memory, within the limits of the machine and of JupyterHub (as on Binder), and errors for lack of memory."""

from __future__ import annotations

import os

import psutil


def limit() -> int | None:
    """Return this session's memory limit in bytes, which JupyterHub sets as ``MEM_LIMIT``; None without a limit."""
    setting = os.environ.get("MEM_LIMIT", "")
    return int(setting) if setting.isdecimal() and int(setting) > 0 else None


def used() -> int:
    """Return the bytes that this session uses: the parent of this process and all of the parent's descendants."""
    own = psutil.Process()
    top = own.parent() or own
    total = 0
    for process in (top, *top.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # the process has ended
            continue
    return total


def free() -> int:
    """Return the bytes that can still be allocated: on the machine, or within the session's limit if that is less."""
    available, allowed = psutil.virtual_memory().available, limit()
    return available if allowed is None else min(available, max(allowed - used(), 0))


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether an error means that memory ran out; accelerate knows the messages of all devices."""
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, MemoryError):
        return True
    return isinstance(error, Exception) and bool(should_reduce_batch_size(error))
