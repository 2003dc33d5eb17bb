//! A whole fleet in and out, a line a device.

use std::collections::BTreeSet;

use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use serde::{Deserialize, Serialize};
use serde_json::json;

use super::devices::NewDevice;
use super::{Refusal, Server};
use crate::access::Scope;
use crate::plan::words::{DeviceId, PackageId, PartNumber, PlanName};
use crate::store::{
    Batch, Change, Components, DevicesAfter, Equipped, Failure, PackageFacts, PackageKey, Packages,
};

/// Bytes of a line: attributes, packages and parts of one device.
pub(crate) const LINE_BYTES_MAX: usize = 1 << 20;
/// Devices in one transaction.
const TOGETHER: usize = 256;
/// Transactions that are under way at once: while one is synced the next is read.
const AT_ONCE: usize = 4;
/// Refused lines that are told; those after them are counted.
pub(crate) const ERRORS_MAX: usize = 1000;

/// A device as a line of an import or an export.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    /// Its id.
    pub id: String,
    /// Seconds within which no second try is made to wake it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reconnect_interval_s: u32,
    /// Its data plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Any JSON values under names.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub attributes: serde_json::Map<String, serde_json::Value>,
    /// Words.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// What is installed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<PackageKey>,
    /// Part numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub components: Vec<String>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks so")]
fn is_zero(number: &u32) -> bool {
    *number == 0
}

/// What became of an import.
#[derive(Debug, Default)]
pub struct Imported {
    /// Devices that are there now.
    pub added: u64,
    /// Lines that were refused.
    pub refused: u64,
    /// The first of them.
    pub errors: Vec<LineError>,
}

/// A line that was refused.
#[derive(Debug)]
pub struct LineError {
    /// Its number, from 1.
    pub line: u64,
    /// Why.
    pub why: Refusal,
}

/// What to do with packages and parts that nobody knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unknown {
    /// The line is refused.
    Refuse,
    /// They are added.
    Create,
}

/// The changes that a line asks for.
fn changes(line: &Line, now: i64) -> Result<Vec<Change>, Refusal> {
    let id: DeviceId = line.id.parse()?;
    let plan = line.plan.as_deref().map(str::parse::<PlanName>).transpose()?;
    let new = NewDevice {
        reconnect_interval_s: line.reconnect_interval_s,
        plan,
        attributes: line.attributes.clone(),
        tags: line.tags.clone(),
    };
    let id = id.as_str().to_owned();
    let about = new.about(now)?;
    let plan = new.plan.map(|plan| plan.as_str().to_owned());
    let mut changes = vec![Change::AddDevice { id: id.clone(), plan, about }];
    for key in &line.packages {
        PackageId::new(&key.name, &key.version)?;
        changes.push(Change::Install { device: id.clone(), key: key.clone() });
    }
    for part in &line.components {
        part.parse::<PartNumber>()?;
        changes.push(Change::Fit { device: id.clone(), part: part.clone() });
    }
    Ok(changes)
}

impl Server {
    /// Adds the devices of a stream of lines, each for itself: a line that is refused changes nothing
    /// and stops nobody.
    ///
    /// # Errors
    ///
    /// The store is away; what was added until then stays.
    pub async fn import<E>(
        &self,
        scope: &Scope,
        unknown: Unknown,
        bytes: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
    ) -> Result<Imported, Refusal> {
        let mut done = Imported::default();
        let mut known = Known::default();
        if unknown == Unknown::Create {
            let packages = self.store.ask(scope, Packages {}).await?;
            known.packages = packages.into_iter().map(|package| package.key).collect();
            let parts = self.store.ask(scope, Components {}).await?;
            known.parts = parts.into_iter().map(|component| component.part).collect();
        }
        let mut groups = Box::pin(groups(bytes));
        let mut under_way = futures_util::stream::FuturesOrdered::new();
        loop {
            let group = groups.next().await;
            let ended = group.is_none();
            if let Some(group) = group {
                let mut good = vec![];
                for (number, text) in group {
                    match self.read(&text) {
                        Ok((line, changes)) => {
                            if unknown == Unknown::Create {
                                self.create(scope, &mut known, &line).await?;
                            }
                            good.push((number, changes));
                        }
                        Err(why) => done.refuse(number, why),
                    }
                }
                under_way.push_back(self.add_group(scope, good));
            }
            while under_way.len() >= AT_ONCE || (ended && !under_way.is_empty()) {
                if let Some(group) = under_way.next().await {
                    let (added, refused) = group?;
                    done.added += added;
                    for (number, why) in refused {
                        done.refuse(number, why);
                    }
                }
            }
            if ended {
                done.errors.sort_by_key(|error| error.line);
                return Ok(done);
            }
        }
    }

    fn read(&self, text: &[u8]) -> Result<(Line, Vec<Change>), Refusal> {
        let line: Line = serde_json::from_slice(text)
            .map_err(|error| Refusal::Senseless(format!("this is no device: {error}")))?;
        let changes = changes(&line, self.now())?;
        Ok((line, changes))
    }

