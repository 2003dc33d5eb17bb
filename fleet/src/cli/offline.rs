//! What is done with the data directory itself: backup and restore.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::store::Store;

/// Copy the embedded database and all packages, also while the server runs
#[derive(Debug, clap::Args)]
pub(super) struct Backup {
    /// The data directory
    #[arg(long)]
    data: PathBuf,
    /// Where the copy goes; must not be there yet
    #[arg(long)]
    to: PathBuf,
}

/// Make a data directory out of a backup
#[derive(Debug, clap::Args)]
pub(super) struct Restore {
    /// The backup
    #[arg(long)]
    from: PathBuf,
    /// The data directory; must not be there yet
    #[arg(long)]
    data: PathBuf,
}

pub(super) fn backup(backup: &Backup) -> anyhow::Result<()> {
    let database = backup.data.join("fleet.db");
    if !database.exists() {
        bail!("{} has no fleet.db; for PostgreSQL use pg_dump", backup.data.display());
    }
    make(&backup.to)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let store = Store::sqlite(&database).await?;
        store.copy(&backup.to.join("fleet.db")).await
    })?;
    // After the database: what it names is there, and what came later is thrown away at the start.
    let packages = backup.data.join("packages/objects");
    if packages.exists() {
        copy(&packages, &backup.to.join("packages/objects"))?;
    }
    super::print(&format!("backed up to {}", backup.to.display()))
}

pub(super) fn restore(restore: &Restore) -> anyhow::Result<()> {
    if !restore.from.join("fleet.db").exists() {
        bail!("{} is no backup: it has no fleet.db", restore.from.display());
    }
    make(&restore.data)?;
    copy(&restore.from, &restore.data)?;
    super::print(&format!("restored to {}", restore.data.display()))
}

/// Makes a directory that was not there, for its owner alone.
fn make(dir: &Path) -> anyhow::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    let made = std::fs::DirBuilder::new().mode(0o700).create(dir);
    made.with_context(|| format!("{} cannot be made; it must not be there yet", dir.display()))
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            let file = std::fs::File::open(entry.path());
            // A package that was taken away a moment ago.
            let Ok(mut file) = file else { continue };
            let mut copy = std::fs::File::create_new(&target)?;
            std::io::copy(&mut file, &mut copy)?;
            copy.sync_all()?;
        }
    }
    Ok(())
}
