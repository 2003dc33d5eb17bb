//! Packages and their files. An upload is finished by one batch that names the file; before it nothing
//! of it is visible, and a file that was refused is not kept.

use bytes::Bytes;
use freshen::package::{ENVELOPE_BYTES_MAX, Identity, Manifest, Source, Trust, Verified, verify};
use futures_util::{Stream, StreamExt};
use serde_json::json;

use super::{Once, Outcome, Refusal, Server, missing, new_id};
use crate::access::Scope;
use crate::blob::{BlobError, Promise};
use crate::plan::words::PackageId;
use crate::store::{
    Batch, Change, Envelope, File, Listed, Noun, Package, PackageByKey, PackageFacts, PackageKey,
    Packages, Refused,
};

/// Files of a package.
pub(crate) const FILES_MAX: usize = 64;
/// Bytes of a file: 1 TiB.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 40;
/// Bytes of a file's path.
pub(crate) const PATH_BYTES_MAX: usize = 200;
/// Bytes of a description or a vendor's name.
pub(crate) const TEXT_BYTES_MAX: usize = 4096;
/// How long bytes that no package names are kept: an upload on another node may be about to name
/// them.
const ORPHAN_MS: i64 = 24 * 3600 * 1000;

/// What is told about a package.
#[derive(Clone, Debug, Default)]
pub struct NewPackage {
    /// Who makes it.
    pub vendor: String,
    /// For people.
    pub description: String,
}

/// A file that is complete.
pub type FileInfo = File;

/// How far an upload is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// So many bytes are here.
    At(u64),
    /// All of them.
    Complete(FileInfo),
}

/// Checks a file's path: relative, and nowhere but in its package.
///
/// # Errors
///
/// It is not so.
fn checked_path(path: &str) -> Result<&str, Refusal> {
    let good = |part: &str| !matches!(part, "" | "." | "..") && !part.chars().any(char::is_control);
    if path.len() <= PATH_BYTES_MAX && path.split('/').all(good) {
        Ok(path)
    } else {
        Err(Refusal::Senseless(format!(
            "a file's path is relative, without `.` and `..`, and has at most {PATH_BYTES_MAX} bytes"
        )))
    }
}

fn checked_text(what: &str, text: &str) -> Result<(), Refusal> {
    if text.len() > TEXT_BYTES_MAX || text.contains('\0') {
        return Err(Refusal::Senseless(format!("{what} has at most {TEXT_BYTES_MAX} bytes")));
    }
    Ok(())
}

impl Server {
    /// Adds a package; its files come afterwards.
    ///
    /// # Errors
    ///
    /// It is there already.
    pub async fn add_package(
        &self,
        scope: &Scope,
        key: &PackageId,
        new: &NewPackage,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        checked_text("a vendor's name", &new.vendor)?;
        checked_text("a description", &new.description)?;
        let facts = PackageFacts {
            vendor: new.vendor.clone(),
            description: new.description.clone(),
            created_at: self.now(),
            ..PackageFacts::default()
        };
        let subject = key.to_string();
        let batch = Batch::new(scope, "package.add", &subject, self.now())
            .with(Change::AddPackage { key: key.into(), facts })
            .telling("package.added", json!({}));
        self.write_once(scope, batch, once, &subject).await
    }

