//! Installers that are programs.

use super::*;
use crate::install::Program;

/// A program that keeps its slots in a directory and writes down what it was told.
const SCRIPT: &str = r#"
dir=$1; verb=$2; payloads=$3
echo "$verb $FRESHEN_VERSION" >> "$dir/log"
case $verb in
  write) test -e "$dir/full" && exit 3
         echo "50% half"; cp "$payloads/0" "$dir/spare" || exit 1; echo '{"percent":100}' ;;
  switch) test -e "$dir/spare" || exit 0
          test -e "$dir/runs" && mv "$dir/runs" "$dir/old"; mv "$dir/spare" "$dir/runs" ;;
  roll-back) test -e "$dir/old" && mv "$dir/old" "$dir/runs" ;;
  broken) echo "no such slot" >&2; exit 9 ;;
esac
exit 0
"#;

fn place() -> (tempfile::TempDir, Installer) {
    let dir = memory_dir();
    fs::write(dir.path().join("script"), SCRIPT).unwrap();
    let program = Program::command(&[
        "/bin/sh".into(),
        dir.path().join("script").display().to_string(),
        dir.path().display().to_string(),
    ]);
    let installer = reopen(dir.path(), program);
    (dir, installer)
}

fn reopen(dir: &Path, program: Program) -> Installer {
    let settings = Settings { kind: Kind::Program(program), ..Settings::default() };
    Installer::open(settings, &dir.join("state")).unwrap()
}

#[test]
fn a_program_writes_switches_confirms_and_goes_back() {
    let (dir, mut installer) = place();
    update(&mut installer, &small(1)).unwrap();
    let progress = Progress::new(0);
    let two = small(2);
    let payloads = two.payloads.path();
    installer.write_manifest(&two.manifest, payloads, &progress, &Cancel::new()).unwrap();
    assert_eq!(progress.done(), two.manifest.components.iter().map(|it| it.size).sum::<u64>());
    update(&mut installer, &two).unwrap();
    assert_eq!(version(&installer), Some("2.0.0".into()));
    installer.roll_back(&two.manifest.digest, &Cancel::new()).unwrap();
    installer.roll_back(&two.manifest.digest, &Cancel::new()).unwrap();
    assert_eq!(version(&installer), Some("1.0.0".into()));
    let runs = fs::read_to_string(dir.path().join("runs")).unwrap();
    assert!(runs.starts_with("program 1"));
    let log = fs::read_to_string(dir.path().join("log")).unwrap();
    let told: Vec<&str> = log.lines().collect();
    assert_eq!(
        told,
        [
            "write 1.0.0",
            "switch 1.0.0",
            "confirm 1.0.0",
            "write 2.0.0",
            "switch 2.0.0",
            "confirm 2.0.0",
            "roll-back 2.0.0"
        ]
    );
}

#[test]
fn a_program_that_fails_is_told_in_its_words() {
    let (dir, mut installer) = place();
    fs::write(dir.path().join("full"), "").unwrap();
    assert!(matches!(write(&mut installer, &small(1)), Err(Error::NoSpace { .. })));
    let broken = ["/bin/sh", "script", "dir", "broken"].map(|word| match word {
        "script" | "dir" => dir.path().join(word.replace("dir", "")).display().to_string(),
        other => other.to_owned(),
    });
    let program = Program {
        write: broken.into(),
        limit: std::time::Duration::from_secs(30),
        ..Program::default()
    };
    let error = write(&mut reopen(dir.path(), program), &small(1)).unwrap_err().to_string();
    assert_eq!(error, "the installer `/bin/sh` ended with exit code 9: no such slot");
    let missing = Program { write: vec!["/none".into()], ..Program::default() };
    let error = write(&mut reopen(dir.path(), missing), &small(1)).unwrap_err();
    assert!(matches!(error, Error::InstallerFailed { .. }), "{error:?}");
}
