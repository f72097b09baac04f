//! The typed configuration of a Cardea gateway.
