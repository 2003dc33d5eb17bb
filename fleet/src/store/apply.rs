//! What each change does to the tables, and what it expects of them. The caller has the transaction.

use roaring::RoaringBitmap;

use super::batch::{Change, Committed, Listed, Noun, Refused};
use super::chain;
use super::record::{PackageFacts, PackageKey, Rest, Stage, Update};
use super::sql::{Failure, Sql, Value, bitmap, bits, document, row, values, written};
use crate::access::Tenant;

/// Makes the changes of one batch, or says which expectation failed.
pub(super) async fn apply(
    sql: &mut dyn Sql,
    tenant: Tenant,
    changes: &[Change],
) -> Result<Committed, Failure> {
    let mut run = Run { sql, tenant, committed: Committed::default() };
    for change in changes {
        run.change(change).await?;
    }
    Ok(run.committed)
}

/// One batch under way.
struct Run<'a> {
    sql: &'a mut dyn Sql,
    tenant: Tenant,
    committed: Committed,
}

impl Run<'_> {
    async fn change(&mut self, change: &Change) -> Result<(), Failure> {
        let tenant = self.tenant;
        match change {
            Change::AddTenant(name) => {
                let text = "INSERT INTO tenant SELECT coalesce(max(tenant), 0) + 1, ?1, 0, 0, 0, ?2
                            FROM tenant WHERE true ON CONFLICT DO NOTHING";
                self.add(Noun::Tenant, text, values![name, chain::BEGIN.to_vec()]).await
            }
            Change::AddToken(digest, token) => {
                let text = "INSERT INTO token VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                            ON CONFLICT DO NOTHING";
                let device = match &token.role {
                    crate::access::Role::Device(id) => {
                        self.device(id).await?;
                        Some(id.clone())
                    }
                    _ => None,
                };
                let values = values![
                    digest.0.to_vec(),
                    &token.id,
                    tenant,
                    &token.name,
                    token.role.word(),
                    device,
                    token.created_at,
                    token.not_after
                ];
                self.add(Noun::Token, text, values).await
            }
            Change::DeleteToken(id) => {
                let text = "DELETE FROM token WHERE tenant = ?1 AND id = ?2";
                self.expect(Noun::Token, text, values![tenant, id]).await
            }
            Change::AddDevice { id, plan, about } => self.add_device(id, plan, about).await,
            Change::EditDevice { id, plan, about, revision } => {
                let (number, found) = self.device(id).await?;
                self.plan(plan.as_deref()).await?;
                stale(Noun::Device, *revision, found)?;
                let text = "UPDATE device SET plan = ?1, about = ?2, revision = revision + 1
                            WHERE tenant = ?3 AND number = ?4";
                self.run(text, values![plan.clone(), written(about), tenant, number]).await?;
                self.committed.revision = found + 1;
                self.touch(number);
                Ok(())
            }
            Change::DeleteDevice(id) => self.delete_device(id).await,
            Change::Seen { id, at } => {
                let (number, _) = self.device(id).await?;
                let text = "UPDATE device SET seen_at = ?1 WHERE tenant = ?2 AND number = ?3";
                self.touch(number);
                self.run(text, values![*at, tenant, number]).await.map(|_| ())
            }
            Change::Woken { number, at } => {
                let text = "UPDATE device SET woken_at = ?1 WHERE tenant = ?2 AND number = ?3";
                self.run(text, values![*at, tenant, *number]).await.map(|_| ())
            }
            Change::AddComponent { part, description } => {
                let text = "INSERT INTO component VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                self.add(Noun::Component, text, values![tenant, part, description]).await
            }
            Change::DeleteComponent(part) => {
                let text = "SELECT 1 FROM fitted WHERE tenant = ?1 AND part = ?2 LIMIT 1";
                if row(self.sql, text, values![tenant, part]).await?.is_some() {
                    return Err(Refused::InUse(Noun::Component).into());
                }
                let text = "DELETE FROM component WHERE tenant = ?1 AND part = ?2";
                self.expect(Noun::Component, text, values![tenant, part]).await
            }
            Change::Fit { device, part } => {
                let (number, _) = self.device(device).await?;
                self.component(part).await?;
                let text = "INSERT INTO fitted VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                self.touch(number);
                self.run(text, values![tenant, number, part]).await.map(|_| ())
            }
            Change::Unfit { device, part } => {
                let (number, _) = self.device(device).await?;
                let text = "DELETE FROM fitted WHERE tenant = ?1 AND device = ?2 AND part = ?3";
                self.touch(number);
                self.expect(Noun::Fitting, text, values![tenant, number, part]).await
            }
            Change::AddPackage { key, facts } => self.add_package(key, facts).await.map(|_| ()),
            Change::EditPackage { key, facts, revision } => {
                let (number, found) = self.package(key, Noun::Package).await?;
                stale(Noun::Package, Some(*revision), found)?;
                let text = "UPDATE package SET facts = ?1, revision = revision + 1
                            WHERE tenant = ?2 AND number = ?3";
                self.committed.revision = found + 1;
                self.run(text, values![written(facts), tenant, number]).await.map(|_| ())
            }
            Change::Blacklist { key, listed } => {
                let (number, _) = self.package(key, Noun::Package).await?;
                let text = "UPDATE package SET blacklisted = ?1, revision = revision + 1
                            WHERE tenant = ?2 AND number = ?3";
                let listed = i64::from(*listed == Listed::On);
                self.run(text, values![listed, tenant, number]).await.map(|_| ())
            }
            Change::Install { device, key } => {
                let (number, _) = self.device(device).await?;
                let (package, _) = self.package(key, Noun::Package).await?;
                self.install(number, package).await
            }
            Change::Uninstall { device, key } => {
                let (number, _) = self.device(device).await?;
                let (package, _) = self
                    .package(key, Noun::Package)
                    .await
                    .map_err(|failure| instead(failure, Noun::Installation))?;
                let text =
                    "DELETE FROM installed WHERE tenant = ?1 AND device = ?2 AND package = ?3";
                self.touch(number);
                self.expect(Noun::Installation, text, values![tenant, number, package]).await
            }
            Change::Replace { device, keys } => {
                let (number, _) = self.device(device).await?;
                for key in keys {
                    let (package, _) = self.package(key, Noun::Package).await?;
                    let text =
                        "DELETE FROM installed WHERE tenant = ?1 AND device = ?2 AND package IN
                                (SELECT number FROM package WHERE tenant = ?1 AND name = ?3)";
                    self.run(text, values![tenant, number, &key.name]).await?;
                    self.install(number, package).await?;
                }
                Ok(())
            }
            Change::SetInstalled { device, keys } => {
                let (number, _) = self.device(device).await?;
                let text = "DELETE FROM installed WHERE tenant = ?1 AND device = ?2";
                self.run(text, values![tenant, number]).await?;
                for key in keys {
                    let package = self.known_or_foreign(key).await?;
                    self.install(number, package).await?;
                }
                self.touch(number);
                Ok(())
            }
            Change::AddFilter { label, expression } => {
                let text = "INSERT INTO fleet_filter VALUES (?1, ?2, ?3, 1) ON CONFLICT DO NOTHING";
                self.add(Noun::Filter, text, values![tenant, label, expression]).await
            }
            Change::EditFilter { label, expression, revision } => {
                let found = self.filter(label).await?;
                stale(Noun::Filter, *revision, found)?;
                let text = "UPDATE fleet_filter SET expression = ?1, revision = revision + 1
                            WHERE tenant = ?2 AND label = ?3";
                self.committed.revision = found + 1;
                self.run(text, values![expression, tenant, label]).await.map(|_| ())
            }
            Change::DeleteFilter(label) => {
                let text = "DELETE FROM link WHERE tenant = ?1 AND label = ?2";
                self.run(text, values![tenant, label]).await?;
                let text = "DELETE FROM fleet_filter WHERE tenant = ?1 AND label = ?2";
                self.expect(Noun::Filter, text, values![tenant, label]).await
            }
            Change::Link { key, label } => {
                let (package, _) = self.package(key, Noun::Package).await?;
                self.filter(label).await?;
                let text = "INSERT INTO link VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                self.run(text, values![tenant, package, label]).await.map(|_| ())
            }
            Change::Unlink { key, label } => {
                let (package, _) = self.package(key, Noun::Package).await?;
                let text = "DELETE FROM link WHERE tenant = ?1 AND package = ?2 AND label = ?3";
                self.expect(Noun::Link, text, values![tenant, package, label]).await
            }
            Change::AddDependency { key, needs } => self.add_dependency(key, needs).await,
            Change::DeleteDependency { key, needs } => {
                let (package, _) = self.package(key, Noun::Package).await?;
                let (needs, _) = self.package(needs, Noun::Needed).await?;
                let text =
                    "DELETE FROM dependency WHERE tenant = ?1 AND package = ?2 AND needs = ?3";
                self.expect(Noun::Dependency, text, values![tenant, package, needs]).await
            }
            Change::PutVendor(vendor) => {
                let text = "INSERT INTO vendor VALUES (?1, ?2, ?3)
                            ON CONFLICT (tenant, name) DO UPDATE SET facts = ?3";
                self.run(text, values![tenant, &vendor.name, written(vendor)]).await.map(|_| ())
            }
            Change::AddPlan(plan) => {
                let text = "INSERT INTO data_plan VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
                let skip = i64::from(plan.skip_oversize);
                self.add(Noun::Plan, text, values![tenant, &plan.name, skip]).await
            }
            Change::AddCycle { plan, cycle } => {
                self.plan(Some(plan)).await?;
                let text = "INSERT INTO billing_cycle VALUES (?1, ?2, ?3, ?4, ?5)
                            ON CONFLICT DO NOTHING";
                let values = values![tenant, plan, cycle.start, cycle.pool, cycle.used];
                self.add(Noun::Cycle, text, values).await
            }
            Change::Traffic { device, bytes, at } => self.traffic(device, *bytes, *at).await,
            Change::AddCampaign { campaign, members } => {
                if let Some(key) = &campaign.order.package {
                    let (number, _) = self.package(key, Noun::Package).await?;
                    let text = "SELECT blacklisted FROM package WHERE tenant = ?1 AND number = ?2";
                    let listed = row(self.sql, text, values![tenant, number]).await?;
                    if listed.is_some_and(|row| row.int(0) != 0) {
                        return Err(Refused::Blacklisted.into());
                    }
                }
                self.add_campaign(campaign, members).await
            }
            Change::EndRest { campaign, rest, at } => {
                let text = "UPDATE campaign SET rest = ?1, rest_at = ?2, revision = revision + 1
                            WHERE tenant = ?3 AND id = ?4 AND rest = 0";
                let values = values![rest.number(), *at, tenant, campaign];
                self.expect(Noun::Campaign, text, values)
                    .await
                    .map_err(|_| Refused::Stale(Noun::Campaign).into())
            }
            Change::Move { update, from } => self.move_update(update, *from).await,
            Change::AddInventory(inventory) => {
                let device = values![tenant, inventory.device];
                let text = "SELECT 1 FROM device WHERE tenant = ?1 AND number = ?2";
                row(self.sql, text, device).await?.ok_or(Refused::Missing(Noun::Device))?;
                let text = "INSERT INTO inventory VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                            ON CONFLICT DO NOTHING";
                let values = values![
                    tenant,
                    &inventory.id,
                    inventory.device,
                    u32::from(inventory.priority),
                    inventory.not_before,
                    inventory.not_after,
                    inventory.created_at,
                    inventory.ended.map(Stage::number)
                ];
                self.add(Noun::Inventory, text, values).await
            }
            Change::EndInventory { id, ended } => {
                let text = "UPDATE inventory SET ended = ?1
                            WHERE tenant = ?2 AND id = ?3 AND ended IS NULL";
                self.expect(Noun::Inventory, text, values![ended.number(), tenant, id]).await
            }
        }
    }

    async fn run(&mut self, text: &str, values: &[Value]) -> Result<u64, Failure> {
        self.sql.run(text, values).await
    }

    /// Runs an insert that must find nothing in its place.
    async fn add(&mut self, noun: Noun, text: &str, values: &[Value]) -> Result<(), Failure> {
        let added = self.sql.run(text, values).await?;
        if added == 0 { Err(Refused::Exists(noun).into()) } else { Ok(()) }
    }

    /// Runs a change that must find something.
    async fn expect(&mut self, noun: Noun, text: &str, values: &[Value]) -> Result<(), Failure> {
        let changed = self.sql.run(text, values).await?;
        if changed == 0 { Err(Refused::Missing(noun).into()) } else { Ok(()) }
    }

    fn touch(&mut self, device: u32) {
        self.committed.touched.insert(device);
    }

    /// A device's number and revision.
    async fn device(&mut self, id: &str) -> Result<(u32, i64), Failure> {
        let text = "SELECT number, revision FROM device WHERE tenant = ?1 AND id = ?2";
        let found = row(self.sql, text, values![self.tenant, id]).await?;
        let found = found.ok_or(Refused::Missing(Noun::Device))?;
        Ok((found.number(0), found.int(1)))
    }

    /// A package's number and revision.
    async fn package(&mut self, key: &PackageKey, noun: Noun) -> Result<(u32, i64), Failure> {
        let text =
            "SELECT number, revision FROM package WHERE tenant = ?1 AND name = ?2 AND version = ?3";
        let found = row(self.sql, text, values![self.tenant, &key.name, &key.version]).await?;
        let found = found.ok_or(Refused::Missing(noun))?;
        Ok((found.number(0), found.int(1)))
    }

    async fn component(&mut self, part: &str) -> Result<(), Failure> {
        let text = "SELECT 1 FROM component WHERE tenant = ?1 AND part = ?2";
        let found = row(self.sql, text, values![self.tenant, part]).await?;
        found.map(|_| ()).ok_or(Refused::Missing(Noun::Component).into())
    }

    async fn filter(&mut self, label: &str) -> Result<i64, Failure> {
        let text = "SELECT revision FROM fleet_filter WHERE tenant = ?1 AND label = ?2";
        let found = row(self.sql, text, values![self.tenant, label]).await?;
        found.map(|row| row.int(0)).ok_or(Refused::Missing(Noun::Filter).into())
    }

    async fn plan(&mut self, plan: Option<&str>) -> Result<(), Failure> {
        let Some(plan) = plan else { return Ok(()) };
        let text = "SELECT 1 FROM data_plan WHERE tenant = ?1 AND name = ?2";
        let found = row(self.sql, text, values![self.tenant, plan]).await?;
        found.map(|_| ()).ok_or(Refused::Missing(Noun::Plan).into())
    }

    async fn install(&mut self, device: u32, package: u32) -> Result<(), Failure> {
        self.touch(device);
        let text = "INSERT INTO installed VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        self.run(text, values![self.tenant, device, package]).await.map(|_| ())
    }

    /// Takes the next number of a tenant.
    async fn next(&mut self, text: &str) -> Result<u32, Failure> {
        let next = row(self.sql, text, values![self.tenant]).await?;
        let next = next.ok_or(Refused::Missing(Noun::Tenant))?;
        u32::try_from(next.int(0) - 1).map_err(|_| {
            Failure::Broken("2^32 devices were added; there are no more numbers".into())
        })
    }

    async fn add_device(
        &mut self,
        id: &str,
        plan: &Option<String>,
        about: &super::record::About,
    ) -> Result<(), Failure> {
        self.plan(plan.as_deref()).await?;
        let text = "UPDATE tenant SET next_device = next_device + 1 WHERE tenant = ?1
                    RETURNING next_device";
        let number = self.next(text).await?;
        let text = "INSERT INTO device VALUES (?1, ?2, ?3, 1, ?4, NULL, NULL, ?5)
                    ON CONFLICT DO NOTHING";
        let values = values![self.tenant, number, id, plan.clone(), written(about)];
        self.touch(number);
        self.add(Noun::Device, text, values).await
    }

    async fn delete_device(&mut self, id: &str) -> Result<(), Failure> {
        let (number, _) = self.device(id).await?;
        let tenant = self.tenant;
        let text = "SELECT campaign, stage FROM device_update WHERE tenant = ?1 AND device = ?2";
        for update in self.sql.rows(text, values![tenant, number]).await? {
            let column = column(Stage::from_number(update.int(1)));
            let text = format!(
                "UPDATE campaign SET total = total - 1, {column} = {column} - 1
                 WHERE tenant = ?1 AND id = ?2"
            );
            self.run(&text, values![tenant, update.text(0)]).await?;
        }
        let text = "SELECT campaign, part, bits FROM member WHERE tenant = ?1 AND chunk = ?2";
        let mut campaigns = std::collections::BTreeSet::new();
        for member in self.sql.rows(text, values![tenant, number >> 16]).await? {
            let mut devices = bitmap(member.blob(2))?;
            if !devices.remove(number) {
                continue;
            }
            let text = "UPDATE member SET bits = ?1
                        WHERE tenant = ?2 AND campaign = ?3 AND part = ?4 AND chunk = ?5";
            let (campaign, part) = (member.text(0), member.int(1));
            let values = values![bits(&devices), tenant, &campaign, part, number >> 16];
            self.run(text, values).await?;
            campaigns.insert(campaign);
        }
        for campaign in campaigns {
            // Those with a row were counted above.
            let text = "UPDATE campaign SET total = total - 1 WHERE tenant = ?1 AND id = ?2 AND NOT
                        EXISTS (SELECT 1 FROM device_update
                                WHERE tenant = ?1 AND campaign = ?2 AND device = ?3)";
            self.run(text, values![tenant, campaign, number]).await?;
        }
        for text in [
            "DELETE FROM device_update WHERE tenant = ?1 AND device = ?2",
            "DELETE FROM inventory WHERE tenant = ?1 AND device = ?2",
            "DELETE FROM fitted WHERE tenant = ?1 AND device = ?2",
            "DELETE FROM installed WHERE tenant = ?1 AND device = ?2",
            "DELETE FROM device WHERE tenant = ?1 AND number = ?2",
        ] {
            self.run(text, values![tenant, number]).await?;
        }
        let text = "DELETE FROM token WHERE tenant = ?1 AND device = ?2";
        self.run(text, values![tenant, id]).await?;
        self.touch(number);
        Ok(())
    }

    async fn add_package(
        &mut self,
        key: &PackageKey,
        facts: &PackageFacts,
    ) -> Result<u32, Failure> {
        let tenant = self.tenant;
        let text = "SELECT number, facts FROM package
                    WHERE tenant = ?1 AND name = ?2 AND version = ?3";
        let found = row(self.sql, text, values![tenant, &key.name, &key.version]).await?;
        if let Some(found) = found {
            if !document::<PackageFacts>(&found.text(1))?.foreign {
                return Err(Refused::Exists(Noun::Package).into());
            }
            let text = "UPDATE package SET facts = ?1, revision = revision + 1
                        WHERE tenant = ?2 AND number = ?3";
            self.run(text, values![written(facts), tenant, found.int(0)]).await?;
            return Ok(found.number(0));
        }
        let text = "UPDATE tenant SET next_package = next_package + 1 WHERE tenant = ?1
                    RETURNING next_package";
        let number = self.next(text).await?;
        let text = "INSERT INTO package VALUES (?1, ?2, ?3, ?4, 1, 0, ?5)";
        let values = values![tenant, number, &key.name, &key.version, written(facts)];
        self.run(text, values).await?;
        Ok(number)
    }

    async fn known_or_foreign(&mut self, key: &PackageKey) -> Result<u32, Failure> {
        match self.package(key, Noun::Package).await {
            Ok((number, _)) => Ok(number),
            Err(Failure::Refused(_)) => {
                let facts = PackageFacts { foreign: true, ..PackageFacts::default() };
                self.add_package(key, &facts).await
            }
            Err(failure) => Err(failure),
        }
    }

    async fn add_dependency(
        &mut self,
        key: &PackageKey,
        needs: &PackageKey,
    ) -> Result<(), Failure> {
        let (package, _) = self.package(key, Noun::Package).await?;
        let (needs, _) = self.package(needs, Noun::Needed).await?;
        let text = "WITH RECURSIVE needed (package) AS (
                        SELECT CAST(?2 AS BIGINT)
                        UNION
                        SELECT dependency.needs FROM dependency, needed
                        WHERE dependency.tenant = ?1 AND dependency.package = needed.package)
                    SELECT 1 FROM needed WHERE package = ?3";
        if row(self.sql, text, values![self.tenant, needs, package]).await?.is_some() {
            return Err(Refused::Circle.into());
        }
        let text = "INSERT INTO dependency VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING";
        self.run(text, values![self.tenant, package, needs]).await.map(|_| ())
    }

    async fn traffic(&mut self, device: &str, bytes: u64, at: i64) -> Result<(), Failure> {
        let (number, _) = self.device(device).await?;
        let text = "UPDATE billing_cycle SET used = used + ?1
                    WHERE tenant = ?2
                      AND plan = (SELECT plan FROM device WHERE tenant = ?2 AND number = ?3)
                      AND start_at = (SELECT max(start_at) FROM billing_cycle
                                      WHERE tenant = ?2 AND start_at <= ?4 AND plan =
                                        (SELECT plan FROM device
                                         WHERE tenant = ?2 AND number = ?3))
                    RETURNING plan, start_at, pool, used";
        let counted = row(self.sql, text, values![bytes, self.tenant, number, at]).await?;
        self.committed.cycle = counted.map(|row| {
            let cycle =
                super::record::Cycle { start: row.int(1), pool: row.size(2), used: row.size(3) };
            (row.text(0), cycle)
        });
        Ok(())
    }

    async fn add_campaign(
        &mut self,
        campaign: &super::record::Campaign,
        members: &[super::record::Members],
    ) -> Result<(), Failure> {
        let tenant = self.tenant;
        let tally = &campaign.tally;
        let text = "INSERT INTO campaign
                    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, 1)
                    ON CONFLICT DO NOTHING";
        let values = values![
            tenant,
            &campaign.id,
            u32::from(campaign.priority),
            campaign.not_before,
            campaign.not_after,
            campaign.created_at,
            campaign.rest.number(),
            campaign.rest_at,
            tally.total,
            tally.in_flight,
            tally.completed,
            tally.failed,
            tally.cancelled,
            written(&campaign.order)
        ];
        self.add(Noun::Campaign, text, values).await?;
        for members in members {
            for (chunk, devices) in chunks(&members.devices) {
                let text = "INSERT INTO member VALUES (?1, ?2, ?3, ?4, ?5)";
                let values = values![tenant, &campaign.id, members.part, chunk, bits(&devices)];
                self.run(text, values).await?;
            }
        }
        Ok(())
    }

    async fn move_update(&mut self, to: &Update, from: Option<Stage>) -> Result<(), Failure> {
        let tenant = self.tenant;
        let stale = || Failure::from(Refused::Stale(Noun::Update));
        let moved = if let Some(from) = from {
            let text = "UPDATE device_update SET stage = ?1, code = ?2, text = ?3, changed_at = ?4
                        WHERE tenant = ?5 AND campaign = ?6 AND device = ?7 AND stage = ?8";
            let values = values![
                to.stage.number(),
                &to.code,
                &to.text,
                to.changed_at,
                tenant,
                &to.campaign,
                to.device,
                from.number()
            ];
            self.run(text, values).await?
        } else {
            let text = "SELECT rest FROM campaign WHERE tenant = ?1 AND id = ?2 AND EXISTS
                        (SELECT 1 FROM device WHERE tenant = ?1 AND number = ?3)";
            let found = row(self.sql, text, values![tenant, &to.campaign, to.device]).await?;
            if found.ok_or_else(stale)?.int(0) != Rest::Pending.number() {
                return Err(stale());
            }
            let text = "INSERT INTO device_update VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
                        ON CONFLICT DO NOTHING";
            let values = values![
                tenant,
                &to.campaign,
                to.device,
                to.stage.number(),
                &to.code,
                &to.text,
                to.started_at,
                to.changed_at
            ];
            self.run(text, values).await?
        };
        if moved == 0 {
            return Err(stale());
        }
        self.touch(to.device);
        let gained = column(to.stage);
        let text = match from.map(column) {
            Some(lost) if lost == gained => return Ok(()),
            Some(lost) => format!("{gained} = {gained} + 1, {lost} = {lost} - 1"),
            None => format!("{gained} = {gained} + 1"),
        };
        let text = format!("UPDATE campaign SET {text} WHERE tenant = ?1 AND id = ?2");
        self.run(&text, values![tenant, &to.campaign]).await.map(|_| ())
    }
}

