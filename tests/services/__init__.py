"""Real services for the tests, each on a free port, in seconds, and cached so that a second run is instant."""
