"""Tests of the widget application; a package, so that its conftest has a name of its own."""