/// The column of the tally that counts a stage.
fn column(stage: Stage) -> &'static str {
    match stage {
        Stage::Completed => "completed",
        Stage::Failed => "failed",
        Stage::Cancelled => "cancelled",
        _ => "in_flight",
    }
}

fn stale(noun: Noun, expected: Option<i64>, found: i64) -> Result<(), Failure> {
    match expected {
        Some(expected) if expected != found => Err(Refused::Stale(noun).into()),
        _ => Ok(()),
    }
}

/// What is missing is told in the words of what was asked.
fn instead(failure: Failure, noun: Noun) -> Failure {
    match failure {
        Failure::Refused(Refused::Missing(_)) => Refused::Missing(noun).into(),
        other => other,
    }
}

/// A set of devices as rows of at most 65,536 numbers.
fn chunks(devices: &RoaringBitmap) -> Vec<(u32, RoaringBitmap)> {
    let mut chunks: Vec<(u32, RoaringBitmap)> = vec![];
    let Some(last) = devices.max() else { return chunks };
    for chunk in 0..=(last >> 16) {
        let first = chunk << 16;
        let mut part = RoaringBitmap::new();
        part.insert_range(first..=first | 0xffff);
        part &= devices;
        if !part.is_empty() {
            chunks.push((chunk, part));
        }
    }
    chunks
}
