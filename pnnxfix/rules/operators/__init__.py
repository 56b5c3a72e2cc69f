"""One file per family of operators; each module here is found by itself, nothing is registered."""
