"""Stores: append-only logs with checkpoints, and blobs by digest."""
