"""Examples of the pages are tests. The site's own files and what it is built into are not."""

collect_ignore_glob = ["*.py", "_*", "api/*", "benchmarks/*", "gallery/*"]
