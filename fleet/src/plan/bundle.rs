//! What a package needs, and what that needs in turn: the packages of a tenant and the edges between
//! them. There is never a cycle, because an edge that would close one is refused.

use std::collections::{BTreeMap, BTreeSet};

use super::words::{PackageId, PackageName};

/// How many packages one package may need itself.
pub const DEPENDENCIES_MAX: usize = 256;

/// How many packages may come along with one package in all.
pub const BUNDLE_MAX: usize = 1_024;

/// What deciding needs to know about a package.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Package {
    /// How many bytes a device fetches for it; none while its files were not uploaded.
    pub bytes: Option<u64>,
    /// Whether nobody is to get it.
    pub blacklisted: bool,
    needs: BTreeSet<PackageId>,
    needed_by: BTreeSet<PackageId>,
}

/// One thing that one package needs.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Dependency {
    /// What is needed.
    pub needed: PackageId,
    /// What needs it.
    pub dependent: PackageId,
}

/// The packages of a tenant.
#[derive(Clone, Debug, Default)]
pub struct Catalogue(BTreeMap<PackageId, Package>);

/// Why the catalogue stays as it is, or why a package cannot be bundled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BundleError {
    /// No such package.
    #[error("there is no package {0}")]
    Unknown(PackageId),
    /// The package that is needed is not there.
    #[error("there is no package {0} to depend on")]
    UnknownNeeded(PackageId),
    /// No such edge.
    #[error("{} does not depend on {}", .0.dependent, .0.needed)]
    NoDependency(Dependency),
    /// It would need itself.
    #[error("{} cannot depend on {}: {}", .0.dependent, .0.needed, circle(.1))]
    Cycle(Dependency, Vec<PackageId>),
    /// It needs too many.
    #[error("{0} has {DEPENDENCIES_MAX} dependencies already, which is the most")]
    TooMany(PackageId),
    /// Too many would come along.
    #[error("more than {BUNDLE_MAX} packages would come along with {0}")]
    TooLarge(PackageId),
    /// Something that comes along is needed in two versions, and a device runs one.
    #[error("{package} needs {name} both as {first} and as {second}, and a device runs one version of it",
        name = .first.name, first = .first.version, second = .second.version)]
    TwoVersions {
        /// The package that was asked for.
        package: PackageId,
        /// One version.
        first: PackageId,
        /// The other.
        second: PackageId,
    },
    /// Something else needs it.
    #[error("{needed} is needed by {dependent}; take that dependency away first")]
    Needed {
        /// What was to be removed.
        needed: PackageId,
        /// What needs it.
        dependent: PackageId,
    },
}

fn circle(path: &[PackageId]) -> String {
    match path {
        [] | [_] => "a package does not need itself".to_owned(),
        path => {
            let path: Vec<String> = path.iter().map(ToString::to_string).collect();
            format!("{} already", path.join(" needs "))
        }
    }
}

impl Catalogue {
    /// A package.
    pub fn get(&self, package: &PackageId) -> Option<&Package> {
        self.0.get(package)
    }

    /// All packages in the order of their names.
    pub fn iter(&self) -> impl Iterator<Item = (&PackageId, &Package)> {
        self.0.iter()
    }

    /// The versions of one package.
    pub fn versions<'a>(&'a self, name: &'a PackageName) -> impl Iterator<Item = &'a PackageId> {
        let from = self.0.range::<PackageId, _>(first_of(name)..);
        from.map(|(id, _)| id).take_while(move |id| id.name == *name)
    }

    /// Puts in a package, or says something new about one; what it needs stays.
    pub fn put(&mut self, package: PackageId, bytes: Option<u64>, blacklisted: bool) {
        let known = self.0.entry(package).or_default();
        known.bytes = bytes;
        known.blacklisted = blacklisted;
    }

    /// Takes a package out.
    ///
    /// # Errors
    ///
    /// [`BundleError::Needed`] while another package needs it, [`BundleError::Unknown`].
    pub fn remove(&mut self, package: &PackageId) -> Result<(), BundleError> {
        let known = self.known(package)?;
        if let Some(dependent) = known.needed_by.first().cloned() {
            return Err(BundleError::Needed { needed: package.clone(), dependent });
        }
        for needed in self.0.remove(package).unwrap_or_default().needs {
            self.0.entry(needed).and_modify(|needed| {
                needed.needed_by.remove(package);
            });
        }
        Ok(())
    }

