//! Runs a command that the configuration names: an argument vector, no shell, a small environment, and
//! never longer than allowed.

use std::ffi::OsString;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process_group};

use crate::clock;
use crate::worker::Cancel;

/// What a command is told, beside its arguments.
pub(super) type Environment = Vec<(&'static str, OsString)>;

/// Gets every line that a command says.
pub(super) type Listener = Box<dyn FnMut(&str) + Send>;

/// How a command ended that did not succeed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Failed {
    /// Its exit code, if it had one.
    pub(super) code: Option<i32>,
    /// In words that follow "the command".
    pub(super) words: String,
}

impl From<String> for Failed {
    fn from(words: String) -> Self {
        Self { code: None, words }
    }
}

/// Runs `argv` to its end. With `keep_words` what it says on stderr becomes part of the error; without,
/// it goes where ours goes, and what it leaves running can go on writing there.
pub(super) fn run(
    argv: &[String],
    environment: Environment,
    limit: Duration,
    keep_words: bool,
    cancel: &Cancel,
) -> Result<(), Failed> {
    run_and_listen(argv, environment, limit, keep_words, cancel, None)
}

/// As [`run`]; every line on its stdout goes to `listen`.
pub(super) fn run_and_listen(
    argv: &[String],
    environment: Environment,
    limit: Duration,
    keep_words: bool,
    cancel: &Cancel,
    listen: Option<Listener>,
) -> Result<(), Failed> {
    let Some((program, arguments)) = argv.split_first() else { return Ok(()) };
    let mut command = Command::new(program);
    command.args(arguments).env_clear().env("PATH", PATH).envs(environment).current_dir("/");
    command.stdin(Stdio::null()).process_group(0);
    command.stdout(if listen.is_some() { Stdio::piped() } else { Stdio::null() });
    command.stderr(if keep_words { Stdio::piped() } else { Stdio::inherit() });
    let mut child =
        command.spawn().map_err(|error| format!("`{program}` could not be started: {error}"))?;
    let words = Words::follow(&mut child);
    let listener = listen.zip(child.stdout.take());
    let listener = listener.map(|(listen, pipe)| std::thread::spawn(|| each_line(pipe, listen)));
    let status = wait(&mut child, limit, cancel)?;
    if let Some(listener) = listener.filter(|_| status.success()) {
        // It ends with the last line, unless something was left running that holds the pipe.
        (0..WORDS_PATIENCE).take_while(|_| !listener.is_finished()).for_each(|_| {
            std::thread::sleep(Duration::from_millis(1));
        });
    }
    if status.success() {
        return Ok(());
    }
    let how = match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        _ => "ended badly".to_owned(),
    };
    Err(Failed { code: status.code(), words: format!("{how}{}", words.said()) })
}

/// Lines of bounded length; the rest of a longer one is a line of its own.
fn each_line(pipe: impl Read, mut listen: Listener) {
    let mut pipe = BufReader::new(pipe);
    let mut line = Vec::new();
    while let Ok(1..) = (&mut pipe).take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
        listen(String::from_utf8_lossy(&line).trim());
        line.clear();
    }
}

/// Polls: the system has no wait with a time limit that leaves other children alone.
fn wait(child: &mut Child, limit: Duration, cancel: &Cancel) -> Result<ExitStatus, String> {
    let begun = clock::now().mono;
    let mut pause = Duration::from_millis(1);
    loop {
        match child.try_wait() {
            Ok(Some(status)) => return Ok(status),
            Ok(None) => {}
            Err(error) => return Err(format!("could not be waited for: {error}")),
        }
        let why = if cancel.is_cancelled() {
            "was stopped on request".to_owned()
        } else if clock::now().mono - begun >= limit {
            format!("was still running after {} s and was stopped", limit.as_secs_f32())
        } else {
            std::thread::sleep(pause);
            pause = (pause * 2).min(PAUSE_MAX);
            continue;
        };
        // It and whatever it has started.
        let _ = kill_process_group(Pid::from_child(child), Signal::KILL);
        let _ = child.wait();
        return Err(why);
    }
}

