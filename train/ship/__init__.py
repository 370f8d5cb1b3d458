"""A finished run becomes a shipped checkpoint: measured at length, with its model card."""
