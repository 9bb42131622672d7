"""Several runs, and what they predict."""
