"""One page about a checkpoint: chapters, and how they are written down."""
