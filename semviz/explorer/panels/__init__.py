"""The parts of the Explorer's page, named as its tabs."""
