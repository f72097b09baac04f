//! The phone's side as people run it: `cardea-platform holder`, with files, beside the real daemon.

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use cardea_credentials::Scope;
use cardea_resources::Bolt;
use cardea_sdk::holder_key::{HolderKey, read_public};
use cardea_tests::program;

use crate::site::Site;

fn run(args: &[&str]) -> Output {
    Command::new(program("cardea-platform")).args(args).output().unwrap()
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// The files of one person.
struct Pocket<'a>(&'a Path, &'static str);

impl Pocket<'_> {
    fn path(&self, what: &str) -> PathBuf {
        self.0.join(format!("{}.{what}", self.1))
    }

    fn file(&self, what: &str) -> String {
        self.path(what).to_str().unwrap().to_owned()
    }

    fn ask(&self, socket: &str, what: &str) -> Output {
        run(&["holder", "ask", what, &self.file("cardea"), "--key", &self.file("key"), "--socket", socket])
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_passes_a_grant_on_and_the_other_holder_opens_the_door_with_it() {
    let mut site = Site::new().await;
    let dir = site.dir.path().to_owned();
    let (ada, bob) = (Pocket(&dir, "ada"), Pocket(&dir, "bob"));
    for path in [ada.path("key"), ada.path("signing"), bob.path("key")] {
        HolderKey::create(&path).unwrap();
    }
    let key = HolderKey::open(&ada.path("key")).unwrap().into_agreement();
    let granted = site
        .grant(&key, "Ada", |new| {
            new.scope = Scope::UNLOCK | Scope::LOCK | Scope::LOG;
            new.delegate = Some(read_public(&ada.path("signing")).unwrap());
        })
        .await;
    std::fs::write(ada.path("cardea"), granted.encode()).unwrap();
    site.outage().await;

    let (own, signing, theirs) = (ada.file("cardea"), ada.file("signing"), bob.file("key"));
    let base = ["holder", "delegate", &own, "--signing-key", &signing, "--key", &theirs];
    let out = bob.file("cardea");
    for (more, words) in [
        (["--rights", "unlock,status"], "a right that the grant does not have"),
        (["--until", "+2h"], "a time after the grant ends"),
        (["--signing-key", &theirs], "cannot be used multiple times"),
    ] {
        let output = run(&[&base[..], &more, &["-o", &out]].concat());
        assert!(!output.status.success() && text(&output).contains(words), "{more:?}: {}", text(&output));
        assert!(!bob.path("cardea").exists());
    }
    let output = run(&[&base[..], &["--rights", "unlock,log", "--until", "+30m", "-o", &out]].concat());
    assert!(output.status.success() && text(&output).contains("unlock,log"), "{}", text(&output));

    let socket = site.socket.to_str().unwrap().to_owned();
    let work = |what: &'static str| {
        let (dir, socket) = (dir.clone(), socket.clone());
        tokio::task::spawn_blocking(move || Pocket(&dir, "bob").ask(&socket, what))
    };
    let output = work("unlock").await.unwrap();
    assert!(output.status.success() && text(&output).contains("the bolt is unlocked"), "{}", text(&output));
    assert_eq!(*site.lock.bolt().borrow(), Bolt::Unlocked);
    let output = work("lock").await.unwrap();
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
    assert!(text(&output).contains("4.03"), "{}", text(&output));
    let output = work("log").await.unwrap();
    let tag = hex::encode(&granted.grant().id()[..4]);
    assert!(text(&output).contains(&format!("unlocked by grant {tag}")), "{}", text(&output));
    // The file alone is worth nothing.
    let stolen = run(&["holder", "ask", "unlock", &out, "--key", &ada.file("key"), "--socket", &socket]);
    assert!(text(&stolen).contains("is for another key"), "{}", text(&stolen));
}
