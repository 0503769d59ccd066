"""The hook a Claude Code session calls, and what it loads from beside it; copied at install."""
