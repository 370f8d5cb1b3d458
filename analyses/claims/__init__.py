"""What the two write-ups state, as data, and the measures that test it."""
