"""What only changes shapes: flattening and its opposite, pixel and channel shuffles."""
