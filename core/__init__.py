"""SemSight's engine: attacks, metrics, labels and statistics, usable without the dashboard."""

__version__ = "0.1.0"
