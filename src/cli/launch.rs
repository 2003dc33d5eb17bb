//! `freshen launch`: starts the agent from the slot that runs, and counts.
//!
//! It stands outside of the slots and is never updated, so that an agent can update itself and be no
//! good. It knows four names below the state directory and nothing else: no configuration, no record, no
//! network. Before it starts an agent that has not proved itself yet, it takes one from the count on the
//! disk; when none is left it points `current` back. Then it becomes the agent (exec), and whoever
//! started it (systemd's `Restart=always`) starts it again when the agent ends, however it ends.
//!
//! It is a subcommand and no program of its own: one file to install, and it serves as the agent as
//! well, where no slot has one. All that it calls is the standard library, and the lock that says whose the
//! state directory is.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::symlink;
use std::os::unix::process::CommandExt;
use std::path::{Component, Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::device::{Claim, LAUNCHED};

/// Start the agent from the slot that runs, or bring back the slot before it
///
/// For a service manager that starts it again whenever it ends. A new agent that does not prove itself is
/// started as often as install.tries says, and then the old one is.
#[derive(Debug, Default, PartialEq, Eq)]
#[cfg_attr(feature = "tool", derive(clap::Args))]
#[cfg_attr(
    feature = "tool",
    command(after_help = "Example: a service that can update itself:\n  \
    ExecStart=/usr/bin/freshen launch --state /var/lib/freshen --agent bin/freshen -- \\\n    \
    --config /etc/freshen/device.toml")
)]
pub(super) struct Args {
    /// Directory for everything the device keeps, as for `freshen device`
    #[cfg_attr(feature = "tool", arg(long, value_name = "DIR"))]
    pub(super) state: PathBuf,
    /// The agent, as a path inside a slot; the same as install.agent
    #[cfg_attr(feature = "tool", arg(long, value_name = "PATH"))]
    pub(super) agent: PathBuf,
    /// More arguments for `freshen device`
    #[cfg_attr(feature = "tool", arg(last = true, value_name = "ARGUMENTS"))]
    pub(super) rest: Vec<String>,
}

pub(super) fn run(args: Args) -> Result<()> {
    let own = std::env::current_exe().context("cannot find myself")?;
    // Before anything is counted: a start that fails because an agent lives is no try of the new one.
    // It ends where the agent begins, which takes its own: an agent may be a script that starts freshen.
    let _claim = Claim::take(&args.state)?;
    loop {
        let agent = match choose(&args.state, &args.agent) {
            Ok(agent) => agent.unwrap_or_else(|| own.clone()),
            // A disk that does not even let us count still has an agent on it that may help.
            Err(error) => {
                tracing::error!(
                    "{}; starting the agent that was there from the beginning",
                    super::in_words(&error)
                );
                break;
            }
        };
        let error = command(&agent, &args).env(LAUNCHED, &agent).exec();
        tracing::error!("{} cannot be started: {error}", agent.display());
        // On trial it was counted: the next round has one less, or the old slot.
        if !is_on_trial(&args.state) {
            break;
        }
    }
    let error = command(&own, &args).env_remove(LAUNCHED).exec();
    Err(error).with_context(|| format!("cannot start {}", own.display()))
}

fn command(agent: &Path, args: &Args) -> Command {
    let mut command = Command::new(agent);
    command.arg("device").arg("--state").arg(&args.state).args(&args.rest);
    command
}

/// The agent to start, counted if it is on trial; `None` for the one that was there from the beginning.
fn choose(state: &Path, agent: &Path) -> Result<Option<PathBuf>> {
    let Some(slot) = slot_behind(&state.join(CURRENT)) else { return Ok(None) };
    match tries_left(state, &slot) {
        Some(0) => {
            tracing::error!("{slot} was started too often without success: going back");
            go_back(state).context("cannot go back to the slot before")?;
            return choose(state, agent);
        }
        Some(left) => {
            write_durably(state, TRIAL, &format!("{slot} {}\n", left - 1))
                .context("cannot count the starts of the new agent")?;
        }
        None => {}
    }
    let agent = state.join(slot).join(agent);
    Ok(fs::canonicalize(&agent).ok().filter(|agent| agent.is_file()))
}

fn is_on_trial(state: &Path) -> bool {
    slot_behind(&state.join(CURRENT)).is_some_and(|slot| tries_left(state, &slot).is_some())
}

