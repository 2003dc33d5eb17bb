//! What is known beside devices: components, filters and their links, dependencies, data plans.

use std::collections::BTreeSet;

use serde_json::json;

use super::{Once, Outcome, Refusal, Server, missing};
use crate::access::Scope;
use crate::plan::filter::Filter as Expression;
use crate::plan::words::{FilterLabel, PackageId, PartNumber, PlanName};
use crate::store::{
    Batch, Change, Component, Components, Cycle, Cycles, Dependencies, DevicesWithPackage,
    DevicesWithPart, Filter, Filters, Links, Noun, PackageByKey, PackageKey, Plan, Plans, Vendor,
    Vendors,
};

/// Data plans of a tenant.
pub(crate) const PLANS_MAX: usize = 1000;
/// Billing cycles of a plan.
pub(crate) const CYCLES_MAX: usize = 1000;

/// One package needs another.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Edge {
    /// What is needed.
    pub needed: PackageKey,
    /// What needs it.
    pub dependent: PackageKey,
}

impl From<&PackageId> for PackageKey {
    fn from(id: &PackageId) -> Self {
        Self { name: id.name.as_str().into(), version: id.version.as_str().into() }
    }
}

impl Server {
    async fn change(
        &self,
        scope: &Scope,
        action: &'static str,
        subject: &str,
        change: Change,
        told: &'static str,
    ) -> Result<i64, Refusal> {
        let batch = Batch::new(scope, action, subject, self.now()).with(change);
        Ok(self.write(batch.telling(told, json!({}))).await?.revision)
    }

    async fn add(
        &self,
        scope: &Scope,
        (action, told): (&'static str, &'static str),
        subject: &str,
        change: Change,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        let batch = Batch::new(scope, action, subject, self.now()).with(change);
        self.write_once(scope, batch.telling(told, json!({})), once, subject).await
    }

    /// Adds a component.
    ///
    /// # Errors
    ///
    /// It is there already.
    pub async fn add_component(
        &self,
        scope: &Scope,
        part: &PartNumber,
        description: String,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        if description.contains('\0') || description.len() > super::packages::TEXT_BYTES_MAX {
            return Err(Refusal::Senseless("a description has at most 4096 bytes".into()));
        }
        let change = Change::AddComponent { part: part.as_str().into(), description };
        self.add(scope, ("component.add", "component.added"), part.as_str(), change, once).await
    }

    /// Takes a component away.
    ///
    /// # Errors
    ///
    /// It is not there, or a device has it.
    pub async fn delete_component(&self, scope: &Scope, part: &PartNumber) -> Result<(), Refusal> {
        let change = Change::DeleteComponent(part.as_str().into());
        let part = part.as_str();
        self.change(scope, "component.delete", part, change, "component.deleted").await.map(|_| ())
    }

