//! The control API, crawled by a program that knows only its OpenAPI document.

use std::path::Path;

use cardea_tests::{daemon::Daemon, free_port, venv::schemathesis};

#[test]
fn a_crawl_by_the_document_finds_no_server_error_and_no_answer_that_is_not_in_it() {
    let Some(mut crawl) = schemathesis("openapi_peer.py") else { return };
    let dir = tempfile::tempdir().unwrap();
    let web = format!("[web]\nenabled = true\nhttps = \"127.0.0.1:{}\"\n", free_port());
    let daemon = Daemon::start(dir.path(), free_port(), &web);
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/openapi.json");
    let out = crawl.arg(dir.path().join("api.sock")).arg(document).current_dir(dir.path()).output().unwrap();
    let said = String::from_utf8_lossy(&[&out.stdout[..], &out.stderr].concat()).into_owned();
    println!("{said}");
    assert!(out.status.success(), "{said}");
    let log = daemon.log();
    assert!(!log.contains("panicked"), "{log}");
    assert!(daemon.cli(&["locks"]).status.success(), "it still answers");
}
