//! The program as people meet it, with a real mosquitto.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, TcpListener},
    os::unix::{fs::PermissionsExt as _, net::UnixStream},
    path::Path,
    process::{Child, Command, Output, Stdio},
    time::{Duration, Instant},
};

const LOCK: &str = "0123456789abcdef";

fn program(dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cardea-platform"));
    command.arg("--dir").arg(dir).args(args).env("RUST_LOG", "info").stdin(Stdio::null());
    command
}

fn run(dir: &Path, args: &[&str]) -> Output {
    program(dir, args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Ends the process with the test, whatever happens.
struct Guard(Child);

impl Drop for Guard {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn initialised() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["init"]);
    assert!(output.status.success(), "{}", text(&output));
    dir
}

/// A valid owner code in its text form.
fn code_file(dir: &Path) -> String {
    let path = dir.join("code");
    let code = cardea_sdk::OwnerCode::from_bytes([7; 16]);
    fs::write(&path, format!("{}\n", code.reveal())).unwrap();
    path.to_str().unwrap().into()
}

fn mosquitto(dir: &Path) -> (Guard, String) {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let config = dir.join("mosquitto.conf");
    fs::write(&config, format!("listener {port} 127.0.0.1\nallow_anonymous true\n")).unwrap();
    let child =
        Command::new("/usr/sbin/mosquitto").arg("-c").arg(&config).stderr(Stdio::null()).spawn().unwrap();
    (Guard(child), format!("mqtt://127.0.0.1:{port}"))
}

fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < Duration::from_secs(30), "{what} did not happen");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn init_makes_private_files_prints_the_root_and_never_replaces_it() {
    let dir = tempfile::tempdir().unwrap();
    let output = run(dir.path(), &["--json", "init"]);
    let printed = text(&output);
    assert!(output.status.success(), "{printed}");
    let root = printed.split("\"root\":\"").nth(1).unwrap();
    assert!(root[..64].bytes().all(|b| b.is_ascii_hexdigit()));
    for file in ["owner-root.key", "platform-dh.key", "platform-sign.key", "platform.cwt", "state.db"] {
        let mode = fs::metadata(dir.path().join(file)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    let key = fs::read(dir.path().join("owner-root.key")).unwrap();
    let output = run(dir.path(), &["init"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output).contains("already holds a platform"), "{}", text(&output));
    assert_eq!(fs::read(dir.path().join("owner-root.key")).unwrap(), key);
}

#[test]
fn errors_say_what_to_do() {
    let empty = tempfile::tempdir().unwrap();
    let dir = initialised();
    let code = code_file(dir.path());
    let wrong = dir.path().join("wrong");
    fs::write(&wrong, "0000-0000").unwrap();
    let wrong = wrong.to_str().unwrap();
    let cases: &[(&Path, &[&str], &str)] = &[
        (empty.path(), &["locks"], "cardea-platform init"),
        (empty.path(), &["unlock", LOCK], "cardea-platform init"),
        (dir.path(), &["unlock", LOCK], "cardea-platform serve --broker"),
        (dir.path(), &["serve"], "--broker"),
        (dir.path(), &["--broker", "http://x", "serve"], "expected mqtt://"),
        (dir.path(), &["--broker", "mqtt://x:0", "serve"], "the port is not a number from 1 to 65535"),
        (dir.path(), &["enroll", "xyz", "--code-file", &code], "16 hexadecimal digits"),
        (dir.path(), &["enroll", LOCK, "--code-file", "/does/not/exist"], "/does/not/exist"),
        (dir.path(), &["enroll", LOCK], "no owner code given"),
        (dir.path(), &["unlock", LOCK, "--timeout", "0"], "0.1 to 3600"),
        (dir.path(), &["log", LOCK], "not enrolled here"),
    ];
    for (dir, args, wanted) in cases {
        let output = run(dir, args);
        let printed = text(&output);
        assert!(!output.status.success() && printed.contains(wanted), "{args:?}: {printed}");
        assert!(!printed.contains("panicked"), "{printed}");
    }
    let output = run(dir.path(), &["enroll", LOCK, "--code-file", wrong]);
    assert!(text(&output).contains("mistyped"), "{}", text(&output));
    // A key that others can read is not used.
    let key = dir.path().join("platform-dh.key");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
    let output = run(dir.path(), &["locks"]);
    assert!(text(&output).contains("chmod 600"), "{}", text(&output));
}

#[test]
fn serve_answers_the_other_commands_and_survives_its_broker() {
    let dir = initialised();
    let broker_dir = tempfile::tempdir().unwrap();
    let (broker, url) = mosquitto(broker_dir.path());
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut serve = Guard(program(dir.path(), &["--broker", &url, "serve"]).stderr(log).spawn().unwrap());
    let logged = |what: &str| fs::read_to_string(dir.path().join("log")).unwrap().contains(what);
    wait_for("the connection", || logged("broker: connected"));
    let mode = fs::metadata(dir.path().join("socket")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);

    let output = run(dir.path(), &["enroll", LOCK, "--code-file", &code_file(dir.path())]);
    assert!(output.status.success(), "{}", text(&output));
    let output = run(dir.path(), &["--json", "locks"]);
    assert!(
        text(&output).contains(LOCK) && text(&output).contains("\"stage\":\"enrolled\""),
        "{}",
        text(&output)
    );
    let output = run(dir.path(), &["unlock", LOCK, "--timeout", "0.3"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("the lock has done nothing"), "{}", text(&output));

    // A second one would hand out the same sequence numbers.
    let output = run(dir.path(), &["--broker", &url, "serve"]);
    assert!(text(&output).contains("in use"), "{}", text(&output));
    assert!(run(dir.path(), &["locks"]).status.success(), "and the first still answers");

    drop(broker);
    wait_for("the loss", || logged("broker: gone"));
    assert!(run(dir.path(), &["locks"]).status.success());
    assert_eq!(serve.0.try_wait().unwrap(), None, "serve stays");

    Command::new("kill").args(["-TERM", &serve.0.id().to_string()]).status().unwrap();
    wait_for("the end", || serve.0.try_wait().unwrap().is_some());
    assert!(!dir.path().join("socket").exists());
    // Alone, on the same state.
    let output = run(dir.path(), &["locks"]);
    assert!(text(&output).contains(LOCK), "{}", text(&output));
}

#[test]
fn pins_are_wanted_listed_and_never_printed() {
    let dir = initialised();
    let code = code_file(dir.path());
    assert!(run(dir.path(), &["enroll", LOCK, "--code-file", &code]).status.success());
    let path = dir.path().join("pin");
    fs::write(&path, "0471183926\n").unwrap();
    let pin = path.to_str().unwrap();
    let mut printed = String::new();
    let mut say = |args: &[&str], succeeds: bool| {
        let output = run(dir.path(), args);
        assert_eq!(output.status.success(), succeeds, "{args:?}: {}", text(&output));
        printed.push_str(&text(&output));
        text(&output)
    };
    let set = ["pin", "set", LOCK, "3", "--pin-file", pin, "--duress", "--until", "2099-12-24T08:00Z"];
    let words = say(&set, true);
    assert!(words.contains("waiting: there are no session keys"), "{words}");
    say(&["pin", "clear", LOCK, "4"], true);
    let words = say(&["pin", "list", LOCK], true);
    assert!(words.contains("slot  3  wanted set since 20"), "{words}");
    assert!(
        words.contains(", for duress, until 2099-12-24 08:00:00Z;  reported: nothing yet;  waiting"),
        "{words}"
    );
    let words = say(&["--json", "pin", "list", LOCK], true);
    let json: serde_json::Value = serde_json::from_str(words.lines().last().unwrap()).unwrap();
    assert_eq!(json["slots"][0]["slot"], 3);
    assert_eq!(json["slots"][0]["state"], "waiting");
    assert_eq!(json["slots"][1]["wanted"], "clear");

    let short = dir.path().join("short");
    fs::write(&short, "12a4").unwrap();
    let words = say(&["pin", "set", LOCK, "3", "--pin-file", short.to_str().unwrap()], false);
    assert!(words.contains("4 to 10 digits") && !words.contains("12a4"), "{words}");
    assert!(say(&["pin", "set", LOCK, "3"], false).contains("no PIN given"));
    assert!(say(&["pin", "set", LOCK, "40", "--pin-file", pin], false).contains("no such slot"));
    let past = ["pin", "set", LOCK, "3", "--pin-file", pin, "--until", "2001-01-01T00:00Z"];
    assert!(say(&past, false).contains("over already"));
    assert!(
        say(&["pin", "set", LOCK, "3", "--pin-file", pin, "--from", "noon"], false).contains("is no time")
    );
    assert!(say(&["pin", "list", "0102030405060708"], false).contains("not enrolled"));
    assert!(!printed.contains("0471183926"), "{printed}");
}

#[test]
fn keys_are_rotated_while_nothing_runs_and_locks_released_by_the_owner_root() {
    let dir = initialised();
    let root = fs::read(dir.path().join("owner-root.key")).unwrap();
    let before = fs::read(dir.path().join("platform.cwt")).unwrap();
    let output = run(dir.path(), &["--json", "rotate"]);
    assert!(output.status.success() && text(&output).contains("{\"version\":2}"), "{}", text(&output));
    assert_ne!(fs::read(dir.path().join("platform.cwt")).unwrap(), before);
    assert!(run(dir.path(), &["locks"]).status.success());
    // The root is where it belongs.
    let safe = tempfile::tempdir().unwrap();
    let key = safe.path().join("root.key");
    fs::rename(dir.path().join("owner-root.key"), &key).unwrap();
    let output = run(dir.path(), &["rotate"]);
    assert!(!output.status.success() && text(&output).contains("owner-root.key"), "{}", text(&output));
    let output = run(dir.path(), &["rotate", "--root-key", key.to_str().unwrap()]);
    assert!(output.status.success() && text(&output).contains("version 3"), "{}", text(&output));
    assert_eq!(fs::read(&key).unwrap(), root);

    assert!(run(dir.path(), &["enroll", LOCK, "--code-file", &code_file(dir.path())]).status.success());
    let release = |lock: &str, nonce: &str| {
        run(dir.path(), &["release", lock, "--nonce", nonce, "--root-key", key.to_str().unwrap()])
    };
    let output = release(LOCK, "0707070707070707");
    assert!(text(&output).contains("has not proved its key here"), "{}", text(&output));
    let full = format!("{LOCK}{}", "1".repeat(48));
    assert!(text(&release(&full, "07")).contains("16 hexadecimal digits"));
    // Enrolled by its full name the platform knows which key it will let go.
    let other = format!("{}{}", "a".repeat(16), "b".repeat(48));
    assert!(run(dir.path(), &["enroll", &other, "--code-file", &code_file(dir.path())]).status.success());
    let output = release(&other, "0707070707070707");
    assert!(output.status.success() && text(&output).contains("released"), "{}", text(&output));
    assert!(text(&run(dir.path(), &["locks"])).contains("RELEASED"));
    assert!(run(dir.path(), &["readmit", &other]).status.success());
    assert!(!text(&run(dir.path(), &["locks"])).contains("RELEASED"));
}

/// Memory that a process has in use, KiB.
fn memory_kib(process: &Child) -> u64 {
    let text = fs::read_to_string(format!("/proc/{}/status", process.id())).unwrap();
    let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:")).unwrap();
    line.split_whitespace().next().unwrap().parse().unwrap()
}

#[test]
fn hostile_clients_of_the_socket_are_answered_or_shown_out_and_keep_nobody_out_for_long() {
    let dir = initialised();
    // Connected, so that nothing happens any more that `watch` would have to tell.
    let broker_dir = tempfile::tempdir().unwrap();
    let (_broker, url) = mosquitto(broker_dir.path());
    let log = fs::File::create(dir.path().join("log")).unwrap();
    let mut serve = Guard(program(dir.path(), &["--broker", &url, "serve"]).stderr(log).spawn().unwrap());
    let path = dir.path().join("socket");
    wait_for("the connection", || {
        fs::read_to_string(dir.path().join("log")).unwrap().contains("broker: connected")
    });
    let connect = || {
        let stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        stream
    };
    let asked = |bytes: &[u8]| {
        let mut stream = connect();
        let _ = stream.write_all(bytes);
        let _ = stream.shutdown(Shutdown::Write);
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        answer
    };
    assert!(asked(b"{\"do\":\"locks\"}\n").contains("\"done\":true"));
    let memory = memory_kib(&serve.0);
    for line in [
        &b""[..],
        b"\n",
        b"null\n",
        b"[]\n",
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff\xfe\x00\n",
        b"{\"do\":\"open sesame\"}\n",
        b"{\"do\":\"locks\",\"all\":true}\n",
        b"{\"do\":\"log\",\"lock\":\"'; DROP TABLE locks; --\",\"limit\":1}\n",
        b"{\"do\":\"log\",\"lock\":\"0123456789abcdef\",\"limit\":-1}\n",
        b"{\"do\":\"enroll\",\"lock\":\"0123456789abcdef\",\"code\":\"\\u0000\"}\n",
        b"{\"do\":\"command\",\"lock\":\"0123456789abcdef\",\"ask\":\"unlock\",\"timeout_ms\":1e99}\n",
        b"{\"do\":\"lo",
    ] {
        let answer = asked(line);
        assert!(answer.contains("\"done\":false"), "{}: {answer}", String::from_utf8_lossy(line));
    }
    assert!(asked(&[b'['; 4096]).contains("\"done\":false"));
    // A line that has no end: what comes after 4096 bytes is not read.
    for _ in 0..50 {
        let answer = asked(&vec![b'x'; 1 << 20]);
        assert!(answer.is_empty() || answer.contains("\"done\":false"), "{answer}");
    }
    for _ in 0..500 {
        connect().write_all(b"{\"do\":\"lo").unwrap();
    }
    assert!(run(dir.path(), &["locks"]).status.success(), "after half requests");

    // More than are served at once watch, and go; the places are free although nothing has happened.
    for _ in 0..3 {
        let mut watching: Vec<_> = (0..60).map(|_| connect()).collect();
        for stream in &mut watching {
            stream.write_all(b"{\"do\":\"watch\"}\n").unwrap();
            let mut first = [0; 1];
            stream.read_exact(&mut first).unwrap();
        }
    }
    let start = Instant::now();
    assert!(run(dir.path(), &["locks"]).status.success(), "after watchers");
    assert!(start.elapsed() < Duration::from_secs(5), "{:?}", start.elapsed());
    // More than are served at once say nothing: they are shown out.
    let silent: Vec<_> = (0..100).map(|_| connect()).collect();
    assert!(run(dir.path(), &["locks"]).status.success(), "behind silent clients");
    let files = fs::read_dir(format!("/proc/{}/fd", serve.0.id())).unwrap().count();
    assert!(files < 100, "{files} files");
    drop(silent);
    assert!(memory_kib(&serve.0) < memory + 16 * 1024, "{memory} KiB became {}", memory_kib(&serve.0));
    assert_eq!(serve.0.try_wait().unwrap(), None, "serve stays");
    assert!(!fs::read_to_string(dir.path().join("log")).unwrap().contains("panicked"));
}

#[test]
fn keys_in_a_token_are_used_from_init_on_and_the_pin_is_never_printed() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    fs::create_dir(path("tokens")).unwrap();
    fs::write(path("conf"), format!("directories.tokendir = {}\n", path("tokens"))).unwrap();
    let soft = |command: &mut Command| command.env("SOFTHSM2_CONF", path("conf")).output().unwrap();
    for (label, pin) in [("doors", "4711-secret"), ("safe", "0815-secret")] {
        let args = ["--init-token", "--free", "--so-pin", "so-pin", "--label", label, "--pin", pin];
        let made = soft(Command::new("softhsm2-util").args(args));
        assert!(made.status.success(), "{}", text(&made));
        fs::write(path(label), pin).unwrap();
        fs::set_permissions(path(label), fs::Permissions::from_mode(0o600)).unwrap();
    }
    let state = dir.path().join("state");
    let (doors, safe) = (path("doors"), path("safe"));
    let mut args =
        vec!["init", "--pkcs11-module", "/usr/lib/softhsm/libsofthsm2.so", "--token-label", "doors"];
    args.extend(["--pin-file", &doors, "--root-token-label", "safe", "--root-pin-file", &safe]);
    let made = soft(&mut program(&state, &args));
    assert!(made.status.success(), "{}", text(&made));
    assert!(text(&made).contains("owner root in token `safe`"), "{}", text(&made));
    assert!(!state.join("owner-root.key").exists());
    let listed = soft(&mut program(&state, &["locks"]));
    assert!(listed.status.success(), "{}", text(&listed));

    fs::write(path("doors"), "wrong-secret").unwrap();
    for _ in 0..2 {
        let refused = soft(&mut program(&state, &["locks"]));
        assert_eq!(refused.status.code(), Some(1));
        assert!(text(&refused).contains("the token refuses the PIN"), "{}", text(&refused));
        assert!(!text(&refused).contains("-secret"), "{}", text(&refused));
    }
}

/// A maker's root, a factory's CA and the certificate of a lock, all by the program; then the owner's side of it.
#[test]
fn a_maker_certifies_a_lock_and_an_owner_enrolls_it_by_its_certificate() {
    let work = tempfile::tempdir().unwrap();
    let file = |name: &str| work.path().join(name).to_str().unwrap().to_owned();
    let maker = file("maker");
    let factory = |args: &[&str]| {
        let output = run(work.path(), &[&["factory"], args].concat());
        assert!(output.status.success(), "{args:?}: {}", text(&output));
        String::from_utf8(output.stdout).unwrap()
    };
    factory(&["root", "--maker-dir", &maker, "--name", "Example Locks"]);
    factory(&["ca", "--maker-dir", &maker, "--name", "Example Locks, one".replace(',', "").as_str()]);
    for key in ["maker-root.key", "maker-ca.key"] {
        let mode = fs::metadata(work.path().join("maker").join(key)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{key}");
    }
    let again = run(work.path(), &["factory", "root", "--maker-dir", &maker, "--name", "x"]);
    assert!(text(&again).contains("not replaced"), "{}", text(&again));

    // The lock's key is asked for by an ordinary request.
    let openssl = |args: &[&str]| {
        let output = Command::new("openssl").args(args).output().unwrap();
        assert!(output.status.success(), "{}", text(&output));
        text(&output)
    };
    openssl(&[
        "genpkey",
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        &file("lock.key"),
    ]);
    openssl(&["req", "-new", "-key", &file("lock.key"), "-subj", "/CN=x", "-out", &file("lock.csr")]);
    let chain = factory(&["issue", "--maker-dir", &maker, "--csr", &file("lock.csr")]);
    fs::write(file("lock.pem"), chain).unwrap();
    let verified = factory(&["verify", "--root", &format!("{maker}/maker-root.pem"), &file("lock.pem")]);
    assert!(verified.contains("maker        CN=Example Locks"), "{verified}");
    let lock = verified.split_whitespace().nth(1).unwrap();
    let root = format!("{maker}/maker-root.pem");
    let said = openssl(&[
        "verify",
        "-x509_strict",
        "-CAfile",
        &root,
        "-untrusted",
        &format!("{maker}/maker-ca.pem"),
        &file("lock.pem"),
    ]);
    assert!(said.contains("OK"), "{said}");
    assert!(!fs::exists(work.path().join("state.db")).unwrap(), "a maker is no platform");

    let dir = initialised();
    let code = code_file(dir.path());
    fs::write(
        dir.path().join("platform.toml"),
        format!("[makers]\nroots = [\"{maker}/maker-root.pem\"]\nrequired = true\n"),
    )
    .unwrap();
    let config = dir.path().join("platform.toml");
    let config = config.to_str().unwrap();
    let enroll = |args: &[&str]| {
        text(&run(dir.path(), &[&["--config", config, "enroll", "--code-file", &code], args].concat()))
    };
    assert!(enroll(&[LOCK]).contains("--certificate"), "{}", enroll(&[LOCK]));
    assert!(enroll(&["--certificate", &root]).contains("not the certificate of a device"));
    let said = enroll(&["--certificate", &file("lock.pem")]);
    assert!(said.contains(&format!("{lock}: enrolled")), "{said}");
}
