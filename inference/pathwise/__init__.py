"""Pathwise gradients that leave out the guide's score."""
