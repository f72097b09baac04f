//! Whole-system tests: real processes, real broker, real sockets. Helpers live here, tests in `tests/`.
