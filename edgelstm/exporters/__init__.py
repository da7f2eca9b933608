"""From a Model to other formats: one module a format, each with a `write`."""