    /// Adds what nobody knows yet.
    async fn create(&self, scope: &Scope, known: &mut Known, line: &Line) -> Result<(), Refusal> {
        let mut batch = Batch::new(scope, "device.import", &line.id, self.now());
        let mut new = false;
        for key in &line.packages {
            if known.packages.insert(key.clone()) {
                let facts = PackageFacts { created_at: self.now(), ..PackageFacts::default() };
                batch = batch.with(Change::AddPackage { key: key.clone(), facts });
                new = true;
            }
        }
        for part in &line.components {
            if known.parts.insert(part.clone()) {
                let description = String::new();
                batch = batch.with(Change::AddComponent { part: part.clone(), description });
                new = true;
            }
        }
        if new {
            match self.store.commit(batch.telling("package.added", json!({}))).await {
                // Somebody else adds them at the same time.
                Ok(_) | Err(Failure::Refused(_)) => {}
                Err(failure) => return Err(failure.into()),
            }
        }
        Ok(())
    }

    /// Adds a group in one batch; when one of them is refused, each for itself.
    async fn add_group(
        &self,
        scope: &Scope,
        group: Vec<(u64, Vec<Change>)>,
    ) -> Result<(u64, Vec<(u64, Refusal)>), Refusal> {
        if group.is_empty() {
            return Ok((0, vec![]));
        }
        let batch = |subject: String| Batch::new(scope, "device.import", subject, self.now());
        let subject = format!("lines {} to {}", group[0].0, group[group.len() - 1].0);
        let all = group.iter().flat_map(|(_, changes)| changes.clone());
        let together = all.fold(batch(subject), Batch::with);
        let count = group.len() as u64;
        let told = together.telling("device.imported", json!({ "devices": count }));
        match self.write(told).await {
            Ok(_) => return Ok((count, vec![])),
            Err(Refusal::Store(Failure::Refused(_))) => {}
            Err(refusal) => return Err(refusal),
        }
        let each = group.into_iter().map(async |(number, changes)| {
            let one = changes.into_iter().fold(batch(format!("line {number}")), Batch::with);
            (number, self.write(one.telling("device.imported", json!({ "devices": 1 }))).await)
        });
        let (mut added, mut refused) = (0, vec![]);
        for (number, written) in futures_util::future::join_all(each).await {
            match written {
                Ok(_) => added += 1,
                Err(why @ Refusal::Store(Failure::Refused(_))) => refused.push((number, why)),
                Err(refusal) => return Err(refusal),
            }
        }
        Ok((added, refused))
    }

    /// A page of an export: lines, and the number after which the next begins.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn export(
        &self,
        scope: &Scope,
        after: Option<u32>,
    ) -> Result<Option<(Vec<Line>, u32)>, Refusal> {
        let page = self.store.ask(scope, DevicesAfter { after, limit: 1000 }).await?;
        let Some(last) = page.last().map(|last| last.device.number) else { return Ok(None) };
        Ok(Some((page.into_iter().map(line).collect(), last)))
    }
}

#[derive(Default)]
struct Known {
    packages: BTreeSet<PackageKey>,
    parts: BTreeSet<String>,
}

impl Imported {
    fn refuse(&mut self, line: u64, why: Refusal) {
        self.refused += 1;
        if self.errors.len() < ERRORS_MAX {
            self.errors.push(LineError { line, why });
        }
    }
}

fn line(equipped: Equipped) -> Line {
    let Equipped { device, packages, components } = equipped;
    Line {
        id: device.id,
        reconnect_interval_s: device.about.reconnect_interval_s,
        plan: device.plan,
        attributes: device.about.attributes,
        tags: device.about.tags,
        packages,
        components,
    }
}

/// Lines with their numbers, some together. A line that is too long comes as an empty one, which is
/// no device.
fn groups<E>(
    bytes: impl Stream<Item = Result<Bytes, E>> + Send + Unpin,
) -> impl Stream<Item = Vec<(u64, Vec<u8>)>> + Send
where
{
    struct State<S> {
        bytes: Option<S>,
        rest: Vec<u8>,
        number: u64,
        long: Long,
    }
    enum Long {
        No,
        Yes,
    }
    let state = State { bytes: Some(bytes), rest: vec![], number: 0, long: Long::No };
    futures_util::stream::unfold(state, |mut state| async move {
        let mut group = vec![];
        loop {
            while let Some(end) = state.rest.iter().position(|byte| *byte == b'\n') {
                let mut text: Vec<u8> = state.rest.drain(..=end).collect();
                text.pop();
                state.number += 1;
                if matches!(std::mem::replace(&mut state.long, Long::No), Long::Yes) {
                    text.clear();
                    text.push(b'!');
                }
                if !text.iter().all(u8::is_ascii_whitespace) {
                    group.push((state.number, text));
                }
                if group.len() >= TOGETHER {
                    return Some((group, state));
                }
            }
            if state.rest.len() > LINE_BYTES_MAX {
                state.rest.clear();
                state.long = Long::Yes;
            }
            let chunk = match &mut state.bytes {
                Some(bytes) => bytes.next().await,
                None => return if group.is_empty() { None } else { Some((group, state)) },
            };
            match chunk {
                Some(Ok(chunk)) => state.rest.extend_from_slice(&chunk),
                // The end; of a sender who went away, the broken line is no device.
                Some(Err(_)) | None => {
                    state.bytes = None;
                    if !state.rest.is_empty() {
                        state.rest.push(b'\n');
                    }
                }
            }
        }
    })
}
