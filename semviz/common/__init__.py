"""Helpers for every package; nothing here knows about models, tasks or results."""
