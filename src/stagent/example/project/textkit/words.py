"""Counting words."""


def count(text: str) -> int:
    """Return the number of words, separated by blanks of any kind."""
    return len(text.split())
