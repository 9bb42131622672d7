"""`semviz check`: what another trainer's config trains."""

from __future__ import annotations

import argparse

SUSPICIOUS = 1
"""Exit code where a config trains something that is probably not meant."""


def check(options: argparse.Namespace) -> int:
    """Print which blocks and how many parameters a config trains; 1 if something is suspicious, else 0."""
    from semviz.scopes.config_check import check_config

    found = check_config(
        options.file, options.model, trainer=options.trainer, trust_remote_code=options.trust_remote_code
    )
    print(found)
    if options.parts:
        print(found.frame().to_string(index=False))
    return SUSPICIOUS if found.warnings else 0
