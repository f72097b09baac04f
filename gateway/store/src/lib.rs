//! SQLite behind the relay: one writer thread, group commit.
