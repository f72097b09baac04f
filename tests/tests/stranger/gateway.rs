//! The stranger's lock on the real daemon's loopback radio, a broker, and the platform program.

use std::{
    fs,
    net::UdpSocket,
    path::Path,
    process::{Command, Output},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use cardea_framing::LockId;
use cardea_radio::{Admission, AdmissionSecret, label};
use cardea_tests::{broker::Broker, daemon::Daemon, eventually, process::Process, program};

use crate::lock::{Device as _, Stranger};

const PATIENCE: Duration = Duration::from_secs(60);

fn platform(home: &Path, arguments: &[&str]) -> Output {
    Command::new(program("cardea-platform")).arg("--dir").arg(home).args(arguments).output().unwrap()
}

fn good(output: &Output) -> String {
    let text =
        format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{text}");
    text
}

/// Carries the lock's frames over the loopback radio: its id before each frame, its id alone to say "here I am".
struct OnTheAir {
    lock: Arc<Mutex<Stranger>>,
    start: Instant,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl OnTheAir {
    fn new(lock: Stranger, id: LockId, port: u16) -> Self {
        let (lock, stop, start) =
            (Arc::new(Mutex::new(lock)), Arc::new(AtomicBool::new(false)), Instant::now());
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.connect(("127.0.0.1", port)).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(5))).unwrap();
        let (device, stopped) = (Arc::clone(&lock), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            socket.send(&id.0).unwrap();
            let mut buffer = [0; 512];
            while !stopped.load(Ordering::Relaxed) {
                let heard = socket.recv(&mut buffer);
                let now = millis(start);
                let mut lock = device.lock().unwrap();
                if let Some((to, frame)) = heard.ok().and_then(|len| buffer[..len].split_first_chunk::<8>())
                    && *to == id.0
                {
                    lock.say(now, &format!("frame {}", hex::encode(frame)));
                } else if lock.said().due.is_some_and(|due| due <= now) {
                    lock.say(now, "timer");
                }
                for frame in std::mem::take(&mut lock.said().frames) {
                    socket.send(&[&id.0[..], &frame].concat()).unwrap();
                }
            }
        });
        Self { lock, start, stop, thread: Some(thread) }
    }

    fn say(&self, line: &str) {
        self.lock.lock().unwrap().say(millis(self.start), line);
    }

    fn motor(&self) -> usize {
        self.lock.lock().unwrap().said().motor()
    }
}

impl Drop for OnTheAir {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().unwrap().join();
    }
}

fn millis(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap()
}

#[test]
fn a_stranger_is_activated_and_unlocked_through_the_real_gateway_a_broker_and_the_platform_program() {
    let dir = tempfile::tempdir().unwrap();
    let Some(mut lock) = Stranger::start(&dir.path().join("flash"), None) else { return };
    let (thumbprint, code) = (lock.said().thumbprint.clone(), lock.said().code.clone());
    let id: LockId = thumbprint[..16].parse().unwrap();
    let broker = Broker::start(dir.path(), "");
    let daemon = Daemon::start(dir.path(), broker.port, "");

    let home = dir.path().join("platform");
    good(&platform(&home, &["init"]));
    let mut serve = Command::new(program("cardea-platform"));
    serve.arg("--dir").arg(&home).args(["--broker", &format!("mqtt://127.0.0.1:{}", broker.port), "serve"]);
    let _serve = Process::start(&mut serve, &home.with_extension("log"));
    eventually("serve listens", PATIENCE, || home.join("socket").exists().then_some(()));
    let paper = dir.path().join("code");
    fs::write(&paper, code).unwrap();
    good(&platform(&home, &["enroll", &thumbprint, "--code-file", paper.to_str().unwrap()]));
    let admission = Admission { lock: id, secret: AdmissionSecret::Loopback };
    daemon.admit(&[label::reveal(&admission).to_string()]);

    let air = OnTheAir::new(lock, id, daemon.loopback);
    air.say("link 222");
    let owned = || good(&platform(&home, &["locks"])).contains("owned").then_some(());
    eventually("activation", PATIENCE, owned);
    let name = id.to_string();
    let status = good(&platform(&home, &["status", &name]));
    assert!(status.contains("1.2.3"), "{status}");
    let done = good(&platform(&home, &["unlock", &name]));
    assert!(done.contains("unlocked"), "{done}");
    assert_eq!(air.motor(), 1);

    air.say("loss");
    air.say("link 222");
    good(&platform(&home, &["lock", &name]));
    assert_eq!(air.motor(), 2);
    air.say("door 2");
    eventually("the log has it", PATIENCE, || {
        good(&platform(&home, &["log", &name])).contains("door").then_some(())
    });
}