    /// All components, by part number.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn components(&self, scope: &Scope) -> Result<Vec<Component>, Refusal> {
        Ok(self.store.ask(scope, Components {}).await?)
    }

    /// The devices that have a component.
    ///
    /// # Errors
    ///
    /// There is no such component.
    pub async fn devices_with_part(
        &self,
        scope: &Scope,
        part: &PartNumber,
    ) -> Result<roaring::RoaringBitmap, Refusal> {
        let known = self.components(scope).await?;
        if !known.iter().any(|component| component.part == part.as_str()) {
            return Err(missing(Noun::Component));
        }
        Ok(self.store.ask(scope, DevicesWithPart { part: part.as_str().into() }).await?)
    }

    /// The devices on which a package is installed.
    ///
    /// # Errors
    ///
    /// There is no such package.
    pub async fn devices_with_package(
        &self,
        scope: &Scope,
        key: &PackageId,
    ) -> Result<roaring::RoaringBitmap, Refusal> {
        let key = self.known_package(scope, key, Noun::Package).await?;
        Ok(self.store.ask(scope, DevicesWithPackage { key }).await?)
    }

    pub(super) async fn known_package(
        &self,
        scope: &Scope,
        key: &PackageId,
        noun: Noun,
    ) -> Result<PackageKey, Refusal> {
        let found = self.store.ask(scope, PackageByKey { key: key.into() }).await?;
        found.map(|package| package.key).ok_or_else(|| missing(noun))
    }

    /// Adds a filter.
    ///
    /// # Errors
    ///
    /// There is one of the label, or the expression is none.
    pub async fn add_filter(
        &self,
        scope: &Scope,
        label: &FilterLabel,
        expression: &str,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        checked(expression)?;
        let (label, expression) = (label.as_str().to_owned(), expression.to_owned());
        let change = Change::AddFilter { label: label.clone(), expression };
        self.add(scope, ("filter.add", "filter.added"), &label, change, once).await
    }

    /// Gives a filter another expression. With a revision: only if nobody else did since.
    ///
    /// # Errors
    ///
    /// It is not there, the expression is none, or somebody else was faster.
    pub async fn edit_filter(
        &self,
        scope: &Scope,
        label: &FilterLabel,
        expression: &str,
        revision: Option<i64>,
    ) -> Result<i64, Refusal> {
        checked(expression)?;
        let (label, expression) = (label.as_str().to_owned(), expression.to_owned());
        let change = Change::EditFilter { label: label.clone(), expression, revision };
        self.change(scope, "filter.edit", &label, change, "filter.edited").await
    }

    /// Takes a filter away, and its links.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub async fn delete_filter(&self, scope: &Scope, label: &FilterLabel) -> Result<(), Refusal> {
        let change = Change::DeleteFilter(label.as_str().into());
        let label = label.as_str();
        self.change(scope, "filter.delete", label, change, "filter.deleted").await.map(|_| ())
    }

    /// All filters, by label.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn filters(&self, scope: &Scope) -> Result<Vec<Filter>, Refusal> {
        Ok(self.store.ask(scope, Filters {}).await?)
    }

    /// A filter.
    ///
    /// # Errors
    ///
    /// It is not there.
    pub async fn filter(&self, scope: &Scope, label: &FilterLabel) -> Result<Filter, Refusal> {
        let mut all = self.filters(scope).await?.into_iter();
        let found = all.find(|filter| filter.label == label.as_str());
        found.ok_or_else(|| missing(Noun::Filter))
    }

    /// From now on a filter says which devices a package is for.
    ///
    /// # Errors
    ///
    /// One of them is not there.
    pub async fn link(
        &self,
        scope: &Scope,
        key: &PackageId,
        label: &FilterLabel,
    ) -> Result<(), Refusal> {
        let change = Change::Link { key: key.into(), label: label.as_str().into() };
        let subject = key.to_string();
        self.change(scope, "package.link", &subject, change, "package.linked").await.map(|_| ())
    }

    /// The filter no longer says so.
    ///
    /// # Errors
    ///
    /// It did not.
    pub async fn unlink(
        &self,
        scope: &Scope,
        key: &PackageId,
        label: &FilterLabel,
    ) -> Result<(), Refusal> {
        let change = Change::Unlink { key: key.into(), label: label.as_str().into() };
        let subject = key.to_string();
        self.change(scope, "package.unlink", &subject, change, "package.linked").await.map(|_| ())
    }

    /// The packages that a filter is linked to.
    ///
    /// # Errors
    ///
    /// The filter is not there.
    pub async fn packages_of(
        &self,
        scope: &Scope,
        label: &FilterLabel,
    ) -> Result<Vec<PackageKey>, Refusal> {
        self.filter(scope, label).await?;
        let links = self.store.ask(scope, Links {}).await?.into_iter();
        Ok(links.filter(|link| link.1 == label.as_str()).map(|link| link.0).collect())
    }

    /// The labels of the filters that are linked to a package.
    ///
    /// # Errors
    ///
    /// The package is not there.
    pub async fn filters_of(&self, scope: &Scope, key: &PackageId) -> Result<Vec<String>, Refusal> {
        let key = self.known_package(scope, key, Noun::Package).await?;
        let links = self.store.ask(scope, Links {}).await?.into_iter();
        Ok(links.filter(|link| link.0 == key).map(|link| link.1).collect())
    }

    /// From now on a package needs another.
    ///
    /// # Errors
    ///
    /// One of them is not there, or it would need itself in the end.
    pub async fn add_dependency(
        &self,
        scope: &Scope,
        key: &PackageId,
        needs: &PackageId,
    ) -> Result<(), Refusal> {
        let change = Change::AddDependency { key: key.into(), needs: needs.into() };
        let subject = key.to_string();
        self.change(scope, "package.need", &subject, change, "package.edited").await.map(|_| ())
    }

    /// It no longer needs it.
    ///
    /// # Errors
    ///
    /// One of them is not there, or it did not need it.
    pub async fn delete_dependency(
        &self,
        scope: &Scope,
        key: &PackageId,
        needs: &PackageId,
    ) -> Result<(), Refusal> {
        let change = Change::DeleteDependency { key: key.into(), needs: needs.into() };
        let subject = key.to_string();
        self.change(scope, "package.unneed", &subject, change, "package.edited").await.map(|_| ())
    }

    /// What a package needs; with what that needs, and so on, when `deep`.
    ///
    /// # Errors
    ///
    /// The package is not there.
    pub async fn dependencies(
        &self,
        scope: &Scope,
        key: &PackageId,
        depth: Depth,
    ) -> Result<Vec<Edge>, Refusal> {
        let key = self.known_package(scope, key, Noun::Package).await?;
        let all = self.store.ask(scope, Dependencies {}).await?;
        let (mut edges, mut seen, mut next) = (BTreeSet::new(), BTreeSet::new(), vec![key]);
        while let Some(dependent) = next.pop() {
            for (_, needed) in all.iter().filter(|edge| edge.0 == dependent) {
                let (needed, dependent) = (needed.clone(), dependent.clone());
                if depth == Depth::All && seen.insert(needed.clone()) {
                    next.push(needed.clone());
                }
                edges.insert(Edge { needed, dependent });
            }
        }
        Ok(edges.into_iter().collect())
    }

    /// Registers a vendor: whose envelopes are believed.
    ///
    /// # Errors
    ///
    /// Its keys are none.
    pub async fn put_vendor(&self, scope: &Scope, vendor: Vendor) -> Result<(), Refusal> {
        freshen::package::Trust::from_pem(&vendor.keys)
            .map_err(|error| Refusal::Senseless(format!("the vendor's keys: {error}")))?;
        let name = vendor.name.clone();
        let change = Change::PutVendor(vendor);
        self.change(scope, "vendor.put", &name, change, "vendor.edited").await.map(|_| ())
    }

    /// All vendors, by name.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn vendors(&self, scope: &Scope) -> Result<Vec<Vendor>, Refusal> {
        Ok(self.store.ask(scope, Vendors {}).await?)
    }

    /// Adds a data plan.
    ///
    /// # Errors
    ///
    /// It is there already, or there are too many.
    pub async fn add_plan(
        &self,
        scope: &Scope,
        plan: Plan,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        if self.plans(scope).await?.len() >= PLANS_MAX {
            return Err(Refusal::Senseless(format!("there are at most {PLANS_MAX} data plans")));
        }
        let name = plan.name.clone();
        self.add(scope, ("plan.add", "plan.added"), &name, Change::AddPlan(plan), once).await
    }

    /// All data plans, by name.
    ///
    /// # Errors
    ///
    /// The store cannot be read.
    pub async fn plans(&self, scope: &Scope) -> Result<Vec<Plan>, Refusal> {
        Ok(self.store.ask(scope, Plans {}).await?)
    }

    /// Adds a billing cycle.
    ///
    /// # Errors
    ///
    /// The plan is not there, a cycle begins then already, or there are too many.
    pub async fn add_cycle(
        &self,
        scope: &Scope,
        plan: &PlanName,
        cycle: Cycle,
        once: Option<Once>,
    ) -> Result<Outcome, Refusal> {
        if i64::try_from(cycle.pool).is_err() {
            return Err(Refusal::Senseless("pool is at most 9223372036854775807".into()));
        }
        if self.cycles(scope, plan, i64::MIN, i64::MAX).await?.len() >= CYCLES_MAX {
            return Err(Refusal::Senseless(format!("a plan has at most {CYCLES_MAX} cycles")));
        }
        let plan = plan.as_str().to_owned();
        let change = Change::AddCycle { plan: plan.clone(), cycle };
        self.add(scope, ("plan.add-cycle", "plan.edited"), &plan, change, once).await
    }

    /// The cycles of a plan that begin between two moments, both included.
    ///
    /// # Errors
    ///
    /// The plan is not there.
    pub async fn cycles(
        &self,
        scope: &Scope,
        plan: &PlanName,
        from: i64,
        to: i64,
    ) -> Result<Vec<Cycle>, Refusal> {
        if !self.plans(scope).await?.iter().any(|known| known.name == plan.as_str()) {
            return Err(missing(Noun::Plan));
        }
        Ok(self.store.ask(scope, Cycles { plan: plan.as_str().into(), from, to }).await?)
    }
}

/// An expression that parses and that every database can hold.
fn checked(expression: &str) -> Result<(), Refusal> {
    expression.parse::<Expression>()?;
    if expression.contains('\0') {
        return Err(Refusal::Senseless("an expression has no NUL character".into()));
    }
    Ok(())
}

/// How far dependencies are followed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    /// What the package itself needs.
    One,
    /// All that it needs in the end.
    All,
}
