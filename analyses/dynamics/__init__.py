"""What comes first along a training run."""
