"""Real architectures with random weights, converted, repaired and judged."""
