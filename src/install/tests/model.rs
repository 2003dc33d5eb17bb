//! A disk that forgets: after a power cut it holds what was synced, and of the rest any part.
//!
//! The operations of a real update are written down and replayed into a model. At every point of the
//! list the power is cut; of the operations that nobody had waited for, every subset is tried where
//! there are few, and many by chance where there are more. What the model then holds is put into a real
//! directory, and the device has to run whole software from it, and has to be able to go on.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};

use super::*;
use crate::install::beneath::{Op, fault};

/// A name's meaning: a number for a file's bytes, or something that does not change.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Node {
    Directory,
    File(usize),
    Link(PathBuf),
}

/// What has reached the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Disk {
    names: BTreeMap<PathBuf, Node>,
    bytes: BTreeMap<usize, Vec<u8>>,
}

/// What nobody has waited for.
#[derive(Clone, Debug)]
enum Pending {
    /// Names of one directory, changed together.
    Names(PathBuf, Vec<(PathBuf, Option<Node>)>),
    Append(usize, Vec<u8>),
}

/// The disk and what is on its way to it; `now` is what the process sees.
#[derive(Clone, Debug, Default)]
struct Model {
    durable: Disk,
    pending: Vec<Pending>,
    now: Disk,
}

impl Model {
    /// Everything in a directory, and all of it safe.
    fn of(root: &Path) -> Self {
        let mut disk = Disk::default();
        let mut todo = vec![PathBuf::new()];
        while let Some(at) = todo.pop() {
            for name in names_in(&root.join(&at)) {
                let (path, real) = (at.join(&name), root.join(&at).join(&name));
                let node = match fs::symlink_metadata(&real).unwrap() {
                    link if link.is_symlink() => Node::Link(fs::read_link(&real).unwrap()),
                    dir if dir.is_dir() => {
                        todo.push(path.clone());
                        Node::Directory
                    }
                    _ => {
                        disk.bytes.insert(disk.bytes.len(), fs::read(&real).unwrap());
                        Node::File(disk.bytes.len() - 1)
                    }
                };
                disk.names.insert(path, node);
            }
        }
        Self { durable: disk.clone(), pending: vec![], now: disk }
    }

    fn apply(&mut self, op: Op) {
        let change = match op {
            Op::MakeDirectory(path) if self.now.names.contains_key(&path) => return,
            Op::MakeDirectory(path) => vec![(path, Some(Node::Directory))],
            Op::Create(path) => {
                let number = self.now.bytes.len();
                self.now.bytes.insert(number, vec![]);
                vec![(path, Some(Node::File(number)))]
            }
            Op::MakeLink(target, path) => vec![(path, Some(Node::Link(target)))],
            Op::Link(from, to) => vec![(to, self.now.names.get(&from).cloned())],
            Op::Rename(from, to) => {
                let node = self.now.names.get(&from).cloned();
                vec![(to, node), (from, None)]
            }
            Op::Remove(path) | Op::RemoveDirectory(path) => vec![(path, None)],
            Op::Append(path, bytes) => {
                let Some(Node::File(number)) = self.now.names.get(&path) else {
                    panic!("{path:?}")
                };
                self.pending.push(Pending::Append(*number, bytes.clone()));
                self.now.bytes.get_mut(number).unwrap().extend(bytes);
                return;
            }
            Op::SyncFile(path) => {
                let Some(Node::File(number)) = self.now.names.get(&path).cloned() else { return };
                return self.sync(|it| matches!(it, Pending::Append(other, _) if *other == number));
            }
            Op::SyncDirectory(path) => {
                return self.sync(|it| matches!(it, Pending::Names(other, _) if *other == path));
            }
            Op::SyncAll => return self.sync(|_| true),
        };
        let directory = change[0].0.parent().unwrap().to_owned();
        let pending = Pending::Names(directory, change);
        self.now.take(&pending);
        self.pending.push(pending);
    }

    fn sync(&mut self, covers: impl Fn(&Pending) -> bool) {
        let (safe, pending) = std::mem::take(&mut self.pending).into_iter().partition(covers);
        self.pending = pending;
        let safe: Vec<Pending> = safe;
        safe.iter().for_each(|pending| self.durable.take(pending));
    }

