"""What every component shares: errors, names, tensors, signatures, clocks. No I/O, no gRPC."""
