"""What the machine has and does: disk, memory, signals, network."""
