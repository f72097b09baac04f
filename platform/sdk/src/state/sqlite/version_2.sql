ALTER TABLE seen ADD COLUMN at INTEGER NOT NULL DEFAULT 0;
CREATE INDEX seen_lock ON seen (lock, at);
CREATE TABLE fork (
  id INTEGER PRIMARY KEY, lock BLOB NOT NULL, activation INTEGER NOT NULL, number INTEGER NOT NULL,
  kind TEXT NOT NULL, value INTEGER, at INTEGER, received INTEGER NOT NULL, gateway TEXT NOT NULL);
CREATE INDEX fork_lock ON fork (lock, id);
PRAGMA user_version=2;
