"""The machine: devices, memory, graphs, the process and its random numbers."""
