//! The table of who may ask what, generated from the code and compared with the one that was reviewed.

// Helpers fail by panicking, as tests do.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

use std::fmt::Write as _;

use cardea_agent::{Role, permits, permits_op, scope};
use cardea_oscore::coap::Code;
use cardea_resources::{Op, Path};

const METHODS: [(&str, Code); 5] = [
    ("GET", Code::GET),
    ("POST", Code::POST),
    ("PUT", Code::PUT),
    ("DELETE", Code::DELETE),
    ("FETCH", Code::FETCH),
];

const SCOPES: [(&str, u16); 6] = [
    ("unlock", scope::UNLOCK),
    ("lock", scope::LOCK),
    ("status", scope::STATUS),
    ("log", scope::LOG),
    ("pins", scope::PINS),
    ("(unknown bits)", !0b1_1111),
];

/// One line for each request: who may send it. What nobody may send is listed as well.
fn table() -> String {
    let mut out = String::from("request        who\n");
    let mut line = |request: &str, allowed: &dyn Fn(Role, u16) -> bool| {
        let mut who = Vec::new();
        if allowed(Role::Platform, 0) {
            who.push("platform".to_owned());
        }
        let scopes: Vec<_> =
            SCOPES.iter().filter(|(_, bits)| allowed(Role::Grantee, *bits)).map(|(name, _)| *name).collect();
        if !scopes.is_empty() {
            who.push(format!("grant of {}", scopes.join(" or ")));
        }
        if allowed(Role::Grantee, 0) {
            who.push("ANY GRANT".to_owned());
        }
        if allowed(Role::Nobody, u16::MAX) {
            who.push("ANYBODY".to_owned());
        }
        let who = if who.is_empty() { "-".to_owned() } else { who.join(", ") };
        writeln!(out, "{request:<14} {who}").unwrap();
    };
    for path in Path::ALL {
        for (name, method) in METHODS {
            let request = format!("{name} {}", path.segment());
            line(&request, &|role, bits| permits(role, bits, path, method));
            if (path, method) == (Path::Bolt, Code::POST) {
                line("  lock", &|role, bits| permits_op(role, bits, Op::Lock));
                line("  unlock", &|role, bits| permits_op(role, bits, Op::Unlock));
            }
        }
    }
    out
}

#[test]
fn the_table_is_the_reviewed_one() {
    let table = table();
    let reviewed = include_str!("access.txt");
    assert!(table == reviewed, "lock/agent/tests/access.txt should be, if this is what was meant:\n{table}");
}

/// Scopes only add up: no bit takes away or gives more in company than alone.
#[test]
fn a_scope_allows_what_its_bits_allow_one_by_one() {
    for bits in 0..=u16::MAX {
        for path in Path::ALL {
            for (_, method) in METHODS {
                let alone = (0..16).any(|bit| permits(Role::Grantee, bits & (1 << bit), path, method));
                assert_eq!(permits(Role::Grantee, bits, path, method), alone, "{bits:#x} {path:?} {method}");
            }
        }
    }
}
