"""The Explorer: the widget application. It displays a `Study`; no other package imports it."""

from semviz.explorer.app import Explorer as Explorer
