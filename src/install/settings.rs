//! How software is installed on this device.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// How software is installed on this device.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where to.
    pub kind: Kind,
    /// Argument vector run after each switch and each way back; empty for none. It may run more than
    /// once for one switch: after a power cut nobody knows whether it had ended.
    pub activate: Vec<String>,
    /// How long that may take.
    pub activate_timeout: Duration,
    /// Argument vector that succeeds when the new version is well; empty for none.
    pub health: Vec<String>,
    /// How long one run of it may take.
    pub health_timeout: Duration,
    /// The agent in a slot, relative to it, where `freshen launch` starts it from there; `None` where
    /// the agent is not part of what is installed.
    pub agent: Option<PathBuf>,
    /// How many times that agent may be started before it has proved itself.
    pub tries: u8,
    /// Whether files keep the owners that the archive gives them; only root can do that.
    pub keep_owners: bool,
    /// Whether files keep their set-user-id and set-group-id bits.
    pub keep_setuid: bool,
    /// Where in a slot components go, by their identifiers as [`Component::id`] shows them, joined by
    /// `/`. Others go where their identifiers say.
    ///
    /// [`Component::id`]: crate::package::Component::id
    pub components: BTreeMap<String, PathBuf>,
}

/// Where software is installed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Two directories below the state directory, and the symbolic link `current` to one of them.
    Slots,
    /// One file, replaced atomically.
    File(PathBuf),
    /// Wherever a program of the system puts it.
    Program(Program),
}

/// An installer that is on the device already: one argument vector a verb, empty where nothing is to be
/// done. In the arguments `{payload}` stands for the first payload's file, `{payloads}` for the
/// directory with all of them by number, `{version}` and `{digest}` for the version, `{new}` and
/// `{old}` for the words `booted` or `other`, whichever the new and the old software are at the time.
/// Each may be run again after a power cut and has to bear that.
///
/// With [`Self::booted`] the new software runs after a restart of the system, which the activate command
/// brings about, and runs in trial once that says something else than before the switch.
///
/// Exit code 0 means done and 3 that there is no space. Lines on stdout that begin with a number and
/// `%`, or are a JSON object with a member `percent`, say how far it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Program {
    /// Writes the version beside the one that runs.
    pub write: Vec<String>,
    /// Makes it the one that runs, or that runs after the next start.
    pub switch: Vec<String>,
    /// It stays.
    pub confirm: Vec<String>,
    /// Makes the one before it the one that runs.
    pub roll_back: Vec<String>,
    /// Frees the space of what was written and is not wanted.
    pub discard: Vec<String>,
    /// Says which copy of the software the system has booted: all of its output, or the member
    /// `booted` where that is a JSON object. Empty where new software runs without a restart.
    pub booted: Vec<String>,
    /// How long each may take.
    pub limit: Duration,
}

impl Program {
    /// A program made for freshen: it is called with its arguments, the verb, and for `write` the
    /// directory of the payloads.
    pub fn command(argv: &[String]) -> Self {
        let verb = |words: &[&str]| {
            argv.iter().cloned().chain(words.iter().map(|word| (*word).to_owned())).collect()
        };
        Self {
            write: verb(&["write", "{payloads}"]),
            switch: verb(&["switch"]),
            confirm: verb(&["confirm"]),
            roll_back: verb(&["roll-back"]),
            discard: verb(&["discard"]),
            booted: vec![],
            limit: PROGRAM_LIMIT,
        }
    }

    /// RAUC: the one payload is a bundle for the slots that are not booted. They are the ones of the
    /// next start, so the activate command is a restart. Where the boot loader comes back with the old
    /// ones, that is noticed and told.
    pub fn rauc() -> Self {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Self {
            write: words("rauc install {payload}"),
            switch: words("rauc status mark-active {new}"),
            confirm: words("rauc status mark-good booted"),
            roll_back: words("rauc status mark-active {old}"),
            discard: vec![],
            booted: words("rauc status --output-format=json"),
            limit: PROGRAM_LIMIT,
        }
    }

    /// SWUpdate: the one payload is a `.swu` file, handed to the daemon that is running. How the device
    /// changes over, and back, only its maker knows: those verbs are to be filled in.
    pub fn swupdate() -> Self {
        let words = |text: &str| text.split(' ').map(str::to_owned).collect();
        Self { write: words("swupdate-client {payload}"), limit: PROGRAM_LIMIT, ..Self::default() }
    }
}

/// How long a program may take for one verb: writing gigabytes to slow flash.
const PROGRAM_LIMIT: Duration = Duration::from_secs(3600);

impl Default for Settings {
    fn default() -> Self {
        Self {
            kind: Kind::Slots,
            activate: vec![],
            activate_timeout: Duration::from_secs(60),
            health: vec![],
            health_timeout: Duration::from_secs(30),
            agent: None,
            tries: 3,
            keep_owners: true,
            keep_setuid: false,
            components: BTreeMap::new(),
        }
    }
}
