"""Placeholder filled by this room."""
