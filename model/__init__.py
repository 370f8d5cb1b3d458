"""What the network is: configuration, task, weights, forward pass, decoding, checkpoints."""
