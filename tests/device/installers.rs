//! RAUC and SWUpdate, which we did not write: their packages install, fail and are rolled back through
//! our agent. Their slots are plain files, their boot loader is a few lines of shell, and a restart of
//! the system is one of RAUC's service.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::Value;

use crate::bench::{Device, Vendor, make_executable};

#[test]
fn rauc_bundles_install_fail_and_are_rolled_back() {
    if !has(&["rauc", "dbus-daemon", "mksquashfs"]) || !can_mount() {
        return harness::skipped("RAUC: it, dbus-daemon, mksquashfs or loop devices are missing");
    }
    let vendor = Vendor::new();
    let rauc = Rauc::start(&vendor);
    let device = Device::start_with(&vendor, "cam", &rauc.configuration(&vendor), &["--insecure"]);

    let good = rauc.bundle("2.0", "good", "vendor");
    let value = update(&vendor, &device, "2.0", &good);
    assert_eq!(value["swupdateresult"], 1, "{}", device.log());
    assert_eq!((rauc.read("primary"), rauc.read("booted")), ("B".into(), "B".into()));
    assert_eq!(rauc.read("state-B"), "good");
    assert!(fs::read(rauc.path("slot-B")).unwrap().starts_with(b"good 2.0"));

    let strange = rauc.bundle("3.0", "good", "stranger");
    let value = update(&vendor, &device, "3.0", &strange);
    assert_eq!(value["swupdateresult"], 8, "{}", device.log());
    assert!(
        device.log().contains("the installer `env` ended with exit code 1"),
        "{}",
        device.log()
    );
    assert_eq!((rauc.read("primary"), rauc.read("booted")), ("B".into(), "B".into()));

    let bad = rauc.bundle("4.0", "bad", "vendor");
    let value = update(&vendor, &device, "4.0", &bad);
    assert_eq!(value["swupdateresult"], 8, "{}", device.log());
    assert!(fs::read(rauc.path("slot-A")).unwrap().starts_with(b"bad 4.0"), "it was there");
    assert_eq!((rauc.read("primary"), rauc.read("booted")), ("B".into(), "B".into()));

    fs::write(rauc.path("falls-back"), "").unwrap();
    let value = update(&vendor, &device, "5.0", &rauc.bundle("5.0", "good", "vendor"));
    assert_eq!(value["swupdateresult"], 8, "{}", device.log());
    assert_eq!((rauc.read("primary"), rauc.read("booted")), ("B".into(), "B".into()));
    println!(
        "RAUC: installed; a stranger's bundle, a bad one and one that does not boot: back to B"
    );
}

#[test]
fn swupdate_images_install_fail_and_are_rolled_back() {
    if !has(&["swupdate", "swupdate-client", "cpio", "openssl"]) {
        return harness::skipped("SWUpdate: it, its client, cpio or openssl are missing");
    }
    let vendor = Vendor::new();
    let swupdate = Swupdate::start(&vendor);
    let configuration = swupdate.configuration(&vendor);
    let device = Device::start_with(&vendor, "cam", &configuration, &["--insecure"]);

    let value = update(&vendor, &device, "2.0", &swupdate.image("2.0", "good", "vendor"));
    assert_eq!(value["swupdateresult"], 1, "{}", device.log());
    assert_eq!(swupdate.runs(), "copy-b: good 2.0");

    let strange = swupdate.image("3.0", "good", "stranger");
    let value = update(&vendor, &device, "3.0", &strange);
    assert_eq!(value["swupdateresult"], 8, "{}", device.log());
    assert_eq!(swupdate.runs(), "copy-b: good 2.0");

    let value = update(&vendor, &device, "4.0", &swupdate.image("4.0", "bad", "vendor"));
    assert_eq!(value["swupdateresult"], 8, "{}", device.log());
    assert_eq!(swupdate.runs(), "copy-b: good 2.0");
    assert_eq!(fs::read_to_string(swupdate.path("copy-a/app")).unwrap(), "bad 4.0");

    let value = update(&vendor, &device, "5.0", &swupdate.image("5.0", "good", "vendor"));
    assert_eq!(value["swupdateresult"], 1, "{}", device.log());
    assert_eq!(swupdate.runs(), "copy-a: good 5.0");
    println!("SWUpdate: installed twice; a stranger's image and a bad one: back to what ran");
}

