//! Keys, thumbprints, CCS and CWT credentials (COSE), activation proofs.