    /// A package.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub async fn package(&self, scope: &Scope, key: &PackageId) -> Result<Package, Refusal> {
        let found = self.store.ask(scope, PackageByKey { key: key.into() }).await?;
        found.ok_or_else(|| missing(Noun::Package))
    }

    /// All packages, by name and version.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn packages(&self, scope: &Scope) -> Result<Vec<Package>, Refusal> {
        Ok(self.store.ask(scope, Packages {}).await?)
    }

    /// Puts a package on the blacklist, or takes it off: what is on it is ordered for nobody.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub async fn blacklist(
        &self,
        scope: &Scope,
        key: &PackageId,
        listed: Listed,
    ) -> Result<(), Refusal> {
        let action = match listed {
            Listed::On => "package.blacklist",
            Listed::Off => "package.unblacklist",
        };
        let batch = Batch::new(scope, action, key.to_string(), self.now())
            .with(Change::Blacklist { key: key.into(), listed })
            .telling("package.edited", json!({}));
        self.write(batch).await.map(|_| ())
    }

    /// How far a file is.
    ///
    /// # Errors
    ///
    /// The package is not there, and nothing of the file.
    pub async fn progress(
        &self,
        scope: &Scope,
        key: &PackageId,
        path: &str,
    ) -> Result<Progress, Refusal> {
        let package = self.package(scope, key).await?;
        if let Some(file) = package.facts.files.iter().find(|file| file.path == path) {
            return Ok(Progress::Complete(file.clone()));
        }
        let offset = self.blobs.offset(&upload(scope, key, path)).await?;
        offset.map(Progress::At).ok_or_else(|| missing(Noun::File))
    }

    /// Takes bytes of a file from `offset` on. With `complete` they are the last, and the file is there
    /// when this returns.
    ///
    /// # Errors
    ///
    /// The package is not there or has the file, the offset is another one, a promise was broken, or
    /// an envelope is refused: then nothing of the file is kept.
    pub async fn upload<E>(
        &self,
        scope: &Scope,
        key: &PackageId,
        path: &str,
        offset: u64,
        complete: Complete,
        bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<Progress, Refusal> {
        let path = checked_path(path)?;
        let package = self.package(scope, key).await?;
        if package.facts.files.iter().any(|file| file.path == path) {
            return Err(Refused::Exists(Noun::File).into());
        }
        if package.facts.files.len() >= FILES_MAX {
            return Err(Refusal::Senseless(format!("a package has at most {FILES_MAX} files")));
        }
        let upload = upload(scope, key, path);
        let at = self.blobs.append(&upload, offset, FILE_BYTES_MAX, bytes).await?;
        match complete {
            Complete::No => Ok(Progress::At(at)),
            Complete::Yes(promise) => {
                self.finish(scope, key, path, &upload, &promise).await.map(Progress::Complete)
            }
        }
    }

    /// Adds a package with its one file. When the bytes are refused, the package is not there.
    ///
    /// # Errors
    ///
    /// It is there already, a promise was broken, or an envelope is refused.
    pub async fn add_whole<E>(
        &self,
        scope: &Scope,
        key: &PackageId,
        new: &NewPackage,
        path: &str,
        promise: Promise,
        bytes: impl Stream<Item = Result<Bytes, E>> + Unpin,
    ) -> Result<(), Refusal> {
        let path = checked_path(path)?;
        checked_text("a vendor's name", &new.vendor)?;
        checked_text("a description", &new.description)?;
        let known = self.store.ask(scope, PackageByKey { key: key.into() }).await?;
        if known.is_some_and(|known| !known.facts.foreign) {
            return Err(Refused::Exists(Noun::Package).into());
        }
        // Not resumed: each try gathers under a name of its own.
        let (upload, blob) = (new_id()?, format!("{}/{}", scope.tenant(), new_id()?));
        if let Err(error) = self.blobs.append(&upload, 0, FILE_BYTES_MAX, bytes).await {
            self.blobs.forget(&upload).await?;
            return Err(error.into());
        }
        let kept = self.blobs.finish(&upload, &blob, &promise).await?;
        let file = File {
            path: path.to_owned(),
            size: kept.size,
            sha256: kept.sha256,
            sha1: kept.sha1,
            blob: kept.blob,
        };
        let added = self.add_with(scope, key, new, &file).await;
        if added.is_err() {
            self.blobs.remove(&file.blob).await?;
        }
        added
    }

    async fn add_with(
        &self,
        scope: &Scope,
        key: &PackageId,
        new: &NewPackage,
        file: &File,
    ) -> Result<(), Refusal> {
        let envelope = if is_envelope(&file.path) {
            Some(self.believe(scope, &new.vendor, file).await?)
        } else {
            None
        };
        let facts = PackageFacts {
            vendor: new.vendor.clone(),
            description: new.description.clone(),
            created_at: self.now(),
            files: vec![file.clone()],
            envelope,
            ..PackageFacts::default()
        };
        let batch = Batch::new(scope, "package.add", key.to_string(), self.now())
            .with(Change::AddPackage { key: key.into(), facts })
            .telling("package.added", json!({}));
        self.write(batch).await.map(|_| ())
    }

    async fn finish(
        &self,
        scope: &Scope,
        key: &PackageId,
        path: &str,
        upload: &str,
        promise: &Promise,
    ) -> Result<FileInfo, Refusal> {
        let blob = format!("{}/{}", scope.tenant(), new_id()?);
        let kept = self.blobs.finish(upload, &blob, promise).await?;
        let file = File {
            path: path.to_owned(),
            size: kept.size,
            sha256: kept.sha256,
            sha1: kept.sha1,
            blob: kept.blob,
        };
        let named = self.name(scope, key, &file).await;
        if named.is_err() {
            self.blobs.remove(&file.blob).await?;
        }
        named.map(|()| file)
    }

    /// Names a file in its package: from now on it is there.
    async fn name(&self, scope: &Scope, key: &PackageId, file: &File) -> Result<(), Refusal> {
        let mut tries = 0;
        loop {
            tries += 1;
            let Package { mut facts, revision, .. } = self.package(scope, key).await?;
            if facts.files.iter().any(|other| other.path == file.path) {
                return Err(Refused::Exists(Noun::File).into());
            }
            if is_envelope(&file.path) {
                facts.envelope = Some(self.believe(scope, &facts.vendor, file).await?);
            }
            facts.files.push(file.clone());
            facts.files.sort_by(|a, b| a.path.cmp(&b.path));
            let batch = Batch::new(scope, "package.upload", key.to_string(), self.now())
                .with(Change::EditPackage { key: key.into(), facts, revision })
                .telling("package.edited", json!({ "file": file.path }));
            match self.write(batch).await {
                // Another file of the package was faster.
                Err(Refusal::Store(failure)) if tries < 5 && is_stale(&failure) => {}
                written => return written.map(|_| ()),
            }
        }
    }

    /// Reads an envelope as a device of its class would.
    async fn believe(&self, scope: &Scope, vendor: &str, file: &File) -> Result<Envelope, Refusal> {
        if file.size > ENVELOPE_BYTES_MAX as u64 {
            let what = format!("it has {} bytes, at most {ENVELOPE_BYTES_MAX}", file.size);
            return Err(Refusal::Envelope(what));
        }
        let known = self.vendors(scope).await?.into_iter().find(|known| known.name == vendor);
        let Some(known) = known else {
            return Err(Refusal::Envelope(format!(
                "nobody registered the vendor `{vendor}`; do so with PUT /api/v1/vendors/{vendor}"
            )));
        };
        let bytes = self.bytes(file).await?;
        let manifest = believed(&bytes, &known.name, &known.keys, &known.classes)?;
        Ok(Envelope {
            path: file.path.clone(),
            sequence: manifest.sequence,
            version: manifest.version.clone(),
            vendor: manifest.identity.vendor.to_string(),
            class: manifest.identity.class.to_string(),
        })
    }

    /// All bytes of a small file.
    async fn bytes(&self, file: &File) -> Result<Vec<u8>, Refusal> {
        let mut stream = Box::pin(self.blobs.read(&file.blob, 0..file.size).await?);
        let mut bytes = vec![];
        while let Some(chunk) = stream.next().await {
            bytes.extend_from_slice(&chunk?);
        }
        Ok(bytes)
    }

    /// The bytes of a file of a package.
    ///
    /// # Errors
    ///
    /// It is not there, or not complete.
    pub async fn download(
        &self,
        scope: &Scope,
        key: &PackageId,
        path: &str,
        range: impl FnOnce(u64) -> Option<std::ops::Range<u64>>,
    ) -> Result<Download, Refusal> {
        let package = self.package(scope, key).await?;
        let file = package.facts.files.into_iter().find(|file| file.path == path);
        let file = file.ok_or_else(|| missing(Noun::File))?;
        let range = range(file.size).unwrap_or(0..file.size);
        if range.is_empty() {
            return Ok(Download { file, range, bytes: futures_util::stream::empty().boxed() });
        }
        let bytes = self.blobs.read(&file.blob, range.clone()).await?.boxed();
        Ok(Download { file, range, bytes })
    }

    /// Why a package cannot be given to devices yet, if so.
    pub(super) async fn ready(&self, package: &Package) -> Result<(), Refusal> {
        let files = &package.facts.files;
        if files.is_empty() {
            let why = "it has no file; upload one, or add the package with its bytes";
            return Err(Refusal::NotReady(why.into()));
        }
        let Some(envelope) = &package.facts.envelope else { return Ok(()) };
        let Some(file) = files.iter().find(|file| file.path == envelope.path) else {
            return Err(Refusal::NotReady("its envelope is gone".into()));
        };
        let bytes = self.bytes(file).await?;
        let inspection = freshen::package::inspect(&bytes)
            .map_err(|refusal| Refusal::Envelope(refusal.to_string()))?;
        let base = envelope.path.rsplit_once('/').map_or("", |(base, _)| base);
        for name in relative(&inspection.manifest) {
            let path = if base.is_empty() { name.clone() } else { format!("{base}/{name}") };
            if !files.iter().any(|file| file.path == path) {
                let why = format!("its envelope names `{path}`, which was not uploaded");
                return Err(Refusal::NotReady(why));
            }
        }
        Ok(())
    }

    /// Throws away bytes that no package names: what a crash between the bytes and their batch left.
    pub(super) async fn sweep(&self) -> Result<(), Refusal> {
        let mut named = std::collections::BTreeSet::new();
        for name in self.store.tenants().await? {
            let scope = crate::access::housekeeping(name.tenant);
            for package in self.packages(&scope).await? {
                named.extend(package.facts.files.into_iter().map(|file| file.blob));
            }
        }
        // With one process there is no other who could be about to name them.
        let before = if self.store.is_shared() { self.now() - ORPHAN_MS } else { i64::MAX };
        for (blob, written_at) in self.blobs.all().await? {
            if !named.contains(&blob) && written_at < before {
                tracing::info!(blob, "bytes that no package names are thrown away");
                self.blobs.remove(&blob).await?;
            }
        }
        Ok(())
    }
}

