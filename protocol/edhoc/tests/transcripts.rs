//! Every transcript that libedhoc 1.15.1 or pyca/cryptography made, from both ends, to the byte: suites 0 to 5,
//! methods 0 to 3, `kid`, `x5t` and `x5chain`, identifiers of every encoding, EAD in all four messages, negotiated
//! suites, keys without y.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)] // a panic here is a verdict

mod common;

use common::{Transcript, transcripts::reproduce};

#[test]
fn both_ends_reproduce_the_transcripts() {
    let mut names = Vec::new();
    for t in Transcript::all() {
        names.push(t.name().to_owned());
        reproduce(&t);
    }
    assert_eq!(
        names,
        [
            "s0-m0-kid",
            "s0-m3-kid",
            "s0-m1-kid",
            "s2-m0-kid",
            "s2-m1-kid",
            "s2-m2-kid",
            "s2-m3-kid",
            "s2-m3-kid-xonly",
            "s2-m3-kid-bstr-cid",
            "s2-m3-kid-long-cid",
            "s2-m3-kid-ead",
            "s2-m0-kid-ead",
            "s2-m3-negotiated",
            "s2-m0-x5t",
            "s2-m3-x5t",
            "s2-m0-mixed",
            "s4-m0-kid",
            "s4-m2-kid",
            "s4-m3-kid",
            "s4-m3-kid-ead",
            "s4-m0-x5chain",
            "s0-m0-x5chain2",
            "s5-m3-kid",
            "s5-m0-kid",
            "s5-m1-kid",
            "s5-m3-ead",
            "s3-m3-kid",
            "s3-m0-kid",
            "s2-m3-bstr-kid",
            "s2-m3-long-kid",
            "s2-m3-empty-ci",
        ]
    );
}

/// What fits one frame of 51 bytes with credentials by `kid`: all four messages.
#[test]
fn sizes_with_kid() {
    let t = Transcript::named("s2-m3-kid");
    assert_eq!([1, 2, 3, 4].map(|n| t.message(n).len()), [37, 45, 19, 9]);
}
