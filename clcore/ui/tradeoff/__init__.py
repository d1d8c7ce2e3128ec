"""The Trade-off page: which stream it shows, its charts, and the configuration that is looked at more closely."""