/// The slot that a link leads to, and nothing else that it may lead to.
fn slot_behind(link: &Path) -> Option<String> {
    let target = fs::read_link(link).ok()?;
    let names: Vec<_> = target.components().collect();
    match names[..] {
        [Component::Normal(slots), Component::Normal(_)] if slots == "slots" => {
            target.to_str().map(str::to_owned)
        }
        _ => None,
    }
}

/// How often the agent of this slot may still be started; `None` where nobody counts.
fn tries_left(state: &Path, slot: &str) -> Option<u8> {
    let text = fs::read_to_string(state.join(TRIAL)).ok()?;
    let (counted, left) = text.trim_end().split_once(' ')?;
    left.parse().ok().filter(|_| counted == slot)
}

/// Points `current` to where `previous` points, in one step. The count stays: by it the old agent knows.
fn go_back(state: &Path) -> io::Result<()> {
    let current = state.join(CURRENT);
    match slot_behind(&state.join(PREVIOUS)).filter(|slot| state.join(slot).is_dir()) {
        Some(slot) => {
            let new = state.join("current.launch");
            match fs::remove_file(&new) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
            symlink(slot, &new)?;
            fs::rename(new, current)?;
        }
        // There is no slot before this one.
        None => fs::remove_file(current)?,
    }
    File::open(state)?.sync_all()
}

fn write_durably(state: &Path, name: &str, text: &str) -> io::Result<()> {
    let new = state.join(format!("{name}.launch"));
    let mut file = File::create(&new)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    fs::rename(new, state.join(name))?;
    File::open(state)?.sync_all()
}

// As `install::slots` has them.
const CURRENT: &str = "current";
const PREVIOUS: &str = "previous";
const TRIAL: &str = "trial";

#[cfg(test)]
mod tests {
    use super::*;

    fn device(current: &str, previous: Option<&str>, trial: Option<&str>) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        for slot in ["slots/a", "slots/b"] {
            fs::create_dir_all(dir.path().join(slot).join("bin")).unwrap();
            fs::write(dir.path().join(slot).join("bin/freshen"), slot).unwrap();
        }
        symlink(current, dir.path().join(CURRENT)).unwrap();
        if let Some(previous) = previous {
            symlink(previous, dir.path().join(PREVIOUS)).unwrap();
        }
        if let Some(trial) = trial {
            fs::write(dir.path().join(TRIAL), trial).unwrap();
        }
        dir
    }

    /// Which agent is started now, by what is in its file.
    fn started(dir: &Path) -> String {
        let chosen = choose(dir, Path::new("bin/freshen")).unwrap();
        chosen.map_or("built-in".into(), |agent| fs::read_to_string(agent).unwrap())
    }

    #[test]
    fn a_new_agent_is_started_as_often_as_counted_and_then_the_old_one_is() {
        let dir = device("slots/b", Some("slots/a"), Some("slots/b 3\n"));
        for left in ["slots/b 2\n", "slots/b 1\n", "slots/b 0\n"] {
            assert_eq!(started(dir.path()), "slots/b");
            assert_eq!(fs::read_to_string(dir.path().join(TRIAL)).unwrap(), left);
        }
        for _ in 0..5 {
            assert_eq!(started(dir.path()), "slots/a");
        }
        assert_eq!(fs::read_to_string(dir.path().join(TRIAL)).unwrap(), "slots/b 0\n");
    }

    #[test]
    fn an_agent_that_has_proved_itself_is_not_counted() {
        for trial in [None, Some("slots/b 0\n"), Some("nonsense"), Some("slots/a x")] {
            let dir = device("slots/a", None, trial);
            for _ in 0..10 {
                assert_eq!(started(dir.path()), "slots/a", "{trial:?}");
            }
        }
    }

    #[test]
    fn without_a_slot_before_it_the_agent_from_the_beginning_is_started() {
        for previous in [None, Some("none"), Some("/etc"), Some("slots/c")] {
            let dir = device("slots/b", previous, Some("slots/b 0"));
            assert_eq!(started(dir.path()), "built-in", "{previous:?}");
            assert_eq!(started(dir.path()), "built-in", "{previous:?}");
        }
    }

    #[test]
    fn a_slot_without_an_agent_and_a_link_that_leads_elsewhere_start_the_one_from_the_beginning() {
        let dir = device("slots/a", None, None);
        fs::remove_file(dir.path().join("slots/a/bin/freshen")).unwrap();
        assert_eq!(started(dir.path()), "built-in");
        for elsewhere in ["/tmp", "slots/../../x", "slots", "../slots/a", "slots/a/bin"] {
            let dir = device(elsewhere, None, None);
            assert_eq!(started(dir.path()), "built-in", "{elsewhere}");
        }
    }
}
