//! The header: strict C and C++ take it, and it is what cbindgen makes of the source.

use std::process::Command;

use crate::workspace;

/// What the compilers of firmware say about the header, at their strictest, included twice.
#[test]
fn the_header_is_c99_c11_and_cpp17_without_a_warning() {
    let dir = tempfile::tempdir().unwrap();
    let source = dir.path().join("twice.c");
    let text = "#include \"cardea.h\"\n#include \"cardea.h\"\nstatic cardea_agent_memory memory;\n\
                CARDEA_ASSERT_FITS(memory);\nint main(void) { return memory.bytes[0]; }\n";
    std::fs::write(&source, text).unwrap();
    for (compiler, language, standard) in
        [("gcc", "c", "-std=c99"), ("gcc", "c", "-std=c11"), ("g++", "c++", "-std=c++17")]
    {
        let done = Command::new(compiler)
            .args([standard, "-x", language, "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-fsyntax-only"])
            .arg("-I")
            .arg(workspace().join("lock/ffi/include"))
            .arg(&source)
            .output()
            .unwrap();
        assert!(done.status.success(), "{standard}: {}", String::from_utf8_lossy(&done.stderr));
    }
}

#[test]
fn the_checked_in_header_is_what_cbindgen_makes_of_the_source() {
    let tool = workspace().join("target/tools/bin/cbindgen");
    let tool = if tool.is_file() { tool } else { "cbindgen".into() };
    let made = Command::new(&tool)
        .args(["--quiet", "--config", "lock/ffi/cbindgen.toml", "lock/ffi"])
        .current_dir(workspace())
        .output()
        .unwrap_or_else(|e| panic!("{}: {e}; scripts/test installs cbindgen", tool.display()));
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let header = std::fs::read(workspace().join("lock/ffi/include/cardea.h")).unwrap();
    assert!(
        made.stdout == header,
        "lock/ffi/include/cardea.h is out of date: cbindgen --config lock/ffi/cbindgen.toml --output \
         lock/ffi/include/cardea.h lock/ffi"
    );
}
