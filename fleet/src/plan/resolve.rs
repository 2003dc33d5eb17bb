//! Who gets a package, what comes along with it on each device, and who does not get it and why.
//!
//! Everything is sets of device numbers. What comes along is not a list for each device but, for each
//! package of the bundle, the set of the devices that miss it: exact, and as small for a million
//! devices as for ten, however their installed packages are mixed. A dry run and the campaign itself
//! are this same function.

use std::fmt;

use roaring::RoaringBitmap;

use super::bundle::{BundleError, Catalogue};
use super::words::PackageId;

/// Whether devices that run the ordered version already get it again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Reinstall {
    /// They are left out.
    #[default]
    No,
    /// They get it.
    Yes,
}

/// Why a device is left out.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Reason {
    /// It runs the ordered version.
    AlreadyInstalled,
    /// It misses something that nobody is to get.
    Blacklisted(PackageId),
    /// It misses something whose files are not there.
    NotUploaded(PackageId),
    /// Something that stays on it needs a version that would be replaced.
    WouldBreak {
        /// What would be gone.
        gone: PackageId,
        /// What stays and needs it.
        needed_by: PackageId,
    },
}

impl Reason {
    /// The reason as a word that programs compare.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AlreadyInstalled => "already_installed",
            Self::Blacklisted(_) => "blacklisted",
            Self::NotUploaded(_) => "not_uploaded",
            Self::WouldBreak { .. } => "would_break",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AlreadyInstalled => f.write_str("it runs the ordered version"),
            Self::Blacklisted(package) => write!(f, "it needs {package}, which is blacklisted"),
            Self::NotUploaded(package) => {
                write!(f, "it needs {package}, whose files were not uploaded")
            }
            Self::WouldBreak { gone, needed_by } => {
                write!(f, "{gone} would be replaced, but {needed_by} stays and needs it")
            }
        }
    }
}

/// Why nobody gets a package.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// It cannot be bundled.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// Nobody is to get it.
    #[error("{0} is blacklisted")]
    Blacklisted(PackageId),
    /// There is nothing to send.
    #[error("the files of {0} were not uploaded")]
    NotUploaded(PackageId),
}

/// One package of the bundle, and who gets it.
#[derive(Clone, Debug, PartialEq)]
pub struct Member {
    /// Which package.
    pub package: PackageId,
    /// How many bytes it has.
    pub bytes: u64,
    /// The devices that get it.
    pub devices: RoaringBitmap,
}

/// Who gets a package, with what, and who does not.
#[derive(Clone, Debug, PartialEq)]
pub struct Resolution {
    /// The devices that get it.
    pub devices: RoaringBitmap,
    /// What they get, in the order in which it is installed; the ordered package comes last.
    pub members: Vec<Member>,
    /// Who is left out. A device stands under one reason.
    pub excluded: Vec<(Reason, RoaringBitmap)>,
}

/// Resolves an order for `package` on the `candidates`, which all filters let through. `installed`
/// says on which devices a package is.
///
/// # Errors
///
/// A [`ResolveError`] when no device could get it.
pub fn resolve(
    catalogue: &Catalogue,
    installed: &dyn Fn(&PackageId) -> RoaringBitmap,
    candidates: &RoaringBitmap,
    package: &PackageId,
    reinstall: Reinstall,
) -> Result<Resolution, ResolveError> {
    let bundle = catalogue.bundle(package)?;
    let known = |id: &PackageId| catalogue.get(id).ok_or_else(|| BundleError::Unknown(id.clone()));
    if known(package)?.blacklisted {
        return Err(ResolveError::Blacklisted(package.clone()));
    }
    if known(package)?.bytes.is_none() {
        return Err(ResolveError::NotUploaded(package.clone()));
    }
    let mut resolution =
        Resolution { devices: candidates.clone(), members: vec![], excluded: vec![] };
    if reinstall == Reinstall::No {
        resolution.exclude(Reason::AlreadyInstalled, installed(package));
    }
    for id in bundle {
        let entry = known(&id)?;
        let mut devices = resolution.devices.clone();
        if id != *package {
            devices -= installed(&id);
            if entry.blacklisted {
                resolution.exclude(Reason::Blacklisted(id), devices);
                continue;
            }
            if entry.bytes.is_none() {
                resolution.exclude(Reason::NotUploaded(id), devices);
                continue;
            }
        }
        let bytes = entry.bytes.unwrap_or(0);
        resolution.members.push(Member { package: id, bytes, devices });
    }
    for (reason, devices) in breaking(catalogue, installed, &resolution.members) {
        resolution.exclude(reason, devices);
    }
    for member in &mut resolution.members {
        member.devices &= &resolution.devices;
    }
    resolution.members.retain(|member| member.package == *package || !member.devices.is_empty());
    Ok(resolution)
}

