"""What draws of a gradient say of it: moments with their errors, bias, work."""
