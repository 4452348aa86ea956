"""From result rows to a report: Markdown, one self-contained HTML page, tables and figures."""

from sweep.report.writer import watch, write_report

__all__ = ["watch", "write_report"]
