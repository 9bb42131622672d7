"""What every package uses; it knows no model, task or result."""
