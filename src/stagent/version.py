"""The one place the version is written; packaging, the CLI and the event log read it here."""

__version__ = "0.1.0"