    /// From now on `dependent` needs `needed`. Saying so twice is saying so once.
    ///
    /// # Errors
    ///
    /// A [`BundleError`] when one of them is not there, when `needed` needs `dependent`, or when the
    /// dependent needs as many as it may.
    pub fn add_dependency(&mut self, dependency: &Dependency) -> Result<(), BundleError> {
        let Dependency { needed, dependent } = dependency;
        let known = self.known(dependent)?;
        if !self.0.contains_key(needed) {
            return Err(BundleError::UnknownNeeded(needed.clone()));
        }
        if known.needs.contains(needed) {
            return Ok(());
        }
        if let Some(path) = self.path(needed, dependent) {
            return Err(BundleError::Cycle(dependency.clone(), path));
        }
        if known.needs.len() >= DEPENDENCIES_MAX {
            return Err(BundleError::TooMany(dependent.clone()));
        }
        self.0.entry(dependent.clone()).or_default().needs.insert(needed.clone());
        self.0.entry(needed.clone()).or_default().needed_by.insert(dependent.clone());
        Ok(())
    }

    /// From now on `dependent` does not need `needed` itself.
    ///
    /// # Errors
    ///
    /// Three different ones: no dependent, no needed, no such edge.
    pub fn remove_dependency(&mut self, dependency: &Dependency) -> Result<(), BundleError> {
        let Dependency { needed, dependent } = dependency;
        self.known(dependent)?;
        if !self.0.contains_key(needed) {
            return Err(BundleError::UnknownNeeded(needed.clone()));
        }
        let known = self.0.entry(dependent.clone()).or_default();
        if !known.needs.remove(needed) {
            return Err(BundleError::NoDependency(dependency.clone()));
        }
        self.0.entry(needed.clone()).or_default().needed_by.remove(dependent);
        Ok(())
    }

    /// What a package needs itself.
    ///
    /// # Errors
    ///
    /// [`BundleError::Unknown`].
    pub fn dependencies(&self, package: &PackageId) -> Result<Vec<Dependency>, BundleError> {
        let known = self.known(package)?;
        let edge =
            |needed: &PackageId| Dependency { needed: needed.clone(), dependent: package.clone() };
        Ok(known.needs.iter().map(edge).collect())
    }

    /// Everything that a package needs, and what that needs: each edge once.
    ///
    /// # Errors
    ///
    /// [`BundleError::Unknown`], [`BundleError::TooLarge`].
    pub fn all_dependencies(&self, package: &PackageId) -> Result<Vec<Dependency>, BundleError> {
        let mut edges = vec![];
        for dependent in self.in_order(package)?.iter().rev() {
            edges.extend(self.dependencies(dependent)?);
        }
        Ok(edges)
    }

    /// What needs this package itself.
    pub fn dependents(&self, package: &PackageId) -> impl Iterator<Item = &PackageId> {
        self.0.get(package).into_iter().flat_map(|known| &known.needed_by)
    }

    /// The package and everything that it needs, each once, in the order in which they can be
    /// installed: what is needed comes first, the package itself last.
    ///
    /// # Errors
    ///
    /// [`BundleError::Unknown`], [`BundleError::TooLarge`], [`BundleError::TwoVersions`].
    pub fn bundle(&self, package: &PackageId) -> Result<Vec<PackageId>, BundleError> {
        let bundle = self.in_order(package)?;
        let mut names: BTreeMap<&PackageName, &PackageId> = BTreeMap::new();
        for member in &bundle {
            if let Some(first) = names.insert(&member.name, member) {
                let (package, first, second) = (package.clone(), first.clone(), member.clone());
                return Err(BundleError::TwoVersions { package, first, second });
            }
        }
        Ok(bundle)
    }

    fn known(&self, package: &PackageId) -> Result<&Package, BundleError> {
        self.0.get(package).ok_or_else(|| BundleError::Unknown(package.clone()))
    }

