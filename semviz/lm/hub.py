"""Why a model cannot be loaded, in one sentence: what transformers and the hub raise is long and begins elsewhere."""

from __future__ import annotations

from semviz.common.checks import said

_KNOWN = {
    # Gated before not found, of which it is a kind.
    "GatedRepoError": "it is gated: accept its terms on its page and log in (hf auth login).",
    "RepositoryNotFoundError": "the hub has no such repository, or it is private: look for a misspelling, or log in.",
    "RevisionNotFoundError": "the repository has no such revision=.",
    "OfflineModeIsEnabled": "it is not among the files on this machine, and HF_HUB_OFFLINE forbids to ask the hub.",
    "LocalEntryNotFoundError": "it is not among the files on this machine, and the hub cannot be reached.",
}


def why(error: BaseException) -> str:
    """Say what went wrong, from the kind of the error or of what it came from, else in the library's own words."""
    kinds: set[str] = set()
    cause: BaseException | None = error
    while cause is not None and len(kinds) < 100:
        kinds |= {kind.__name__ for kind in type(cause).__mro__}
        cause = cause.__cause__ or cause.__context__
    if "trust_remote_code" in str(error):
        return "it needs Python code from its repository to run; trust_remote_code=True allows that, if you trust it."
    for kind, told in _KNOWN.items():
        if kind in kinds:
            return told
    line = said(error)
    return line if line.endswith(".") else line + "."
