"""Learning from earlier studies in the store."""
