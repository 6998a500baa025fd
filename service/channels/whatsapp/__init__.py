"""The WhatsApp Cloud API: the client that sends, its error table, and a local simulator."""
