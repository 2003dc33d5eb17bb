//! The random PIN: made here, shown here, and guessed at slowly.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Duration;

use zeroize::Zeroizing;

use crate::clock::Instant;

/// Digits of a PIN: as many as IoTivity-Lite's have, whose tool reads them.
const PIN_DIGITS: usize = 8;

/// Wrong PINs before a new one is made.
const PIN_TRIES_MAX: u8 = 3;

/// The pause before that new one is shown; it doubles each time, up to [`PAUSE_MAX`]. With
/// [`PIN_TRIES_MAX`] guesses for each, a PIN is guessed once in some decades.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// The PIN that is valid now, and the memory of wrong ones.
pub(super) struct Pin {
    display: Display,
    digits: Option<Zeroizing<String>>,
    /// Wrong ones since the last pause, for this PIN or the one before: who chooses the method again
    /// gets another PIN, but no more tries.
    tries: u8,
    pause: Duration,
    /// When the next PIN may be shown, if one is wanted.
    wanted_at: Option<Instant>,
    /// Not before this.
    locked_until: Instant,
}

impl Pin {
    /// No PIN yet. Those to come are shown by the log, `file` and `command`.
    pub(super) fn new(file: PathBuf, command: Vec<String>) -> Self {
        let display = Display { file, command };
        display.forget();
        Self {
            display,
            digits: None,
            tries: 0,
            pause: PAUSE_FIRST,
            wanted_at: None,
            locked_until: Instant::ZERO,
        }
    }

    /// The PIN that is valid now.
    pub(super) fn digits(&self) -> Option<&str> {
        self.digits.as_ref().map(|digits| digits.as_str())
    }

    /// A new PIN is wanted.
    pub(super) fn want(&mut self, now: Instant) {
        self.digits = None;
        self.wanted_at = Some(now.max(self.locked_until));
    }

    /// When to look again.
    pub(super) fn deadline(&self) -> Option<Instant> {
        self.wanted_at
    }

    /// Makes and shows the PIN that is wanted, when it is time; says whether it did.
    pub(super) fn show_due(&mut self, now: Instant) -> bool {
        if self.wanted_at.is_none_or(|at| at > now) {
            return false;
        }
        self.wanted_at = None;
        match random_digits() {
            Ok(digits) => {
                self.display.show(&digits);
                self.digits = Some(digits);
            }
            Err(error) => tracing::error!("cannot make a PIN: {error}"),
        }
        true
    }

    /// Somebody tried a wrong one; says whether the PIN is not valid any more.
    pub(super) fn was_wrong(&mut self, now: Instant) -> bool {
        if self.digits.is_none() {
            return false;
        }
        self.tries += 1;
        if self.tries < PIN_TRIES_MAX {
            return false;
        }
        tracing::warn!("{PIN_TRIES_MAX} wrong PINs; the next one is shown in {:?}", self.pause);
        self.tries = 0;
        self.locked_until = now + self.pause;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        self.display.forget();
        self.want(now);
        true
    }

    /// Somebody knew it.
    pub(super) fn was_right(&mut self) {
        self.pause = PAUSE_FIRST;
        self.tries = 0;
    }

    /// It is not wanted any more.
    pub(super) fn hide(&mut self) {
        self.wanted_at = None;
        if self.digits.take().is_some() {
            self.display.forget();
            self.display.run("");
        }
    }
}

struct Display {
    file: PathBuf,
    command: Vec<String>,
}

impl Display {
    fn show(&self, digits: &str) {
        tracing::info!("the PIN for onboarding is {digits}");
        if let Err(error) = self.write(digits) {
            tracing::error!("cannot write the PIN to {}: {error}", self.file.display());
        }
        self.run(digits);
    }

    fn write(&self, digits: &str) -> io::Result<()> {
        let mut options = fs::OpenOptions::new();
        let mut file =
            options.write(true).create(true).truncate(true).mode(0o600).open(&self.file)?;
        writeln!(file, "{digits}")
    }

    fn forget(&self) {
        match fs::remove_file(&self.file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => tracing::error!("cannot remove {}: {error}", self.file.display()),
        }
    }

