"""flowkit: define WhatsApp marketing flows in Python, check them, run them, read their history."""

from __future__ import annotations

from flowkit.client import Client as Client
from flowkit.expression import contact as contact
from flowkit.flow import Flow as Flow
