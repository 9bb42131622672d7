"""The small commands: `semviz lab` and `semviz cache`."""

from __future__ import annotations

from pathlib import Path

from semviz.common.errors import SemvizError


def cache(action: str) -> int:
    """List the calibrations that are kept on disk, those used last first, or remove them."""
    from datetime import datetime

    from semviz.common import cache_folder, formats
    from semviz.traces.calibration_files import model_of

    folder = cache_folder.cache_folder()
    if folder is None:
        print("Nothing is kept on disk, since SEMVIZ_CACHE is empty.")
        return 0
    files, limit = cache_folder.entries(), formats.size(cache_folder.limit())
    if action == "clear":
        print(f"Removed {cache_folder.shrink(0)} of {len(files)} calibrations from {folder}.")
        return 0
    sizes = [path.stat().st_size for path in files]
    print(f"{folder}: {len(files)} calibrations, {formats.size(sum(sizes))} of at most {limit} (SEMVIZ_CACHE_GB).")
    for path, size in zip(files, sizes, strict=True):
        used = datetime.fromtimestamp(path.stat().st_mtime)
        print(f"  {model_of(path) or 'unreadable'}: {formats.size(size)}, last used {used:%Y-%m-%d %H:%M}")
    return 0


def lab(notebook: str) -> int:
    """Open JupyterLab on a notebook."""
    if not Path(notebook).is_file():
        raise SemvizError(f"There is no notebook {notebook}; pass a path, or run this in semviz's folder.")
    try:
        from jupyterlab.labapp import LabApp
    except ImportError as error:
        raise SemvizError('semviz lab needs JupyterLab; run: pip install "semviz[lab]".') from error
    LabApp.launch_instance([notebook])
    return 0
