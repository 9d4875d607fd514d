"""The contract of objectives, and what several of them share."""
