"""Distances between draws and data."""