    /// The disk after a cut, if these of the pending operations had got through. Bytes of one file get
    /// through in order.
    fn cut(&self, chosen: impl Fn(usize) -> bool) -> Disk {
        let mut disk = self.durable.clone();
        let mut broken = BTreeSet::new();
        for (n, pending) in self.pending.iter().enumerate() {
            match pending {
                Pending::Append(number, _) if !chosen(n) || broken.contains(number) => {
                    broken.insert(*number);
                }
                _ if chosen(n) => disk.take(pending),
                _ => {}
            }
        }
        disk
    }
}

impl Disk {
    fn take(&mut self, pending: &Pending) {
        match pending {
            Pending::Append(number, bytes) => self.bytes.entry(*number).or_default().extend(bytes),
            Pending::Names(_, changes) => {
                for (path, node) in changes {
                    match node {
                        Some(node) => self.names.insert(path.clone(), node.clone()),
                        None => self.names.remove(path),
                    };
                }
            }
        }
    }

    /// Puts it into a real directory. A name whose directory was lost is lost too.
    fn put(&self, root: &Path) {
        for (path, node) in &self.names {
            let real = root.join(path);
            let _ = match node {
                Node::Directory => fs::create_dir(&real),
                Node::Link(target) => std::os::unix::fs::symlink(target, &real),
                Node::File(number) => {
                    fs::write(&real, self.bytes.get(number).map_or(&[][..], |bytes| bytes))
                }
            };
        }
    }

