"""Other packages' ways to per-position, per-layer cross-entropy and rank, each in an environment of its own."""

from .environments import CACHE, MALLOC, PEERS, PeerError, make_environment, run_peer

__all__ = ["CACHE", "MALLOC", "PEERS", "PeerError", "make_environment", "run_peer"]
