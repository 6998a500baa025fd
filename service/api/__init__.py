"""The HTTP API, one file a resource; `service.app` puts it together."""