/// The end of what a command says. Read by a thread of its own, which may outlive the command if that
/// left something running.
struct Words(Arc<Mutex<Vec<u8>>>);

impl Words {
    fn follow(child: &mut Child) -> Self {
        let kept = Arc::new(Mutex::new(Vec::new()));
        if let Some(mut pipe) = child.stderr.take() {
            let kept = kept.clone();
            std::thread::spawn(move || {
                let mut buffer = [0; 1024];
                while let Ok(read @ 1..) = pipe.read(&mut buffer) {
                    let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                    kept.extend_from_slice(&buffer[..read]);
                    let excess = kept.len().saturating_sub(WORDS_BYTES_MAX);
                    kept.drain(..excess);
                }
            });
        }
        Self(kept)
    }

    /// Its last line, once that is there.
    fn said(&self) -> String {
        for _ in 0..WORDS_PATIENCE {
            if Arc::strong_count(&self.0) == 1 {
                break;
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept);
        let last = text.lines().rev().map(str::trim).find(|line| !line.is_empty());
        let clean = |line: &str| line.chars().filter(|c| !c.is_control()).collect::<String>();
        last.map(|line| format!(": {}", clean(line))).unwrap_or_default()
    }
}

/// Where programs without a slash are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The longest pause between two looks at a command that runs.
const PAUSE_MAX: Duration = Duration::from_millis(50);

/// How much of what a command says is kept, bytes: a line or a few.
const WORDS_BYTES_MAX: usize = 1024;

/// The longest line that a command may say something in, bytes.
const LINE_BYTES_MAX: u64 = 1024;

/// How long the end of what it said is waited for, milliseconds.
const WORDS_PATIENCE: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, limit: Duration) -> Result<(), String> {
        let argv: Vec<String> = ["/bin/sh", "-c", script].map(str::to_owned).into();
        run(&argv, vec![("FRESHEN_X", "y".into())], limit, true, &Cancel::new())
            .map_err(|failed| failed.words)
    }

    const LONG: Duration = Duration::from_secs(30);

    #[test]
    fn the_end_of_a_command_is_told_in_words() {
        sh("exit 0", LONG).unwrap();
        assert_eq!(sh("exit 3", LONG).unwrap_err(), "ended with exit code 3");
        assert_eq!(sh("kill -9 $$", LONG).unwrap_err(), "was ended by signal 9");
        let said = sh("echo first >&2; echo 'no camera' >&2; exit 1", LONG).unwrap_err();
        assert_eq!(said, "ended with exit code 1: no camera");
        let missing = run(&["/none".into()], vec![], LONG, true, &Cancel::new()).unwrap_err();
        assert!(missing.words.starts_with("`/none` could not be started"), "{missing:?}");
    }

    #[test]
    fn no_command_is_a_good_command() {
        run(&[], vec![], LONG, true, &Cancel::new()).unwrap();
    }

    #[test]
    fn a_command_sees_a_small_environment_and_no_input() {
        sh("test \"$FRESHEN_X\" = y && test -z \"$HOME$CARGO$USER\" && ! read line", LONG).unwrap();
    }

    #[test]
    fn a_hung_command_is_stopped_with_all_that_it_started() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("pid");
        let script = format!("sleep 1000 & echo $! > {}; wait", file.display());
        let why = sh(&script, Duration::from_millis(300)).unwrap_err();
        assert!(why.contains("still running after"), "{why}");
        let pid: i32 = std::fs::read_to_string(file).unwrap().trim().parse().unwrap();
        let gone = || match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
            Ok(stat) => stat.contains(") Z "),
            Err(_) => true,
        };
        assert!((0..200).any(|_| gone() || {
            std::thread::sleep(Duration::from_millis(10));
            false
        }));
    }
}
