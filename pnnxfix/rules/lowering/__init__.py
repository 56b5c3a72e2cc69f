"""The lowering engine: torch's meaning of an operator in ncnn's layers, whatever the rank."""
