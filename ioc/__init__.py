"""The event-stream monitor of an Intelligent Operations Centre."""

__version__ = "0.1.0"
