"""The durable service: API, workers, stores and channels around the flowkit engine."""
