"""The store for production: MongoDB.

`documents` owns the collections, their fields and indexes; `database` the connection and what is
created at the start; `values` how odd JSON becomes BSON; `known` what a client remembers of an
execution, `patch` the one guarded update that a patch becomes; each other module owns the verbs of
one part of the contract, and `store` puts them together.
"""

from service.store.mongo.store import MongoStore as MongoStore
