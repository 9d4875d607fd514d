"""A run's page."""

from ppgen.report.page import SECTIONS, write_report

__all__ = ["SECTIONS", "write_report"]
