//! A lock as the tests see it, and the Python one as a process: one line in, its answers out, on the test's own clock.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use cardea_tests::venv;

/// What a lock has said, and its labels.
#[derive(Default)]
pub struct Said {
    /// What it has put on the air and nobody has carried yet.
    pub frames: Vec<Vec<u8>>,
    /// Everything else.
    pub told: Vec<String>,
    /// When it wants its timer called, milliseconds.
    pub due: Option<u64>,
    /// SHA-256 thumbprint of its identity key, hexadecimal.
    pub thumbprint: String,
    /// What stands on its second label.
    pub code: String,
}

impl Said {
    /// The words behind the newest line that starts with this one.
    pub fn last(&self, word: &str) -> Vec<String> {
        let line = self.told.iter().rev().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '));
        line.unwrap_or_default().split_whitespace().map(str::to_owned).collect()
    }

    /// How often the motor ran.
    pub fn motor(&self) -> usize {
        self.told.iter().filter(|line| line.starts_with("bolt ")).count()
    }
}

/// A lock that takes lines as `tests/peers/stranger_lock.py` explains them.
pub trait Device {
    fn say(&mut self, now: u64, line: &str);
    fn said(&mut self) -> &mut Said;
}

pub struct Stranger {
    child: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
    said: Said,
}

impl Stranger {
    /// A new lock, or the one whose flash is this file. With a seed its random numbers are always the same.
    pub fn start(flash: &Path, seed: Option<&str>) -> Option<Self> {
        let mut command = venv::python("stranger_lock.py")?;
        command.arg(flash).env("PYTHONDONTWRITEBYTECODE", "1");
        if let Some(seed) = seed {
            command.args(["--seed", seed]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (lines, answers) = (child.stdin.take().unwrap(), BufReader::new(child.stdout.take().unwrap()));
        let mut lock = Self { child, lines, answers, said: Said::default() };
        let label = lock.line();
        let words: Vec<&str> = label.split_whitespace().collect();
        let ["tell", "label", thumbprint, code] = words[..] else { panic!("{label}") };
        (lock.said.thumbprint, lock.said.code) = (thumbprint.to_owned(), code.to_owned());
        Some(lock)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.answers.read_line(&mut line).unwrap() > 0, "the lock has died");
        line.trim_end().to_owned()
    }
}

impl Device for Stranger {
    fn say(&mut self, now: u64, line: &str) {
        writeln!(self.lines, "{now} {line}").unwrap();
        loop {
            let answer = self.line();
            match answer.split_once(' ').unwrap() {
                ("frame", frame) => self.said.frames.push(hex::decode(frame).unwrap()),
                ("tell", words) => self.said.told.push(words.to_owned()),
                ("sleep", due) => {
                    self.said.due = due.parse().ok();
                    return;
                }
                _ => panic!("{answer}"),
            }
        }
    }

    fn said(&mut self) -> &mut Said {
        &mut self.said
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