/// What would break, and where: a package that stays needs a version that one of these replaces.
fn breaking(
    catalogue: &Catalogue,
    installed: &dyn Fn(&PackageId) -> RoaringBitmap,
    members: &[Member],
) -> Vec<(Reason, RoaringBitmap)> {
    let mut found = vec![];
    for member in members {
        let others = catalogue.versions(&member.package.name).filter(|id| **id != member.package);
        for gone in others.filter(|gone| catalogue.dependents(gone).next().is_some()) {
            let loses = &member.devices & installed(gone);
            if loses.is_empty() {
                continue;
            }
            for needed_by in catalogue.dependents(gone) {
                let mut breaks = &loses & installed(needed_by);
                let replaces = |other: &&Member| {
                    other.package.name == needed_by.name && other.package != *needed_by
                };
                for replacing in members.iter().filter(replaces) {
                    breaks -= &replacing.devices;
                }
                let (gone, needed_by) = (gone.clone(), needed_by.clone());
                found.push((Reason::WouldBreak { gone, needed_by }, breaks));
            }
        }
    }
    found
}

impl Resolution {
    fn exclude(&mut self, reason: Reason, devices: RoaringBitmap) {
        let excluded = devices & &self.devices;
        if !excluded.is_empty() {
            self.devices -= &excluded;
            self.excluded.push((reason, excluded));
        }
    }

    /// What a device gets, in the order in which it is installed; nothing if it is left out.
    pub fn bundle_of(&self, device: u32) -> impl Iterator<Item = &Member> {
        self.members.iter().filter(move |member| member.devices.contains(device))
    }

    /// How many bytes a device fetches.
    pub fn bytes_of(&self, device: u32) -> u64 {
        self.bundle_of(device).map(|member| member.bytes).sum()
    }

    /// Why a device is left out, if it is.
    pub fn reason_of(&self, device: u32) -> Option<&Reason> {
        self.excluded.iter().find(|(_, devices)| devices.contains(device)).map(|(reason, _)| reason)
    }

    /// How many bytes all devices fetch together.
    pub fn bytes(&self) -> u64 {
        let bytes = |member: &Member| member.bytes.saturating_mul(member.devices.len());
        self.members.iter().map(bytes).fold(0, u64::saturating_add)
    }

    /// Some devices of each kind: of those that get it, and of those under each reason. At most
    /// `limit`, spread evenly, the smallest numbers of each.
    pub fn examples(&self, limit: usize) -> Vec<Example<'_>> {
        let each = limit / (1 + self.excluded.len());
        let mut examples = vec![];
        for (reason, devices) in &self.excluded {
            let left_out = |device| Example { device, reason: Some(reason) };
            examples.extend(devices.iter().take(each).map(left_out));
        }
        let rest = limit - examples.len();
        let gets = |device| Example { device, reason: None };
        examples.splice(0..0, self.devices.iter().take(rest).map(gets));
        examples
    }
}

/// What would happen to one device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Example<'a> {
    /// Which one.
    pub device: u32,
    /// Why it is left out; nothing when it gets the bundle.
    pub reason: Option<&'a Reason>,
}

#[cfg(test)]
mod tests {
    use super::super::bundle::Dependency;
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    fn id(text: &str) -> PackageId {
        PackageId::new(&text[..1], &text[1..]).unwrap()
    }

    /// Devices by what is installed on them, in words: `"A1 B2"`.
    struct Fleet(Vec<BTreeSet<PackageId>>);

    impl Fleet {
        fn new(devices: &[&str]) -> Self {
            let packages = |text: &&str| text.split_whitespace().map(id).collect();
            Self(devices.iter().map(packages).collect())
        }

        fn with(&self, package: &PackageId) -> RoaringBitmap {
            let has = (0_u32..).zip(&self.0).filter(|(_, packages)| packages.contains(package));
            has.map(|(n, _)| n).collect()
        }

        fn resolve(&self, catalogue: &Catalogue, package: &str) -> Resolution {
            let all = (0..self.0.len() as u32).collect();
            resolve(catalogue, &|id| self.with(id), &all, &id(package), Reinstall::No).unwrap()
        }
    }

