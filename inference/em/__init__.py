"""Expectation and maximisation in turn."""
