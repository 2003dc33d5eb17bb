//! `freshen demo`: the whole main job on this machine, with nothing to prepare.
//!
//! It plays four parts with the commands that anyone has: a vendor packs, signs and publishes; a device
//! runs; an owner takes it and lets a client use it; the client orders updates and watches, over DTLS.
//! Only the vendor's web server is the demo's own.

mod device;
mod screen;
mod vendor;
mod watch;

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use chrono::{SecondsFormat, TimeDelta};

use device::Device;
use screen::Screen;
use vendor::Vendor;
use watch::{Life, watch};

use crate::clock;

/// Show the whole job on this machine: a vendor, a device, its owner, a client, three updates
#[derive(clap::Args)]
#[command(after_help = "Example:\n  freshen demo\n\n\
    Nothing is left behind, but with --keep. Everything stays on this machine.")]
pub(super) struct Args {
    /// Keep what was made in this directory, to look at
    #[arg(long, value_name = "DIR")]
    keep: Option<PathBuf>,
    /// Size of the package, megabytes
    #[arg(long, value_name = "MB", default_value = "48", value_parser = clap::value_parser!(u32).range(1..=2000))]
    size: u32,
}

/// How far in the future the first update is scheduled: more than the 5 s that count as now.
const SCHEDULED_IN: TimeDelta = TimeDelta::seconds(7);

pub(super) fn run(args: Args) -> Result<()> {
    let directory = Place::new(args.keep)?;
    let screen = Screen::new();
    let begun = clock::now().mono;
    screen.title("freshen: a vendor, a device, its owner and a client, all on this machine");

    screen.part("A vendor makes a key, packs a release and puts it on its https server");
    let vendor = Vendor::open(directory.path.clone(), &screen)?;
    let good = vendor.publish("1.1.0", args.size, vendor::Kind::Good)?;

    screen.part("A device that believes this vendor");
    let device = Device::start(&vendor, &screen)?;

    screen.part("Somebody owns it (Just Works, over DTLS) and makes somebody else its client");
    let own = ["own", &device.clear, "--credentials", "owner"];
    screen.say(shown(&screen, &device.directory, &own)?.trim());
    let provision =
        ["provision", "client", &device.clear, "--to", "client", "--credentials", "owner"];
    screen.say(shown(&screen, &device.directory, &provision)?.trim());

    screen.part("The client schedules the update and watches");
    let at = (clock::now().wall + SCHEDULED_IN).to_rfc3339_opts(SecondsFormat::Secs, true);
    let life = watch(&screen, &device, &["--purl", &good, "--at", &at])?;
    expect(&screen, &device, &life, 1, "1.1.0")?;

    screen.part("A release with one flipped bit on the server");
    let flipped = vendor.publish("1.2.0", args.size, vendor::Kind::Flipped)?;
    let life = watch(&screen, &device, &["--purl", &flipped])?;
    expect(&screen, &device, &life, 5, "1.1.0")?;

    screen.part("A release that is signed and whole, but does not work");
    let bad = vendor.publish("1.3.0", args.size, vendor::Kind::Bad)?;
    let life = watch(&screen, &device, &["--purl", &bad])?;
    expect(&screen, &device, &life, 8, "1.1.0")?;

    let seconds = (clock::now().mono - begun).as_secs_f32();
    screen.title(&format!(
        "installed, refused, rolled back, in {seconds:.0} s; the device runs {}",
        device.running()
    ));
    if directory.kept {
        println!("Everything is in {}", directory.path.display());
    }
    Ok(())
}

/// The demo says what it expects, and fails when something else happens.
fn expect(screen: &Screen, device: &Device, life: &Life, result: u64, running: &str) -> Result<()> {
    life.print(screen);
    let runs = device.running();
    ensure!(
        life.result == result && runs == running,
        "expected result {result} and {running} running, but got {} and {runs}",
        life.result
    );
    screen.verdict(&format!("result {result}: {}; the device runs {runs}", life.words(result)));
    Ok(())
}

/// This very program, to be run as a person would.
fn freshen() -> Result<Command> {
    Ok(Command::new(std::env::current_exe().context("cannot find this program")?))
}

/// Runs a command to its end, showing it first; what it said.
fn shown(screen: &Screen, directory: &std::path::Path, arguments: &[&str]) -> Result<String> {
    screen.command(arguments);
    let output = freshen()?
        .args(arguments)
        .current_dir(directory)
        .output()
        .context("cannot run this program once more")?;
    if !output.status.success() {
        bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// A directory that goes away with the demo, unless it is to be kept.
struct Place {
    path: PathBuf,
    kept: bool,
}

impl Place {
    fn new(keep: Option<PathBuf>) -> Result<Self> {
        let kept = keep.is_some();
        let path = keep.unwrap_or_else(|| {
            std::env::temp_dir().join(format!("freshen-demo-{}", std::process::id()))
        });
        // Made by us and only now: nobody can have put something there before.
        std::fs::create_dir(&path)
            .with_context(|| format!("cannot make {} (it must be new)", path.display()))?;
        let path = path.canonicalize().context("cannot find the directory just made")?;
        Ok(Self { path, kept })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}
