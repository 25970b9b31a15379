"""Serve pages to browsers nearby: bounded connections, heads, bodies and times, and no name but this machine's."""
