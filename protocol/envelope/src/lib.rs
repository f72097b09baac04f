//! What travels between gateway and platform over a broker: topics, envelopes, results.