    /// Runs the configured command with the PIN on its standard input. A thread waits for it: the
    /// loop must not.
    fn run(&self, digits: &str) {
        let Some((program, arguments)) = self.command.split_first() else { return };
        let mut command = Command::new(program);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
        let name = program.clone();
        let line = Zeroizing::new(format!("{digits}\n"));
        let spawned = std::thread::Builder::new().name("pin".into()).spawn(move || {
            let shown = command.spawn().and_then(|mut child| {
                if let Some(mut stdin) = child.stdin.take() {
                    stdin.write_all(line.as_bytes())?;
                }
                child.wait()
            });
            match shown {
                Ok(status) if status.success() => {}
                Ok(status) => tracing::warn!("{name}, which shows the PIN, ended with {status}"),
                Err(error) => tracing::error!("cannot show the PIN with {name}: {error}"),
            }
        });
        if let Err(error) = spawned {
            tracing::error!("cannot show the PIN: {error}");
        }
    }
}

/// Digits, each as likely as the others.
fn random_digits() -> Result<Zeroizing<String>, getrandom::Error> {
    let mut digits = Zeroizing::new(String::with_capacity(PIN_DIGITS));
    while digits.len() < PIN_DIGITS {
        let mut byte = [0];
        getrandom::fill(&mut byte)?;
        // 250 is the largest multiple of ten in a byte's range.
        if byte[0] < 250 {
            digits.push(char::from(b'0' + byte[0] % 10));
        }
    }
    Ok(digits)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Instant {
        Instant::at(Duration::from_secs(seconds))
    }

    #[test]
    fn wrong_pins_make_the_next_one_wait_longer_each_time() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pin");
        let mut pin = Pin::new(file.clone(), vec![]);
        pin.want(at(0));
        assert!(pin.show_due(at(0)));
        let first = pin.digits().unwrap().to_owned();
        assert_eq!(fs::read_to_string(&file).unwrap().trim(), first);
        assert!(first.len() == PIN_DIGITS && first.bytes().all(|byte| byte.is_ascii_digit()));
        let mut now = 0;
        let mut waits = vec![];
        for _ in 0..8 {
            while !pin.was_wrong(at(now)) {}
            assert!(pin.digits().is_none() && !file.exists());
            // Asking anew does not help.
            pin.want(at(now));
            let due = pin.deadline().unwrap();
            waits.push((due - at(now)).as_secs());
            assert!(!pin.show_due(at(now)));
            now += waits.last().unwrap();
            assert!(pin.show_due(at(now)));
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        pin.was_right();
        pin.hide();
        assert!(pin.digits().is_none() && !file.exists() && pin.deadline().is_none());
    }

    #[test]
    fn a_thousand_wrong_pins_take_a_day_also_for_who_chooses_the_method_again_and_again() {
        let directory = tempfile::tempdir().unwrap();
        let mut pin = Pin::new(directory.path().join("pin"), vec![]);
        let mut now = 0;
        let mut shown = std::collections::HashSet::new();
        for _ in 0..1000 {
            pin.want(at(now));
            now = now.max((pin.deadline().unwrap() - Instant::ZERO).as_secs());
            assert!(pin.show_due(at(now)));
            shown.insert(pin.digits().unwrap().to_owned());
            pin.was_wrong(at(now));
        }
        let pauses = 1000 / u64::from(PIN_TRIES_MAX);
        assert_eq!(now, 5 + 10 + 20 + 40 + 80 + 160 + (pauses - 6) * 300);
        assert!(shown.len() > 990, "each PIN is a new one");
    }

    #[test]
    fn the_command_reads_the_pin_from_its_input() {
        let directory = tempfile::tempdir().unwrap();
        let shown = directory.path().join("shown");
        let script = format!("cat > {0}.new && mv {0}.new {0}", shown.display());
        let command = ["/bin/sh", "-c", &*script].map(str::to_owned).to_vec();
        let mut pin = Pin::new(directory.path().join("pin"), command);
        pin.want(at(0));
        pin.show_due(at(0));
        while !shown.exists() {
            std::thread::sleep(Duration::from_millis(5));
        }
        assert_eq!(fs::read_to_string(&shown).unwrap().trim(), pin.digits().unwrap());
    }
}
