//! The Cardea gateway daemon and its command line.