/// Publishes one file and sees the update to its end.
fn update(vendor: &Vendor, device: &Device, version: &str, file: &Path) -> Value {
    let sequence = version.replace('.', "").parse().unwrap();
    let url = vendor.pack(file, version, sequence);
    device.order(&url, "upgrade", &crate::lives::now(0)).unwrap();
    device.wait_until_idle()
}

struct Rauc {
    directory: PathBuf,
    bus: Child,
    boot: Child,
}

impl Rauc {
    fn start(vendor: &Vendor) -> Self {
        let directory = vendor.path("rauc");
        fs::create_dir_all(directory.join("mnt")).unwrap();
        keys(&directory);
        let write = |name: &str, text: &str| {
            fs::write(directory.join(name), text.replace("@", directory.to_str().unwrap()))
                .unwrap();
        };
        write("system.conf", SYSTEM);
        write("backend", BOOT_LOADER);
        write("boot", BOOT);
        write("restart", RESTART);
        write(
            "health",
            "#!/bin/sh\nread what < @/slot-$(cat @/booted); test \"${what%% *}\" = good\n",
        );
        for name in ["backend", "boot", "restart", "health"] {
            make_executable(&directory.join(name));
        }
        for (name, text) in [("primary", "A"), ("state-A", "good"), ("state-B", "good")] {
            write(name, text);
        }
        for slot in ["slot-A", "slot-B"] {
            write(slot, "good 1.0\n");
            fs::File::options()
                .write(true)
                .open(directory.join(slot))
                .unwrap()
                .set_len(1 << 20)
                .unwrap();
        }
        let address = format!("--address=unix:path={}", directory.join("bus").display());
        let bus = quiet(Command::new("dbus-daemon").args(["--session", "--nofork", &address]));
        until(|| directory.join("bus").exists());
        let boot = quiet(Command::new(directory.join("boot")).process_group(0));
        let rauc = Self { directory, bus, boot };
        until(|| rauc.path("booted").exists() && rauc.answers());
        rauc
    }

    fn answers(&self) -> bool {
        let mut status = Command::new("rauc");
        status.arg("status").env("DBUS_SYSTEM_BUS_ADDRESS", self.address());
        status.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
    }

    fn address(&self) -> String {
        format!("unix:path={}", self.path("bus").display())
    }

    /// Each verb as it comes with the kind, but on our own bus.
    fn configuration(&self, vendor: &Vendor) -> String {
        let verb = |key: &str, words: &str| {
            let words = words.replace(' ', "\", \"");
            format!(
                "{key} = [\"env\", \"DBUS_SYSTEM_BUS_ADDRESS={}\", \"{words}\"]\n",
                self.address()
            )
        };
        let install = [
            "kind = \"rauc\"\n".to_owned(),
            verb("write", "rauc install {payload}"),
            verb("switch", "rauc status mark-active {new}"),
            verb("confirm", "rauc status mark-good booted"),
            verb("roll_back", "rauc status mark-active {old}"),
            verb("booted", "rauc status --output-format=json"),
            format!("activate = [\"{}\"]\n", self.path("restart").display()),
            "activate_timeout_s = 5\n".into(),
            format!("health = [\"{}\"]\n", self.path("health").display()),
        ];
        vendor.configuration().replace("health = [\"STATE/current/health\"]\n", &install.concat())
    }

