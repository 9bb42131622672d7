"""One HTML page about a trace, its gain and the runs."""
