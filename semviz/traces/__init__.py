"""Hidden states and their deviations from the virtual transition. SALF-style, our reading."""