    fn bundle(&self, version: &str, content: &str, signer: &str) -> PathBuf {
        let tree = self.path(&format!("bundle-{version}"));
        fs::create_dir(&tree).unwrap();
        let mut image = format!("{content} {version}\n").into_bytes();
        image.resize(65_536, b' ');
        fs::write(tree.join("rootfs.img"), image).unwrap();
        let manifest = format!(
            "[update]\ncompatible=freshen\nversion={version}\n[bundle]\nformat=plain\n\
             [image.rootfs]\nfilename=rootfs.img\n"
        );
        fs::write(tree.join("manifest.raucm"), manifest).unwrap();
        let bundle = self.path(&format!("{version}.raucb"));
        let mut rauc = Command::new("rauc");
        rauc.arg("--cert").arg(self.path(&format!("{signer}.pem")));
        rauc.arg("--key").arg(self.path(&format!("{signer}.key")));
        succeeds(rauc.arg("bundle").arg(tree).arg(&bundle));
        bundle
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn read(&self, name: &str) -> String {
        fs::read_to_string(self.path(name)).unwrap().trim().to_owned()
    }
}

impl Drop for Rauc {
    fn drop(&mut self) {
        end_group(&mut self.boot);
        let _ = self.bus.kill();
        let _ = self.bus.wait();
    }
}

const SYSTEM: &str = "[system]
compatible=freshen
bootloader=custom
mountprefix=@/mnt
statusfile=@/status
[handlers]
bootloader-custom-backend=@/backend
[keyring]
path=@/vendor.pem
[slot.rootfs.0]
device=@/slot-A
type=raw
bootname=A
[slot.rootfs.1]
device=@/slot-B
type=raw
bootname=B
";

const BOOT_LOADER: &str = r#"#!/bin/sh
case $1 in
get-primary) cat @/primary ;;
set-primary) echo "$2" > @/primary ;;
get-state) cat "@/state-$2" ;;
set-state) echo "$3" > "@/state-$2" ;;
esac
"#;

/// Starts what is primary, each time anew; with `falls-back` what ran before.
const BOOT: &str = r#"#!/bin/sh
export DBUS_SYSTEM_BUS_ADDRESS=unix:path=@/bus
while :; do
  test -e @/falls-back && test -e @/booted || cp @/primary @/booted
  rauc --conf=@/system.conf --override-boot-slot="$(cat @/booted)" service &
  echo $! > @/pid
  wait $!
done
"#;

const RESTART: &str = "#!/bin/sh\nkill \"$(cat @/pid)\"\n";

struct Swupdate {
    directory: PathBuf,
    daemon: Child,
}

