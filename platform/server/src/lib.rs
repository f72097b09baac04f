//! cardea-platform: the owner's platform as one program.
