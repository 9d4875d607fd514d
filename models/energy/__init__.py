"""Energies without a normaliser."""
