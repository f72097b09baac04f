#![no_std]
//! What is inside OSCORE: one-letter paths and integer-keyed CBOR.
