//! The random PIN: made here, shown here, and guessed at slowly.

use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::time::Duration;

use zeroize::Zeroizing;

use super::display::Screen;
use crate::clock::Instant;

/// Digits of a PIN: as many as IoTivity-Lite's have, whose tool reads them.
const PIN_DIGITS: usize = 8;

/// Wrong PINs before a new one is made.
const PIN_TRIES_MAX: u8 = 3;

/// The pause before that new one is shown; it doubles each time, up to [`PAUSE_MAX`]. With
/// [`PIN_TRIES_MAX`] guesses for each, a PIN is guessed once in some decades.
const PAUSE_FIRST: Duration = Duration::from_secs(5);
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// PINs made in [`MADE_WITHIN`]. Each is a file and a run of the configured program, and strangers can
/// make a device start anew as often as they like.
const PINS_MAX: usize = 3;
const MADE_WITHIN: Duration = Duration::from_secs(60);

/// The PIN that is valid now, and the memory of wrong ones.
pub(super) struct Pin {
    display: Display,
    digits: Option<Zeroizing<String>>,
    /// Wrong ones since the last pause.
    tries: u8,
    pause: Duration,
    /// When the next PIN may be shown, if one is wanted.
    wanted_at: Option<Instant>,
    /// Not before this.
    locked_until: Instant,
    /// When the last [`PINS_MAX`] were made.
    made: VecDeque<Instant>,
}

impl Pin {
    /// No PIN yet. Those to come are shown by the log, `file` and `command`.
    pub(super) fn new(file: PathBuf, command: Vec<String>) -> Self {
        let display = Display { file, screen: Screen::new(command) };
        display.forget();
        Self {
            display,
            digits: None,
            tries: 0,
            pause: PAUSE_FIRST,
            wanted_at: None,
            locked_until: Instant::ZERO,
            made: VecDeque::new(),
        }
    }

    /// The PIN that is valid now.
    pub(super) fn digits(&self) -> Option<&str> {
        self.digits.as_ref().map(|digits| digits.as_str())
    }

    /// A PIN is wanted. One that is shown already stays: whoever chooses the method again, be it the
    /// person in front of the device or a stranger, takes it from nobody.
    pub(super) fn want(&mut self, now: Instant) {
        if self.digits.is_some() || self.wanted_at.is_some() {
            return;
        }
        let rested = match self.made.front() {
            Some(first) if self.made.len() >= PINS_MAX => *first + MADE_WITHIN,
            _ => Instant::ZERO,
        };
        self.wanted_at = Some(now.max(self.locked_until).max(rested));
    }

    /// Another method is chosen. A PIN that is shown stays, for whoever chooses this one again; none is
    /// made.
    pub(super) fn put_aside(&mut self) {
        self.wanted_at = None;
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
        self.made.truncate(PINS_MAX);
        if self.made.len() == PINS_MAX {
            self.made.pop_front();
        }
        self.made.push_back(now);
        match random_digits() {
            Ok(digits) => {
                self.display.show(&digits);
                self.digits = Some(digits);
            }
            Err(error) => tracing::error!("cannot make a PIN: {error}"),
        }
        true
    }

    /// Somebody tried a wrong one, or one that nobody will ever know to be wrong; says whether the PIN
    /// is not valid any more.
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
        self.digits = None;
        self.display.forget();
        self.want(now);
        true
    }

    /// Somebody knew it.
    pub(super) fn was_right(&mut self) {
        self.pause = PAUSE_FIRST;
        self.tries = 0;
    }

    /// It is not valid any more, and none is wanted.
    pub(super) fn hide(&mut self) {
        self.wanted_at = None;
        if self.digits.take().is_some() {
            self.display.forget();
            self.display.screen.show("");
        }
    }
}

struct Display {
    file: PathBuf,
    screen: Screen,
}

impl Display {
    fn show(&mut self, digits: &str) {
        tracing::info!("the PIN for onboarding is {digits}");
        if let Err(error) = self.write(digits) {
            tracing::error!("cannot write the PIN to {}: {error}", self.file.display());
        }
        self.screen.show(digits);
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

    fn pin() -> (tempfile::TempDir, PathBuf, Pin) {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pin");
        let pin = Pin::new(file.clone(), vec![]);
        (directory, file, pin)
    }

    #[test]
    fn wrong_pins_make_the_next_one_wait_longer_each_time() {
        let (_directory, file, mut pin) = pin();
        pin.want(at(0));
        assert!(pin.show_due(at(0)));
        let first = pin.digits().unwrap().to_owned();
        assert_eq!(fs::read_to_string(&file).unwrap().trim(), first);
        assert!(first.len() == PIN_DIGITS && first.bytes().all(|byte| byte.is_ascii_digit()));
        // Far enough apart that only the pause decides.
        let mut now = 1000;
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
            now += 1000;
        }
        assert_eq!(waits, [5, 10, 20, 40, 80, 160, 300, 300]);
        pin.was_right();
        pin.hide();
        assert!(pin.digits().is_none() && !file.exists() && pin.deadline().is_none());
    }

    #[test]
    fn a_thousand_wrong_pins_take_a_day_also_for_who_chooses_the_method_again_and_again() {
        let (_directory, _, mut pin) = pin();
        let mut now = 0;
        let mut shown = std::collections::HashSet::new();
        for _ in 0..1000 {
            pin.put_aside();
            pin.want(at(now));
            if let Some(due) = pin.deadline() {
                now = now.max((due - Instant::ZERO).as_secs());
                assert!(pin.show_due(at(now)));
            }
            shown.insert(pin.digits().unwrap().to_owned());
            pin.was_wrong(at(now));
        }
        assert!(now > 24 * 3600, "{now} s");
        assert_eq!(shown.len(), 1000_usize.div_ceil(usize::from(PIN_TRIES_MAX)));
    }

    #[test]
    fn choosing_again_keeps_the_pin_and_choosing_otherwise_puts_it_aside() {
        let (_directory, file, mut pin) = pin();
        pin.want(at(0));
        assert!(pin.show_due(at(0)));
        let first = pin.digits().unwrap().to_owned();
        for n in 1..100 {
            pin.put_aside();
            pin.want(at(n));
            assert!(pin.deadline().is_none() && !pin.show_due(at(n)));
        }
        assert_eq!(pin.digits().unwrap(), first);
        assert_eq!(fs::read_to_string(&file).unwrap().trim(), first);
    }

    #[test]
    fn as_many_pins_are_made_in_a_minute_as_the_limit_says() {
        let (_directory, _, mut pin) = pin();
        let mut made = vec![];
        for second in 0..180 {
            // Somebody makes the device start anew each second.
            pin.hide();
            pin.want(at(second));
            if pin.show_due(at(second)) {
                made.push(second);
            }
        }
        assert_eq!(made, [0, 1, 2, 60, 61, 62, 120, 121, 122]);
    }
}
