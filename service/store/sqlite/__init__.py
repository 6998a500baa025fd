"""The embedded store: one SQLite file.

`file` owns how a transaction is made, `rows` the tables, `patch` the applying of patches; each
other module owns the verbs of one part of the contract, and `store` puts them together.
"""

from service.store.sqlite.store import SqliteStore as SqliteStore
