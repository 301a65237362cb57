"""Members of other packages."""