/// Whether these bytes are the last of their file.
#[derive(Clone, Debug)]
pub enum Complete {
    /// More will come.
    No,
    /// They are, and this is what was promised.
    Yes(Promise),
}

/// A file on its way out.
pub struct Download {
    /// Which file.
    pub file: FileInfo,
    /// Which bytes of it.
    pub range: std::ops::Range<u64>,
    /// The bytes.
    pub bytes: futures_util::stream::BoxStream<'static, Result<Bytes, BlobError>>,
}

impl std::fmt::Debug for Download {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Download").field("file", &self.file).finish_non_exhaustive()
    }
}

/// A SUIT envelope by its name; freshen packs them so.
fn is_envelope(path: &str) -> bool {
    path.ends_with(".suit")
}

fn is_stale(failure: &crate::store::Failure) -> bool {
    *failure == crate::store::Failure::Refused(Refused::Stale(Noun::Package))
}

/// Verifies an envelope for the first of the vendor's classes that accepts it.
fn believed(
    bytes: &[u8],
    vendor: &str,
    keys: &[String],
    classes: &[String],
) -> Result<Verified<Manifest>, Refusal> {
    let trust = Trust::from_pem(keys).map_err(|error| Refusal::Envelope(error.to_string()))?;
    let mut refused = format!("the vendor `{vendor}` has no classes");
    for class in classes {
        match verify(bytes, &trust, &Identity::new(vendor, class)) {
            Ok(manifest) => return Ok(manifest),
            Err(refusal) => refused = refusal.to_string(),
        }
    }
    Err(Refusal::Envelope(refused))
}

/// The payloads that a manifest names relative to itself.
fn relative(manifest: &Manifest) -> Vec<String> {
    let names = manifest.components.iter().flat_map(|component| match &component.source {
        Source::Integrated(_) => vec![],
        Source::Uri(uri) => vec![uri.clone()],
        Source::Ways(ways) => ways.iter().map(|way| way.uri.clone()).collect(),
    });
    names.filter(|uri| !uri.contains("://") && !uri.starts_with('/')).collect()
}

/// The name under which an upload gathers.
fn upload(scope: &Scope, key: &PackageId, path: &str) -> String {
    let PackageKey { name, version } = key.into();
    format!("{}\n{name}\n{version}\n{path}", scope.tenant())
}
