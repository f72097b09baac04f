//! The lock's security component: identity, activation, commands, events; no_std, no allocator.
