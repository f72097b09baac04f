//! The relay, sans-IO: registry, outbox and inbox rules, custody.