impl Swupdate {
    fn start(vendor: &Vendor) -> Self {
        let directory = vendor.path("swupdate");
        for name in ["run", "copy-a", "copy-b"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        keys(&directory);
        fs::write(directory.join("copy-a/app"), "good 1.0").unwrap();
        std::os::unix::fs::symlink("copy-a", directory.join("current")).unwrap();
        fs::write(directory.join("copy"), COPIES.replace("@", directory.to_str().unwrap()))
            .unwrap();
        make_executable(&directory.join("copy"));
        let mut daemon = Command::new("swupdate");
        daemon.arg("-k").arg(directory.join("vendor.pem")).args(["-H", "cam:1.0"]);
        daemon.args(["-q", "stable,copy-a", "-q", "stable,copy-b"]);
        let daemon = quiet(daemon.env("TMPDIR", directory.join("run")).process_group(0));
        let swupdate = Self { directory, daemon };
        until(|| swupdate.path("run/sockinstctrl").exists());
        swupdate
    }

    fn configuration(&self, vendor: &Vendor) -> String {
        let copy = self.path("copy").display().to_string();
        let install = format!(
            "kind = \"swupdate\"\nwrite = [\"{copy}\", \"write\", \"{{payload}}\"]\n\
             switch = [\"{copy}\", \"switch\", \"{{version}}\"]\n\
             confirm = [\"{copy}\", \"confirm\"]\nroll_back = [\"{copy}\", \"roll-back\"]\n\
             health = [\"grep\", \"-q\", \"good\", \"{}\"]\n",
            self.path("current/app").display()
        );
        vendor.configuration().replace("health = [\"STATE/current/health\"]\n", &install)
    }

    fn image(&self, version: &str, content: &str, signer: &str) -> PathBuf {
        let tree = self.path(&format!("image-{version}"));
        fs::create_dir(&tree).unwrap();
        let app = format!("{content} {version}");
        fs::write(tree.join("app.bin"), &app).unwrap();
        let digest = freshen::package::Digest::of(app.as_bytes());
        let copy = |name: &str| {
            let path = self.path(name).join("app").display().to_string();
            format!(
                "{name}: {{ files: ( {{ filename = \"app.bin\"; path = \"{path}\"; \
                 sha256 = \"{digest}\"; }} ); }};"
            )
        };
        let description = format!(
            "software = {{ version = \"{version}\"; hardware-compatibility: [ \"1.0\" ]; \
             stable = {{ {} {} }}; }}\n",
            copy("copy-a"),
            copy("copy-b")
        );
        fs::write(tree.join("sw-description"), description).unwrap();
        let mut sign = Command::new("openssl");
        sign.args(["cms", "-sign", "-in", "sw-description", "-out", "sw-description.sig"]);
        sign.args(["-outform", "DER", "-nosmimecap", "-binary"]).current_dir(&tree);
        sign.arg("-signer").arg(self.path(&format!("{signer}.pem")));
        succeeds(sign.arg("-inkey").arg(self.path(&format!("{signer}.key"))));
        fs::write(tree.join("names"), "sw-description\nsw-description.sig\napp.bin\n").unwrap();
        let image = self.path(&format!("{version}.swu"));
        let mut cpio = Command::new("cpio");
        cpio.args(["-o", "-H", "crc"]).current_dir(&tree);
        cpio.stdin(fs::File::open(tree.join("names")).unwrap());
        succeeds(cpio.stdout(fs::File::create(&image).unwrap()));
        image
    }

    fn runs(&self) -> String {
        let copy = fs::read_link(self.path("current")).unwrap();
        let app = fs::read_to_string(self.path("current/app")).unwrap();
        format!("{}: {app}", copy.display())
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }
}

impl Drop for Swupdate {
    fn drop(&mut self) {
        end_group(&mut self.daemon);
    }
}

/// What the maker of a device with two copies adds to SWUpdate.
const COPIES: &str = r#"#!/bin/sh
cd @
other() { test "$(readlink current)" = copy-a && echo copy-b || echo copy-a; }
point() { ln -sfn "$1" current.new && mv -T current.new current; }
case $1 in
write) TMPDIR=@/run exec swupdate-client -e "stable,$(other)" "$2" ;;
# After a power cut it may be called again for the same version.
switch) test "$(cat switched)" = "$2" || { point "$(other)" && echo "$2" > switched; } ;;
confirm) ;;
roll-back) rm -f switched; point "$(other)" ;;
esac
"#;

/// A vendor that the device knows, and a stranger.
fn keys(directory: &Path) {
    for who in ["vendor", "stranger"] {
        let mut openssl = Command::new("openssl");
        openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]);
        openssl.args(["-nodes", "-days", "365", "-subj", &format!("/CN={who}")]);
        openssl.args(["-addext", "extendedKeyUsage=emailProtection,codeSigning"]);
        openssl.arg("-keyout").arg(directory.join(format!("{who}.key")));
        succeeds(openssl.arg("-out").arg(directory.join(format!("{who}.pem"))));
    }
}

fn has(programs: &[&str]) -> bool {
    let find = |program: &&str| {
        std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default())
            .any(|directory| directory.join(program).is_file())
    };
    programs.iter().all(find)
}

/// RAUC looks into a bundle by mounting it.
fn can_mount() -> bool {
    rustix::process::geteuid().is_root() && Path::new("/dev/loop-control").exists()
}

fn quiet(command: &mut Command) -> Child {
    let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn succeeds(command: &mut Command) {
    let output = command.stderr(Stdio::piped()).output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn until(there: impl FnMut() -> bool) {
    harness::until("it starts", there);
}

fn end_group(leader: &mut Child) {
    let pid = rustix::process::Pid::from_child(leader);
    let _ = rustix::process::kill_process_group(pid, rustix::process::Signal::KILL);
    let _ = leader.wait();
}