    /// Depth first with a stack of its own: a chain may be as long as there are packages.
    fn in_order(&self, package: &PackageId) -> Result<Vec<PackageId>, BundleError> {
        let mut order = vec![];
        let mut reached = BTreeSet::from([package]);
        let mut stack = vec![(package, self.known(package)?.needs.iter())];
        while let Some((member, needs)) = stack.last_mut() {
            let Some(needed) = needs.next() else {
                order.push((*member).clone());
                stack.pop();
                continue;
            };
            if reached.insert(needed) {
                if reached.len() > BUNDLE_MAX + 1 {
                    return Err(BundleError::TooLarge(package.clone()));
                }
                stack.push((needed, self.known(needed)?.needs.iter()));
            }
        }
        Ok(order)
    }

    /// How `from` comes to need `to`, if it does.
    fn path(&self, from: &PackageId, to: &PackageId) -> Option<Vec<PackageId>> {
        let mut reached = BTreeSet::from([from]);
        let mut stack = vec![(from, self.0.get(from)?.needs.iter())];
        if from == to {
            return Some(vec![from.clone()]);
        }
        while let Some((_, needs)) = stack.last_mut() {
            match needs.next() {
                None => {
                    stack.pop();
                }
                Some(needed) if needed == to => {
                    let mut path: Vec<_> =
                        stack.iter().map(|(member, _)| (*member).clone()).collect();
                    path.push(to.clone());
                    return Some(path);
                }
                Some(needed) if reached.insert(needed) => {
                    stack.push((needed, self.0.get(needed)?.needs.iter()));
                }
                Some(_) => {}
            }
        }
        None
    }
}

