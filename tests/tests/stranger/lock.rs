//! The Python lock as a process: one line in, its answers out, on the test's own clock.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Stdio},
};

use cardea_tests::venv;

pub struct Stranger {
    child: Child,
    lines: ChildStdin,
    answers: BufReader<ChildStdout>,
    /// What it has put on the air and nobody has carried yet.
    pub frames: Vec<Vec<u8>>,
    /// Everything else it said.
    pub told: Vec<String>,
    /// When it wants its timer called, milliseconds.
    pub due: Option<u64>,
    /// SHA-256 thumbprint of its identity key, hexadecimal.
    pub thumbprint: String,
    /// What stands on its second label.
    pub code: String,
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
        let mut lock = Self {
            child,
            lines,
            answers,
            frames: Vec::new(),
            told: Vec::new(),
            due: None,
            thumbprint: String::new(),
            code: String::new(),
        };
        let label = lock.line();
        let words: Vec<&str> = label.split_whitespace().collect();
        let ["tell", "label", thumbprint, code] = words[..] else { panic!("{label}") };
        (lock.thumbprint, lock.code) = (thumbprint.to_owned(), code.to_owned());
        Some(lock)
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        assert!(self.answers.read_line(&mut line).unwrap() > 0, "the lock has died");
        line.trim_end().to_owned()
    }

    /// Hands it one line and takes what it answers.
    pub fn say(&mut self, now: u64, line: &str) {
        writeln!(self.lines, "{now} {line}").unwrap();
        loop {
            let answer = self.line();
            match answer.split_once(' ').unwrap() {
                ("frame", frame) => self.frames.push(hex::decode(frame).unwrap()),
                ("tell", words) => self.told.push(words.to_owned()),
                ("sleep", due) => {
                    self.due = due.parse().ok();
                    return;
                }
                _ => panic!("{answer}"),
            }
        }
    }

    /// The words behind the newest line that starts with this one.
    pub fn last(&self, word: &str) -> Option<Vec<String>> {
        let line = self.told.iter().rev().find_map(|line| line.strip_prefix(word)?.strip_prefix(' '))?;
        Some(line.split_whitespace().map(str::to_owned).collect())
    }

    /// What no lock would tell: see `inside` in the program.
    pub fn inside(&mut self, now: u64, word: &str) -> Vec<String> {
        self.say(now, "inside");
        self.last(word).unwrap_or_default()
    }

    /// How often the motor ran.
    pub fn motor(&self) -> usize {
        self.told.iter().filter(|line| line.starts_with("bolt ")).count()
    }
}

impl Drop for Stranger {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
