//! A child process that answers one line of JSON with one line of JSON, as the Python peers do.

use std::{
    io::{BufRead as _, BufReader, Lines, Write as _},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    time::Duration,
};

use serde_json::Value;

/// A peer on a slow machine takes seconds to start; one that hangs must not hang the tests.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running peer. It ends with the test.
pub struct LinePeer {
    child: Child,
    questions: ChildStdin,
    answers: Receiver<String>,
}

impl LinePeer {
    /// Starts `command`.
    pub fn start(command: &mut Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let questions = child.stdin.take().unwrap();
        let lines: Lines<_> = BufReader::new(child.stdout.take().unwrap()).lines();
        let (send, answers) = channel();
        std::thread::spawn(move || lines.map_while(Result::ok).try_for_each(|line| send.send(line)));
        Self { child, questions, answers }
    }

    /// Asks and waits for the answer.
    ///
    /// # Panics
    /// If the peer has ended or does not answer within a minute.
    pub fn ask(&mut self, question: &Value) -> Value {
        writeln!(self.questions, "{question}").unwrap();
        let answer = self.answers.recv_timeout(PATIENCE).expect("the peer answers; its errors are above");
        serde_json::from_str(&answer).unwrap()
    }
}

impl Drop for LinePeer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
