"""What pnnxfix repairs of PyTorch's own operator database, measured: `python -m scripts.coverage`."""
