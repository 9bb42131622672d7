"""Faults, brought about on purpose: programs to run by hand, and what they share with tests/test_faults.py."""
