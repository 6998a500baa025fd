"""``python -m service``: the same program as ``flowkit``."""

from service.cli import main

if __name__ == "__main__":
    main()
