"""The hook a Claude Code session calls: one self-contained file, copied at install."""