/// Not after any version of the package, and after every package whose name comes before.
fn first_of(name: &PackageName) -> PackageId {
    let version = " ".parse().expect("a blank is the smallest version");
    PackageId { name: name.clone(), version }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn id(text: &str) -> PackageId {
        PackageId::new(&text[..1], &text[1..]).unwrap()
    }

    fn edge(text: &str) -> Dependency {
        let (needed, dependent) = text.split_once("->").unwrap();
        Dependency { needed: id(needed), dependent: id(dependent) }
    }

    fn catalogue(packages: &str, edges: &str) -> Catalogue {
        let mut catalogue = Catalogue::default();
        for package in packages.split(' ') {
            catalogue.put(id(package), Some(10), false);
        }
        for text in edges.split(' ').filter(|text| !text.is_empty()) {
            catalogue.add_dependency(&edge(text)).unwrap();
        }
        catalogue
    }

    #[test]
    fn the_example_of_the_seed_gives_its_five_edges() {
        let catalogue = catalogue("A1 B1 B2 C1 D1 D2", "D1->C1 D2->C1 C1->B2 B2->A1 B1->A1");
        let mut edges = catalogue.all_dependencies(&id("A1")).unwrap();
        edges.sort();
        let mut expected: Vec<_> =
            ["D1->C1", "D2->C1", "C1->B2", "B2->A1", "B1->A1"].map(edge).into();
        expected.sort();
        assert_eq!(edges, expected);
        let direct: Vec<_> = ["B1->A1", "B2->A1"].map(edge).into();
        assert_eq!(catalogue.dependencies(&id("A1")).unwrap(), direct);
    }

    #[test]
    fn a_diamond_comes_once_and_before_what_needs_it() {
        let catalogue = catalogue("A1 B1 C1 D1", "B1->A1 C1->A1 D1->B1 D1->C1");
        assert_eq!(catalogue.bundle(&id("A1")).unwrap(), ["D1", "B1", "C1", "A1"].map(id));
        assert_eq!(catalogue.all_dependencies(&id("A1")).unwrap().len(), 4);
    }

    #[test]
    fn what_would_close_a_circle_is_refused_and_said() {
        let mut catalogue = catalogue("A1 B1 C1", "B1->A1 C1->B1");
        let refused = catalogue.add_dependency(&edge("A1->C1")).unwrap_err();
        assert_eq!(
            refused.to_string(),
            "C 1 cannot depend on A 1: A 1 needs B 1 needs C 1 already"
        );
        let refused = catalogue.add_dependency(&edge("A1->A1")).unwrap_err();
        assert_eq!(refused.to_string(), "A 1 cannot depend on A 1: a package does not need itself");
        assert_eq!(catalogue.add_dependency(&edge("C1->A1")), Ok(()), "the control");
    }

    #[test]
    fn each_missing_side_is_told_apart() {
        let mut catalogue = catalogue("A1 B1", "");
        let wrong = |text: &str| edge(text);
        assert_eq!(catalogue.add_dependency(&wrong("A1->X1")), Err(BundleError::Unknown(id("X1"))));
        assert_eq!(
            catalogue.add_dependency(&wrong("X1->A1")),
            Err(BundleError::UnknownNeeded(id("X1")))
        );
        assert_eq!(
            catalogue.remove_dependency(&wrong("A1->X1")),
            Err(BundleError::Unknown(id("X1")))
        );
        assert_eq!(
            catalogue.remove_dependency(&wrong("X1->A1")),
            Err(BundleError::UnknownNeeded(id("X1")))
        );
        assert_eq!(
            catalogue.remove_dependency(&wrong("B1->A1")),
            Err(BundleError::NoDependency(edge("B1->A1")))
        );
        catalogue.add_dependency(&edge("B1->A1")).unwrap();
        assert!(matches!(catalogue.remove(&id("B1")), Err(BundleError::Needed { .. })));
        catalogue.remove_dependency(&edge("B1->A1")).unwrap();
        assert_eq!(catalogue.remove(&id("B1")), Ok(()));
        assert_eq!(catalogue.remove(&id("B1")), Err(BundleError::Unknown(id("B1"))));
    }

    #[test]
    fn two_versions_of_one_package_do_not_come_along_together() {
        let catalogue = catalogue("A1 B1 C1 C2", "B1->A1 C1->A1 C2->B1");
        let refused = catalogue.bundle(&id("A1")).unwrap_err().to_string();
        assert_eq!(refused, "A 1 needs C both as 2 and as 1, and a device runs one version of it");
        assert_eq!(
            catalogue.all_dependencies(&id("A1")).unwrap().len(),
            3,
            "but they can be shown"
        );
    }

    #[test]
    fn dependencies_and_bundles_have_an_end() {
        let mut catalogue = catalogue("A1", "");
        let numbered = |n: usize| PackageId::new("n", &n.to_string()).unwrap();
        for n in 0..=BUNDLE_MAX {
            catalogue.put(numbered(n), None, false);
        }
        let needs = |n| Dependency { needed: numbered(n), dependent: id("A1") };
        for n in 0..DEPENDENCIES_MAX {
            catalogue.add_dependency(&needs(n)).unwrap();
        }
        let refused = catalogue.add_dependency(&needs(DEPENDENCIES_MAX));
        assert_eq!(refused, Err(BundleError::TooMany(id("A1"))));
        for n in 0..BUNDLE_MAX {
            let next = Dependency { needed: numbered(n + 1), dependent: numbered(n) };
            catalogue.add_dependency(&next).unwrap();
        }
        assert_eq!(catalogue.all_dependencies(&id("A1")), Err(BundleError::TooLarge(id("A1"))));
        assert!(catalogue.all_dependencies(&numbered(1)).is_ok(), "the control: one fewer");
    }

    #[test]
    fn the_versions_of_a_package_are_its_own() {
        let mut catalogue = catalogue("A1 B1", "");
        catalogue.put(PackageId::new("A", " 0").unwrap(), None, false);
        catalogue.put(PackageId::new("A", "10").unwrap(), None, false);
        catalogue.put(PackageId::new("AA", "1").unwrap(), None, false);
        let name = "A".parse().unwrap();
        assert_eq!(catalogue.versions(&name).count(), 3);
    }

    proptest! {
        #[test]
        fn whatever_is_added_there_is_no_circle(edges in proptest::collection::vec((0_u8..6, 0_u8..6), 0..40)) {
            let letter = |n: u8| id(&format!("{}1", (b'A' + n) as char));
            let mut catalogue = catalogue("A1 B1 C1 D1 E1 F1", "");
            for (needed, dependent) in edges {
                let edge = Dependency { needed: letter(needed), dependent: letter(dependent) };
                let would_close = catalogue.in_order(&edge.needed).unwrap().contains(&edge.dependent);
                prop_assert_eq!(catalogue.add_dependency(&edge).is_err(), would_close);
            }
            for n in 0..6 {
                let order = catalogue.bundle(&letter(n)).unwrap();
                for (place, member) in order.iter().enumerate() {
                    for needed in &catalogue.get(member).unwrap().needs {
                        let before = order.iter().position(|known| known == needed);
                        prop_assert!(before.is_some_and(|before| before < place));
                    }
                }
            }
        }
    }
}
