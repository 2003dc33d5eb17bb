//! A real PostgreSQL server in a directory of its own, as an unprivileged user, on a socket in that
//! directory and on no network. It ends with the test program.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};
use std::time::Duration;

static SERVER: OnceLock<Option<Server>> = OnceLock::new();
static DATABASES: AtomicU32 = AtomicU32::new(0);

/// Why a test is skipped.
pub(crate) const MISSING: &str = "PostgreSQL is not installed (Debian: postgresql)";
/// The unprivileged user and group.
const NOBODY: u32 = 65534;
/// How long PostgreSQL may take on a busy machine until it answers.
const START_MAX: Duration = Duration::from_secs(120);

/// A server under way.
#[derive(Debug)]
pub(crate) struct Server {
    dir: PathBuf,
    root: bool,
    child: Mutex<Option<Child>>,
    /// Takes the directory away when this test program has ended, however it did.
    _sweeper: ChildStdin,
}

/// A new database on the server of this test program; says so when there is no PostgreSQL here.
pub(crate) fn database() -> Option<String> {
    let server = SERVER.get_or_init(Server::start);
    if server.is_none() {
        harness::skipped(MISSING);
    }
    server.as_ref().map(Server::database)
}

impl Server {
    /// Starts a server of its own; none when there is no PostgreSQL here.
    pub(crate) fn start() -> Option<Self> {
        let bin = programs()?;
        // Short, as the socket in it has to be, and where an unprivileged user can get to.
        let dir = tempfile::Builder::new().prefix("fleet-pg").tempdir_in("/tmp").unwrap().keep();
        fs::set_permissions(&dir, fs::Permissions::from_mode(0o700)).unwrap();
        // PostgreSQL refuses to run as root.
        let root = is_root();
        if root {
            chown(&dir, Some(NOBODY), Some(NOBODY)).unwrap();
        }
        let sweeper = sweeper(&dir);
        let server = Self { dir, root, child: Mutex::new(None), _sweeper: sweeper };
        let data = server.dir.join("data");
        let made = server
            .command(&bin.join("initdb"))
            .args(["--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--username=fleet"])
            .args(["--no-sync", "-D"])
            .arg(&data)
            .output()
            .unwrap();
        assert!(made.status.success(), "initdb: {}", String::from_utf8_lossy(&made.stderr));
        server.run();
        Some(server)
    }

    /// Begins the server's process, after [`Self::kill`] anew.
    pub(crate) fn run(&self) {
        let data = self.dir.join("data");
        let log = fs::File::create(self.dir.join("log")).unwrap();
        let _ = fs::remove_file(data.join("postmaster.pid"));
        let mut command = self.command(&programs().unwrap().join("postgres"));
        command.arg("-D").arg(&data).arg("-k").arg(&self.dir);
        command.args(["-c", "listen_addresses=", "-c", "shared_buffers=32MB"]);
        // As many tests at once as there are processors, each with a pool. A server that is killed
        // loses nothing that the kernel has: no need to wait for the disk.
        command.args(["-c", "max_connections=500", "-c", "fsync=off"]);
        command.stderr(log.try_clone().unwrap()).stdout(log);
        // The server ends with the thread that began it: one that lives as long as this program.
        let (sender, child) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            sender.send(command.spawn().unwrap()).unwrap();
            loop {
                std::thread::park();
            }
        });
        let child = child.recv().unwrap();
        *self.child.lock().unwrap() = Some(child);
        let answers = || self.psql("postgres", "SELECT 1").is_ok();
        let up = harness::within(START_MAX, answers);
        assert!(up, "no answer: {:?}", fs::read_to_string(self.dir.join("log")));
    }

    /// Ends the server's process at once, as a power cut would.
    pub(crate) fn kill(&self) {
        if let Some(mut child) = self.child.lock().unwrap().take() {
            // QUIT: all of its processes end at once, and nothing is written any more.
            let pid = child.id().to_string();
            let _ = Command::new("kill").args(["-QUIT", &pid]).status();
            let _ = child.wait();
        }
    }

    /// Makes a database and gives its address.
    pub(crate) fn database(&self) -> String {
        let name = format!("fleet{}", DATABASES.fetch_add(1, Ordering::Relaxed));
        self.psql("postgres", &format!("CREATE DATABASE {name}")).unwrap();
        format!("host={} user=fleet dbname={name}", self.dir.display())
    }

    fn psql(&self, database: &str, sql: &str) -> Result<(), String> {
        let out = Command::new(programs().unwrap().join("psql"))
            .args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "fleet", "-d", database, "-h"])
            .arg(&self.dir)
            .args(["-c", sql])
            .output()
            .unwrap();
        let error = || String::from_utf8_lossy(&out.stderr).into_owned();
        if out.status.success() { Ok(()) } else { Err(error()) }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new("setpriv");
        // It ends when the test program does, also when that is killed.
        command.args(["--pdeathsig", "QUIT"]);
        if self.root {
            command.arg(format!("--reuid={NOBODY}")).arg(format!("--regid={NOBODY}"));
            command.arg("--clear-groups");
        }
        command.arg(program);
        command.current_dir(&self.dir).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8");
        command
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// A process that waits for the end of this one, and then removes the directory.
fn sweeper(dir: &Path) -> ChildStdin {
    // PostgreSQL may still be about to end when the first try is made.
    let script = "cat; for n in 1 2 3 4 5; do rm -rf -- \"$1\" && break; sleep 1; done";
    let mut command = Command::new("sh");
    command.args(["-c", script, "sh"]).arg(dir).current_dir("/");
    command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap().stdin.take().expect("it was asked for")
}

fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0)
}

/// Where Debian keeps the programs of the newest PostgreSQL.
fn programs() -> Option<PathBuf> {
    let mut all: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path().join("bin")))
        .filter(|bin| bin.join("initdb").exists())
        .collect();
    all.sort();
    all.pop()
}
