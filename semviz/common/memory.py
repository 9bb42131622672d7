"""How much memory is left, of the machine and of what JupyterHub lets a session use (as on Binder); has it run out?"""

from __future__ import annotations

import os

import psutil


def limit() -> int | None:
    """Return the bytes that this session may use, as JupyterHub says in ``MEM_LIMIT``; None where nothing limits it."""
    said = os.environ.get("MEM_LIMIT", "")
    return int(said) if said.isdecimal() and int(said) > 0 else None


def used() -> int:
    """Return the bytes that this session uses: this process, the one that started it, and all that that one started."""
    own = psutil.Process()
    top = own.parent() or own
    total = 0
    for process in (top, *top.children(recursive=True)):
        try:
            total += process.memory_info().rss
        except psutil.Error:  # it has ended meanwhile
            continue
    return total


def free() -> int:
    """Return the bytes that can still be taken: what the machine has, or what is left of the session's limit."""
    available, allowed = psutil.virtual_memory().available, limit()
    return available if allowed is None else min(available, max(allowed - used(), 0))


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory has run out; every device says so in its own way, and accelerate knows them."""
    from accelerate.utils.memory import should_reduce_batch_size

    if isinstance(error, MemoryError):
        return True
    return isinstance(error, Exception) and bool(should_reduce_batch_size(error))
