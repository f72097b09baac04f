//! The owner's side: activation, commands, events, over any broker.