    fn fingerprint(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// The operations of `work` on a device that runs version 1, and the disk before them.
fn recorded(work: impl FnOnce(&mut Installer) -> Result<(), Error>) -> (Model, Vec<Op>) {
    let dir = memory_dir();
    let mut installer = open(dir.path());
    update(&mut installer, &small(1)).unwrap();
    let model = Model::of(dir.path());
    let (log, result) = fault::logged(|| work(&mut installer));
    result.unwrap();
    let ops = log.into_iter().map(|(beneath, op)| relative(op, &beneath, dir.path())).collect();
    (model, ops)
}

/// Every path relative to the state directory.
fn relative(op: Op, beneath: &Path, state: &Path) -> Op {
    let to = |path: PathBuf| beneath.join(path).strip_prefix(state).unwrap().to_owned();
    match op {
        Op::MakeDirectory(path) => Op::MakeDirectory(to(path)),
        Op::Create(path) => Op::Create(to(path)),
        Op::Append(path, bytes) => Op::Append(to(path), bytes),
        Op::MakeLink(target, path) => Op::MakeLink(target, to(path)),
        Op::Link(from, path) => Op::Link(to(from), to(path)),
        Op::Rename(from, path) => Op::Rename(to(from), to(path)),
        Op::Remove(path) => Op::Remove(to(path)),
        Op::RemoveDirectory(path) => Op::RemoveDirectory(to(path)),
        Op::SyncFile(path) => Op::SyncFile(to(path)),
        Op::SyncDirectory(path) => Op::SyncDirectory(to(path)),
        Op::SyncAll => Op::SyncAll,
    }
}

/// Cuts everywhere. Returns how many different disks there were, and what was wrong with which.
fn cut_everywhere(
    (mut model, ops): (Model, Vec<Op>),
    by_chance: u64,
    last: &str,
) -> (usize, Vec<String>) {
    let (mut seen, mut faults) = (BTreeSet::new(), vec![]);
    let end = ops.len();
    for (n, op) in ops.into_iter().map(Some).chain([None]).enumerate() {
        let count = model.pending.len();
        let all = (count <= SUBSETS_OF).then(|| 0..1u64 << count);
        let chance = (0..by_chance).map(|seed| chance(seed ^ (n as u64) << 32));
        let edges = [0, u64::MAX]
            .into_iter()
            .chain((0..count.min(63)).flat_map(|bit| [1 << bit, !(1 << bit), (1 << bit) - 1]));
        let choices: Vec<u64> = match all {
            Some(all) => all.collect(),
            None => edges.chain(chance).collect(),
        };
        for choice in choices {
            let disk = model.cut(|bit| choice >> (bit % 64) & 1 == 1);
            if seen.insert((disk.fingerprint(), n == end))
                && let Err(fault) = survives(&disk, (n == end).then_some(last))
            {
                faults.push(format!("cut {n}, choice {choice:x}: {fault}"));
            }
        }
        if let Some(op) = op {
            model.apply(op);
        }
    }
    (seen.len(), faults)
}

/// A device finds this disk when its power comes back.
fn survives(disk: &Disk, expected: Option<&str>) -> Result<(), String> {
    let dir = memory_dir();
    disk.put(dir.path());
    let text = |error: Error| error.to_string();
    let mut installer = Installer::open(Settings::default(), dir.path()).map_err(text)?;
    let running = installer.running().map_err(text)?.ok_or("nothing runs")?.version;
    if !["1.0.0", "2.0.0"].contains(&&*running) || expected.is_some_and(|it| it != running) {
        return Err(format!("{running} runs"));
    }
    current_is_whole(dir.path()).map_err(text)?;
    update(&mut installer, &small(2)).map_err(text)?;
    current_is_whole(dir.path()).map_err(text)
}

fn chance(mut seed: u64) -> u64 {
    // The finalizer of SplitMix64.
    seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    seed = (seed ^ seed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    seed = (seed ^ seed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    seed ^ seed >> 31
}

fn good(installer: &mut Installer) -> Result<(), Error> {
    update(installer, &small(2))
}

/// As [`small`], with forty more files: far more can be on its way to the disk.
fn wide(version: u64) -> Release {
    let name = |n| format!("lib/{n}");
    let body = |n| format!("{n} of version {version}");
    let files: Vec<TarEntry> =
        (0..40).map(|n| entry(&name(n), tar::EntryType::Regular, body(n).as_bytes())).collect();
    release(version, &[(&["lib"], Format::Tar, &tar(&files))])
}

fn rolled_back(installer: &mut Installer) -> Result<(), Error> {
    update(installer, &small(2))?;
    installer.roll_back(&small(2).manifest.digest, &Cancel::new())?;
    installer.discard()
}

/// Of up to this many operations that nobody waited for, every subset is tried.
const SUBSETS_OF: usize = 8;

fn run(by_chance: u64) -> usize {
    let (first, faults) = cut_everywhere(recorded(good), by_chance, "2.0.0");
    assert_eq!(faults, [""; 0], "an update");
    let (second, faults) = cut_everywhere(recorded(rolled_back), by_chance, "1.0.0");
    assert_eq!(faults, [""; 0], "an update and the way back");
    first + second
}

#[test]
fn no_disk_after_a_power_cut_is_without_whole_software() {
    let states = run(40);
    println!("{states} different disks after a power cut: each runs whole software and goes on");
    assert!(states > 1000, "{states}");
}

#[test]
fn without_waiting_for_the_disk_the_model_shows_bricks() {
    let (model, ops) = recorded(good);
    let forgetful = |op: &Op| !matches!(op, Op::SyncFile(_) | Op::SyncDirectory(_) | Op::SyncAll);
    let ops = ops.into_iter().filter(forgetful).collect();
    let (states, faults) = cut_everywhere((model, ops), 40, "2.0.0");
    println!("without syncs: {} of {states} different disks are bricks", faults.len());
    assert!(!faults.is_empty());
}

/// Each single wait is there for a reason: without it the model finds a brick.
#[test]
fn leaving_out_the_wait_for_the_slot_or_for_the_links_shows_bricks() {
    for left_out in [Op::SyncAll, Op::SyncDirectory(PathBuf::new())] {
        let (model, ops) = recorded(good);
        let ops = ops.into_iter().filter(|op| *op != left_out).collect();
        let (_, faults) = cut_everywhere((model, ops), 40, "2.0.0");
        assert!(!faults.is_empty(), "{left_out:?}");
    }
}

/// `cargo test --release --lib install::tests::model -- --ignored --nocapture`
#[test]
#[ignore = "takes minutes; the command is above"]
fn a_hundred_thousand_disks() {
    let wide = |installer: &mut Installer| update(installer, &wide(2));
    let (states, faults) = cut_everywhere(recorded(wide), 1500, "2.0.0");
    assert_eq!(faults, [""; 0]);
    let states = states + run(2000);
    println!("{states} different disks after a power cut: each runs whole software and goes on");
    assert!(states > 100_000, "{states}");
}
