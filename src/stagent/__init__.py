"""Stagent holds coding agents to a declared workflow."""

from stagent.errors import StagentError
from stagent.version import __version__

__all__ = ["StagentError", "__version__"]
