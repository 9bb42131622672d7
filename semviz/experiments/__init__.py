"""Several runs, and what can be predicted from them."""
