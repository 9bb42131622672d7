"""The panels of the Explorer, named after what they show."""
