"""Workers: `runner` does the work, `queue` is the doorbell, `process` wires them together."""
