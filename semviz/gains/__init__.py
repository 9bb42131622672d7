"""From a profile of deviations to a boundary. SALF-style, our reading."""
