"""Named keys of the API: how one is made, and by what it is known. Imports the standard library."""

from __future__ import annotations

import hashlib
import re
import secrets

NAME = re.compile(r"[A-Za-z0-9_.@+-]{1,64}", re.ASCII)
"""What a key may be called."""
FORM = re.compile(r"flowkit_[A-Za-z0-9_-]{43}", re.ASCII)
"""A key begins with a word by which scanners for leaked secrets can know it."""


def new_key() -> str:
    """Return a fresh key: 256 random bits."""
    return f"flowkit_{secrets.token_urlsafe(32)}"


def digest_of(key: str) -> str:
    """Return the SHA-256 digest of a key, in hexadecimal: all that is kept of it."""
    # A slow or salted hash protects what people choose and others can guess. Nobody guesses 256
    # random bits, and each request would pay for it.
    return hashlib.sha256(key.encode()).hexdigest()
