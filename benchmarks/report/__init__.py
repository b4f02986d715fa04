"""Tables and figures of what benchopt has measured: ``python -m benchmarks.report``."""
