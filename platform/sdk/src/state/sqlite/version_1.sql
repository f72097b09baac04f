CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE lock (
  lock BLOB PRIMARY KEY, thumbprint BLOB, credential BLOB, code BLOB, stage INTEGER NOT NULL,
  activation INTEGER NOT NULL, cursor INTEGER) WITHOUT ROWID;
CREATE TABLE context (
  id INTEGER PRIMARY KEY AUTOINCREMENT, lock BLOB NOT NULL, algorithm INTEGER NOT NULL, secret BLOB NOT NULL,
  salt BLOB NOT NULL, own_id BLOB NOT NULL, peer_id BLOB NOT NULL, phase INTEGER NOT NULL,
  reserved INTEGER NOT NULL, failed_tags INTEGER NOT NULL, created INTEGER NOT NULL, retired INTEGER,
  replay_floor INTEGER NOT NULL DEFAULT 0);
CREATE TABLE replay (context INTEGER NOT NULL, piv INTEGER NOT NULL, PRIMARY KEY (context, piv)) WITHOUT ROWID;
CREATE TABLE log (
  id INTEGER PRIMARY KEY, lock BLOB NOT NULL, activation INTEGER NOT NULL, number INTEGER, kind TEXT NOT NULL,
  value INTEGER, at INTEGER, received INTEGER NOT NULL, gateway TEXT NOT NULL);
CREATE UNIQUE INDEX log_number ON log (lock, activation, number) WHERE number IS NOT NULL;
CREATE INDEX log_lock ON log (lock, id);
CREATE TABLE command (
  id BLOB NOT NULL, lock BLOB NOT NULL, ask INTEGER NOT NULL, asked INTEGER NOT NULL, deadline INTEGER NOT NULL,
  sent BLOB NOT NULL, outcome TEXT, PRIMARY KEY (lock, id)) WITHOUT ROWID;
CREATE INDEX command_open ON command (asked) WHERE outcome IS NULL;
CREATE TABLE seen (
  gateway TEXT NOT NULL, lock BLOB NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (gateway, lock)) WITHOUT ROWID;
CREATE TABLE ahead (
  gateway TEXT NOT NULL, lock BLOB NOT NULL, epoch BLOB NOT NULL, seq INTEGER NOT NULL,
  PRIMARY KEY (gateway, lock, epoch, seq)) WITHOUT ROWID;
PRAGMA user_version=1;
