"""The Explorer: the widget application. It views a `Study`; nothing imports it."""

from semviz.explorer.app import Explorer as Explorer
