"""The machine: devices, memory, graphs, progress, and the process to oneself."""