    fn catalogue(packages: &str, edges: &str) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for package in packages.split_whitespace() {
            catalogue.put(id(package), Some(10), false);
        }
        for (needed, dependent) in
            edges.split_whitespace().map(|text| text.split_once("->").unwrap())
        {
            let edge = Dependency { needed: id(needed), dependent: id(dependent) };
            catalogue.add_dependency(&edge).unwrap();
        }
        catalogue
    }

    fn told(resolution: &Resolution, device: u32) -> String {
        if let Some(reason) = resolution.reason_of(device) {
            return reason.to_string();
        }
        let bundle: Vec<_> = resolution.bundle_of(device).map(|m| m.package.to_string()).collect();
        bundle.join(", ")
    }

    #[test]
    fn each_device_gets_what_it_misses_and_nothing_else() {
        let catalogue = catalogue("A1 B1 C1 D1", "B1->A1 C1->B1 D1->A1");
        let fleet = Fleet::new(&["", "B1", "C1 D1", "B1 C1 D1", "A1"]);
        let resolution = fleet.resolve(&catalogue, "A1");
        let expected = [
            "C 1, B 1, D 1, A 1",
            "C 1, D 1, A 1",
            "B 1, A 1",
            "A 1",
            "it runs the ordered version",
        ];
        for (n, expected) in (0..).zip(expected) {
            assert_eq!(told(&resolution, n), expected);
        }
        assert_eq!(resolution.bytes_of(0), 40);
        assert_eq!(resolution.bytes(), 40 + 30 + 20 + 10);
        assert_eq!(resolution.devices.len(), 4);
    }

    #[test]
    fn a_device_that_would_break_is_left_out_and_told_why() {
        // S 1 needs A 1. Ordering A 2 takes A 1 away.
        let catalogue = catalogue("A1 A2 S1 S2", "A1->S1");
        let fleet = Fleet::new(&["A1 S1", "A1", "S1", "A1 S2"]);
        let resolution = fleet.resolve(&catalogue, "A2");
        assert_eq!(told(&resolution, 0), "A 1 would be replaced, but S 1 stays and needs it");
        assert_eq!(resolution.reason_of(0).unwrap().code(), "would_break");
        // It never had what S 1 needs: nothing gets worse.
        assert_eq!([1, 2, 3].map(|n| told(&resolution, n)), ["A 2", "A 2", "A 2"]);
    }

    #[test]
    fn what_the_bundle_replaces_itself_does_not_break() {
        // S 1 needs A 1, S 2 needs A 2: ordering S 2 replaces both together.
        let catalogue = catalogue("A1 A2 S1 S2", "A1->S1 A2->S2");
        let resolution = Fleet::new(&["A1 S1"]).resolve(&catalogue, "S2");
        assert_eq!(told(&resolution, 0), "A 2, S 2");
    }

    #[test]
    fn a_dependency_can_break_what_stays() {
        // A 1 brings L 2 along, which replaces L 1, which X 1 needs.
        let catalogue = catalogue("A1 L1 L2 X1", "L2->A1 L1->X1");
        let resolution = Fleet::new(&["L1 X1", "L2 X1"]).resolve(&catalogue, "A1");
        assert_eq!(told(&resolution, 0), "L 1 would be replaced, but X 1 stays and needs it");
        assert_eq!(told(&resolution, 1), "A 1");
    }

    #[test]
    fn what_nobody_is_to_get_and_what_is_not_there_stops_who_misses_it() {
        let mut catalogue = catalogue("A1 B1 C1", "B1->A1 C1->A1");
        catalogue.put(id("B1"), Some(10), true);
        catalogue.put(id("C1"), None, false);
        let fleet = Fleet::new(&["", "B1", "B1 C1"]);
        let resolution = fleet.resolve(&catalogue, "A1");
        assert_eq!(told(&resolution, 0), "it needs B 1, which is blacklisted");
        assert_eq!(told(&resolution, 1), "it needs C 1, whose files were not uploaded");
        assert_eq!(told(&resolution, 2), "A 1");
        let all = RoaringBitmap::from([0]);
        let order = |package: &str| {
            resolve(&catalogue, &|id| fleet.with(id), &all, &id(package), Reinstall::No)
                .unwrap_err()
                .to_string()
        };
        assert_eq!(order("B1"), "B 1 is blacklisted");
        assert_eq!(order("C1"), "the files of C 1 were not uploaded");
        assert_eq!(order("X1"), "there is no package X 1");
    }

    #[test]
    fn who_has_it_gets_it_again_where_that_is_said() {
        let catalogue = catalogue("A1", "");
        let fleet = Fleet::new(&["A1"]);
        let all = RoaringBitmap::from([0]);
        let again =
            resolve(&catalogue, &|id| fleet.with(id), &all, &id("A1"), Reinstall::Yes).unwrap();
        assert_eq!(told(&again, 0), "A 1");
    }

    #[test]
    fn examples_show_each_reason_and_are_bounded() {
        let catalogue = catalogue("A1", "");
        let devices: Vec<&str> = (0..400).map(|n| if n % 2 == 0 { "A1" } else { "" }).collect();
        let resolution = Fleet::new(&devices).resolve(&catalogue, "A1");
        let examples = resolution.examples(100);
        assert_eq!(examples.len(), 100);
        assert_eq!(examples.iter().filter(|example| example.reason.is_none()).count(), 50);
    }

    /// What the module promises, for one device, without sets of devices.
    fn naive(
        catalogue: &Catalogue,
        installed: &BTreeSet<PackageId>,
        package: &PackageId,
    ) -> Result<Vec<PackageId>, &'static str> {
        if installed.contains(package) {
            return Err("already_installed");
        }
        let bundle: Vec<_> = catalogue
            .bundle(package)
            .unwrap()
            .into_iter()
            .filter(|id| !installed.contains(id))
            .collect();
        let known = |id: &PackageId| catalogue.get(id).unwrap();
        for id in &bundle {
            if known(id).blacklisted {
                return Err("blacklisted");
            }
            if known(id).bytes.is_none() {
                return Err("not_uploaded");
            }
        }
        let mut after: BTreeSet<PackageId> = installed
            .iter()
            .filter(|old| bundle.iter().all(|new| new.name != old.name))
            .cloned()
            .collect();
        let gone: Vec<_> = installed.difference(&after).cloned().collect();
        after.extend(bundle.iter().cloned());
        for gone in gone.iter().filter(|gone| !after.contains(gone)) {
            if catalogue
                .dependents(gone)
                .any(|dependent| after.contains(dependent) && installed.contains(dependent))
            {
                return Err("would_break");
            }
        }
        Ok(bundle)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]

        #[test]
        fn each_device_gets_what_it_would_get_alone(
            edges in proptest::collection::vec((0_usize..8, 0_usize..8), 0..14),
            fleet in proptest::collection::vec(proptest::collection::btree_set(0_usize..8, 0..5), 1..12),
            ordered in 0_usize..8, bad in proptest::option::of((0_usize..8, any::<bool>())),
        ) {
            let ids = ["A1", "A2", "B1", "B2", "C1", "C2", "D1", "D2"].map(id);
            let mut catalogue = catalogue("A1 A2 B1 B2 C1 C2 D1 D2", "");
            if let Some((n, blacklisted)) = bad.filter(|(n, _)| *n != ordered) {
                catalogue.put(ids[n].clone(), blacklisted.then_some(10), blacklisted);
            }
            for (needed, dependent) in edges {
                let edge = Dependency { needed: ids[needed].clone(), dependent: ids[dependent].clone() };
                let _ = catalogue.add_dependency(&edge);
            }
            // A device runs one version of a package.
            let packages = |numbers: &BTreeSet<usize>| {
                let mut names = BTreeSet::new();
                numbers.iter().map(|n| ids[*n].clone()).filter(|id| names.insert(id.name.clone())).collect()
            };
            let fleet = Fleet(fleet.iter().map(packages).collect());
            if catalogue.bundle(&ids[ordered]).is_err() { return Ok(()) }
            let all = (0..fleet.0.len() as u32).collect();
            let resolution = resolve(&catalogue, &|id| fleet.with(id), &all, &ids[ordered], Reinstall::No).unwrap();
            let mut bytes = 0;
            for (n, installed) in (0..).zip(&fleet.0) {
                match naive(&catalogue, installed, &ids[ordered]) {
                    Err(reason) => {
                        prop_assert_eq!(resolution.reason_of(n).map(Reason::code), Some(reason));
                        prop_assert!(resolution.bundle_of(n).next().is_none());
                    }
                    Ok(bundle) => {
                        prop_assert_eq!(resolution.reason_of(n), None);
                        let found: Vec<_> = resolution.bundle_of(n).map(|m| m.package.clone()).collect();
                        bytes += 10 * found.len() as u64;
                        prop_assert_eq!(found, bundle);
                    }
                }
            }
            prop_assert_eq!(resolution.bytes(), bytes);
        }
    }
}
