//! The program that shows the PIN, where the configuration names one.
//!
//! A thread waits for it: the loop must not. There is one such thread, so that the program never runs
//! twice at once; while it runs, only the newest of what comes next is kept.

use std::io::Write;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Sender};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock;

/// The longest run of the program. One that never ends would keep all later PINs from being shown.
const RUN_MAX: Duration = Duration::from_secs(30);

/// How often it is looked whether the program has ended.
const POLL: Duration = Duration::from_millis(20);

pub(super) struct Screen {
    command: Vec<String>,
    /// To the thread; none before there was anything to show.
    lines: Option<Sender<Zeroizing<String>>>,
}

impl Screen {
    /// Shows by this program and its arguments; by nothing, if it is empty.
    pub(super) fn new(command: Vec<String>) -> Self {
        Self { command, lines: None }
    }

    /// Runs the program with a line on its standard input, as soon as it does not run.
    pub(super) fn show(&mut self, digits: &str) {
        if self.command.is_empty() {
            return;
        }
        let line = Zeroizing::new(format!("{digits}\n"));
        if self.lines.is_none() {
            self.lines = start(self.command.clone());
        }
        if let Some(lines) = &self.lines
            && lines.send(line).is_err()
        {
            tracing::error!("the PIN cannot be shown by a program any more");
        }
    }
}

fn start(command: Vec<String>) -> Option<Sender<Zeroizing<String>>> {
    let (sender, lines) = mpsc::channel::<Zeroizing<String>>();
    let work = move || {
        while let Ok(first) = lines.recv() {
            let newest = lines.try_iter().last().unwrap_or(first);
            run(&command, &newest);
        }
    };
    match std::thread::Builder::new().name("pin".into()).spawn(work) {
        Ok(_) => Some(sender),
        Err(error) => {
            tracing::error!("cannot show the PIN: {error}");
            None
        }
    }
}

fn run(command: &[String], line: &str) {
    let Some((name, arguments)) = command.split_first() else { return };
    let mut program = Command::new(name);
    program.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
    let ended = program.spawn().and_then(|mut child| {
        let written =
            child.stdin.take().map_or(Ok(()), |mut input| input.write_all(line.as_bytes()));
        let ended = wait(child)?;
        written.map(|()| ended)
    });
    match ended {
        Ok(Some(status)) if status.success() => {}
        Ok(Some(status)) => tracing::warn!("{name}, which shows the PIN, ended with {status}"),
        Ok(None) => {
            tracing::warn!("{name}, which shows the PIN, was stopped after {RUN_MAX:?}");
        }
        Err(error) => tracing::error!("cannot show the PIN with {name}: {error}"),
    }
}

/// How it ended; none if it had to be stopped.
fn wait(mut child: Child) -> std::io::Result<Option<ExitStatus>> {
    let start = clock::now().mono;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if clock::now().mono - start > RUN_MAX {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        std::thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_reads_the_newest_line_and_never_runs_twice_at_once() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().display();
        // Whoever finds the directory there runs beside another.
        let script = format!(
            "mkdir {path}/running || touch {path}/twice; read line; echo $line >> {path}/shown; \
             while [ ! -e {path}/go ]; do sleep 0.01; done; rmdir {path}/running"
        );
        let mut screen = Screen::new(["/bin/sh", "-c", &script].map(str::to_owned).to_vec());
        let shown = || std::fs::read_to_string(directory.path().join("shown")).unwrap_or_default();
        screen.show("1");
        while shown() != "1\n" {
            std::thread::sleep(POLL);
        }
        for n in 2..=50 {
            screen.show(&n.to_string());
        }
        std::fs::write(directory.path().join("go"), "").unwrap();
        while !shown().ends_with("50\n") {
            std::thread::sleep(POLL);
        }
        assert_eq!(shown(), "1\n50\n");
        assert!(!directory.path().join("twice").exists());
    }
}
