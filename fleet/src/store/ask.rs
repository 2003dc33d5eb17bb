//! Questions to the store, each with its answer over both databases and in memory. A question is a
//! value in the domain's words; only this room knows of tables.

use std::future::Future;

use roaring::RoaringBitmap;

use super::memory::{Fleet, Memory};
use super::record::{
    Answered, Campaign, Component, Cycle, Device, Equipped, Event, Filter, Inventory, Line,
    Members, Package, PackageKey, Plan, Rest, Stage, Tally, TenantName, Update, Vendor,
};
use super::sql::{Failure, Row, Sql, Value, bitmap, document, row, values};
use crate::access::{Credential, Digest, Role, Tenant};

/// A question. `sql` and `memory` must agree; the suite asks both.
pub trait Question: Send + Sync + 'static {
    /// What it asks for.
    type Answer: Send + 'static;

    /// Asks a database.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "questions are asked through the store only")]
    fn sql(
        &self,
        tenant: Tenant,
        sql: &mut dyn Sql,
    ) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;

    /// Asks the memory.
    #[doc(hidden)]
    #[expect(private_interfaces, reason = "questions are asked through the store only")]
    fn memory(&self, fleet: &Fleet, memory: &Memory) -> Self::Answer;
}

/// Declares a question: its fields, its answer, and how both kinds of store answer it.
macro_rules! question {
    (
        $(#[$doc:meta])* $name:ident { $($(#[$field_doc:meta])* $field:ident: $type:ty),* $(,)? }
        -> $answer:ty;
        sql |$self:ident, $tenant:ident, $sql:ident| $database:block
        memory |$fleet:ident, $memory:ident| $from_memory:expr
    ) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        pub struct $name { $($(#[$field_doc])* pub $field: $type),* }

        impl Question for $name {
            type Answer = $answer;

            #[expect(private_interfaces, reason = "questions are asked through the store only")]
            #[allow(unused_variables, reason = "not every question has fields or is a tenant's")]
            async fn sql(&self, $tenant: Tenant, $sql: &mut dyn Sql) -> Result<$answer, Failure> {
                let $self = self;
                $database
            }

            #[expect(private_interfaces, reason = "questions are asked through the store only")]
            #[allow(unused_variables, reason = "not every question has fields or is a tenant's")]
            fn memory(&self, $fleet: &Fleet, $memory: &Memory) -> $answer {
                let $self = self;
                $from_memory
            }
        }
    };
}

const DEVICE: &str = "SELECT number, id, revision, plan, seen_at, woken_at, about FROM device";

fn device(row: &Row) -> Result<Device, Failure> {
    Ok(Device {
        number: row.number(0),
        id: row.text(1),
        revision: row.int(2),
        plan: row.maybe_text(3),
        seen_at: row.maybe_int(4),
        woken_at: row.maybe_int(5),
        about: document(&row.text(6))?,
    })
}

/// Adds what is on the devices, which come in the order of their numbers.
async fn equip(sql: &mut dyn Sql, tenant: Tenant, rows: &[Row]) -> Result<Vec<Equipped>, Failure> {
    let mut all = vec![];
    for row in rows {
        all.push(Equipped { device: device(row)?, packages: vec![], components: vec![] });
    }
    let (Some(first), Some(last)) = (all.first(), all.last()) else { return Ok(all) };
    let (first, last) = (first.device.number, last.device.number);
    let text = "SELECT installed.device, package.name, package.version FROM installed, package
                WHERE installed.tenant = ?1 AND installed.device BETWEEN ?2 AND ?3
                  AND package.tenant = ?1 AND package.number = installed.package
                ORDER BY installed.device, package.name, package.version";
    let range = values![tenant, first, last];
    for row in sql.rows(text, range).await? {
        let place = all.binary_search_by_key(&row.number(0), |one| one.device.number);
        if let Ok(place) = place {
            all[place].packages.push(PackageKey { name: row.text(1), version: row.text(2) });
        }
    }
    let text = "SELECT device, part FROM fitted WHERE tenant = ?1 AND device BETWEEN ?2 AND ?3
                ORDER BY device, part";
    for row in sql.rows(text, range).await? {
        let place = all.binary_search_by_key(&row.number(0), |one| one.device.number);
        if let Ok(place) = place {
            all[place].components.push(row.text(1));
        }
    }
    Ok(all)
}

question! {
    /// A device by its id, with what is on it.
    DeviceById { /** Its id. */ id: String } -> Option<Equipped>;
    sql |ask, tenant, sql| {
        let text = format!("{DEVICE} WHERE tenant = ?1 AND id = ?2");
        let rows = sql.rows(&text, values![tenant, &ask.id]).await?;
        Ok(equip(sql, tenant, &rows).await?.pop())
    }
    memory |fleet, memory| fleet.device(&ask.id).cloned()
}

question! {
    /// Devices by number, in the order of the numbers; those that are gone are left out.
    DevicesByNumber { /** Their numbers. */ numbers: RoaringBitmap } -> Vec<Equipped>;
    sql |ask, tenant, sql| {
        // Neighbours are asked for together, so that a page of a list is one question, and a few
        // devices far from each other are not a scan.
        let mut all = vec![];
        let numbers: Vec<u32> = ask.numbers.iter().collect();
        for run in numbers.chunk_by(|a, b| b - a < 256) {
            let (Some(first), Some(last)) = (run.first(), run.last()) else { continue };
            let text =
                format!("{DEVICE} WHERE tenant = ?1 AND number BETWEEN ?2 AND ?3 ORDER BY number");
            let rows = sql.rows(&text, values![tenant, *first, *last]).await?;
            let equipped = equip(sql, tenant, &rows).await?;
            all.extend(equipped.into_iter().filter(|one| ask.numbers.contains(one.device.number)));
        }
        Ok(all)
    }
    memory |fleet, memory| {
        ask.numbers.iter().filter_map(|number| fleet.devices.get(&number).cloned()).collect()
    }
}

question! {
    /// Devices in the order of their numbers: a page.
    DevicesAfter {
        /** After this number. */ after: Option<u32>,
        /** At most so many. */ limit: u32,
    } -> Vec<Equipped>;
    sql |ask, tenant, sql| {
        let text = format!("{DEVICE} WHERE tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3");
        let after = ask.after.map_or(-1, i64::from);
        let rows = sql.rows(&text, values![tenant, after, ask.limit]).await?;
        equip(sql, tenant, &rows).await
    }
    memory |fleet, memory| {
        let after = ask.after.map_or(0, |after| after.saturating_add(1));
        fleet.devices.range(after..).take(ask.limit as usize).map(|(_, one)| one.clone()).collect()
    }
}

question! {
    /// The devices that have a component.
    DevicesWithPart { /** Its part number. */ part: String } -> RoaringBitmap;
    sql |ask, tenant, sql| {
        let text = "SELECT device FROM fitted WHERE tenant = ?1 AND part = ?2 ORDER BY device";
        let rows = sql.rows(text, values![tenant, &ask.part]).await?;
        Ok(rows.iter().map(|row| row.number(0)).collect())
    }
    memory |fleet, memory| {
        fleet.devices.values().filter(|one| one.components.contains(&ask.part))
            .map(|one| one.device.number).collect()
    }
}

question! {
    /// The devices on which a package is installed.
    DevicesWithPackage { /** The package. */ key: PackageKey } -> RoaringBitmap;
    sql |ask, tenant, sql| {
        let text = "SELECT device FROM installed WHERE tenant = ?1 AND package =
                    (SELECT number FROM package WHERE tenant = ?1 AND name = ?2 AND version = ?3)
                    ORDER BY device";
        let rows = sql.rows(text, values![tenant, &ask.key.name, &ask.key.version]).await?;
        Ok(rows.iter().map(|row| row.number(0)).collect())
    }
    memory |fleet, memory| {
        fleet.devices.values().filter(|one| one.packages.contains(&ask.key))
            .map(|one| one.device.number).collect()
    }
}

question! {
    /// All components, by part number.
    Components {} -> Vec<Component>;
    sql |ask, tenant, sql| {
        let text = "SELECT part, description FROM component WHERE tenant = ?1 ORDER BY part";
        let rows = sql.rows(text, values![tenant]).await?;
        Ok(rows.iter().map(|row| Component { part: row.text(0), description: row.text(1) }).collect())
    }
    memory |fleet, memory| fleet.components.values().cloned().collect()
}

const PACKAGE: &str =
    "SELECT number, name, version, revision, blacklisted, facts FROM package WHERE tenant = ?1";

fn package(row: &Row) -> Result<Package, Failure> {
    Ok(Package {
        number: row.number(0),
        key: PackageKey { name: row.text(1), version: row.text(2) },
        revision: row.int(3),
        blacklisted: row.int(4) != 0,
        facts: document(&row.text(5))?,
    })
}

question! {
    /// All packages, by name and version.
    Packages {} -> Vec<Package>;
    sql |ask, tenant, sql| {
        let text = format!("{PACKAGE} ORDER BY name, version");
        let rows = sql.rows(&text, values![tenant]).await?;
        rows.iter().map(package).collect()
    }
    memory |fleet, memory| fleet.packages.values().cloned().collect()
}

question! {
    /// One package.
    PackageByKey { /** Name and version. */ key: PackageKey } -> Option<Package>;
    sql |ask, tenant, sql| {
        let text = format!("{PACKAGE} AND name = ?2 AND version = ?3");
        let found = row(sql, &text, values![tenant, &ask.key.name, &ask.key.version]).await?;
        found.as_ref().map(package).transpose()
    }
    memory |fleet, memory| fleet.packages.get(&ask.key).cloned()
}

question! {
    /// All filters, by label.
    Filters {} -> Vec<Filter>;
    sql |ask, tenant, sql| {
        let text = "SELECT label, expression, revision FROM fleet_filter WHERE tenant = ?1
                    ORDER BY label";
        let rows = sql.rows(text, values![tenant]).await?;
        let filter =
            |row: &Row| Filter { label: row.text(0), expression: row.text(1), revision: row.int(2) };
        Ok(rows.iter().map(filter).collect())
    }
    memory |fleet, memory| fleet.filters.values().cloned().collect()
}

question! {
    /// Which filters belong to which packages, in order.
    Links {} -> Vec<(PackageKey, String)>;
    sql |ask, tenant, sql| {
        let text = "SELECT package.name, package.version, link.label FROM link, package
                    WHERE link.tenant = ?1 AND package.tenant = ?1
                      AND package.number = link.package
                    ORDER BY package.name, package.version, link.label";
        let rows = sql.rows(text, values![tenant]).await?;
        let link = |row: &Row| {
            (PackageKey { name: row.text(0), version: row.text(1) }, row.text(2))
        };
        Ok(rows.iter().map(link).collect())
    }
    memory |fleet, memory| fleet.links.iter().cloned().collect()
}

question! {
    /// Which packages need which, in order.
    Dependencies {} -> Vec<(PackageKey, PackageKey)>;
    sql |ask, tenant, sql| {
        let text = "SELECT a.name, a.version, b.name, b.version FROM dependency, package a, package b
                    WHERE dependency.tenant = ?1 AND a.tenant = ?1 AND b.tenant = ?1
                      AND a.number = dependency.package AND b.number = dependency.needs
                    ORDER BY a.name, a.version, b.name, b.version";
        let rows = sql.rows(text, values![tenant]).await?;
        let edge = |row: &Row| {
            let key = PackageKey { name: row.text(0), version: row.text(1) };
            (key, PackageKey { name: row.text(2), version: row.text(3) })
        };
        Ok(rows.iter().map(edge).collect())
    }
    memory |fleet, memory| fleet.dependencies.iter().cloned().collect()
}

question! {
    /// All vendors, by name.
    Vendors {} -> Vec<Vendor>;
    sql |ask, tenant, sql| {
        let text = "SELECT facts FROM vendor WHERE tenant = ?1 ORDER BY name";
        let rows = sql.rows(text, values![tenant]).await?;
        rows.iter().map(|row| document(&row.text(0))).collect()
    }
    memory |fleet, memory| fleet.vendors.values().cloned().collect()
}

question! {
    /// All data plans, by name.
    Plans {} -> Vec<Plan>;
    sql |ask, tenant, sql| {
        let text = "SELECT name, skip_oversize FROM data_plan WHERE tenant = ?1 ORDER BY name";
        let rows = sql.rows(text, values![tenant]).await?;
        let plan = |row: &Row| Plan { name: row.text(0), skip_oversize: row.int(1) != 0 };
        Ok(rows.iter().map(plan).collect())
    }
    memory |fleet, memory| fleet.plans.values().cloned().collect()
}

question! {
    /// The cycles of a plan that start between two moments, both included.
    Cycles {
        /** The plan. */ plan: String,
        /** Not before. */ from: i64,
        /** Not after. */ to: i64,
    } -> Vec<Cycle>;
    sql |ask, tenant, sql| {
        let text = "SELECT start_at, pool, used FROM billing_cycle
                    WHERE tenant = ?1 AND plan = ?2 AND start_at BETWEEN ?3 AND ?4
                    ORDER BY start_at";
        let rows = sql.rows(text, values![tenant, &ask.plan, ask.from, ask.to]).await?;
        let cycle =
            |row: &Row| Cycle { start: row.int(0), pool: row.size(1), used: row.size(2) };
        Ok(rows.iter().map(cycle).collect())
    }
    memory |fleet, memory| {
        let range = (ask.plan.clone(), ask.from)..=(ask.plan.clone(), ask.to);
        if ask.from > ask.to { return vec![] }
        fleet.cycles.range(range).map(|(_, cycle)| cycle.clone()).collect()
    }
}

const CAMPAIGN: &str =
    "SELECT id, priority, not_before, not_after, created_at, rest, rest_at, total,
    in_flight, completed, failed, cancelled, ordered, revision FROM campaign WHERE tenant = ?1";

fn campaign(row: &Row) -> Result<Campaign, Failure> {
    Ok(Campaign {
        id: row.text(0),
        priority: u8::try_from(row.int(1)).unwrap_or(u8::MAX),
        not_before: row.maybe_int(2),
        not_after: row.maybe_int(3),
        created_at: row.int(4),
        rest: Rest::from_number(row.int(5)),
        rest_at: row.maybe_int(6),
        tally: Tally {
            total: row.size(7),
            in_flight: row.size(8),
            completed: row.size(9),
            failed: row.size(10),
            cancelled: row.size(11),
        },
        order: document(&row.text(12))?,
        revision: row.int(13),
    })
}

question! {
    /// All campaigns, the oldest first.
    Campaigns {} -> Vec<Campaign>;
    sql |ask, tenant, sql| {
        let text = format!("{CAMPAIGN} ORDER BY created_at, id");
        let rows = sql.rows(&text, values![tenant]).await?;
        rows.iter().map(campaign).collect()
    }
    memory |fleet, memory| {
        let mut all: Vec<Campaign> =
            fleet.campaigns.values().map(|(campaign, _)| campaign.clone()).collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }
}

question! {
    /// One campaign.
    CampaignById { /** Its id. */ id: String } -> Option<Campaign>;
    sql |ask, tenant, sql| {
        let text = format!("{CAMPAIGN} AND id = ?2");
        row(sql, &text, values![tenant, &ask.id]).await?.as_ref().map(campaign).transpose()
    }
    memory |fleet, memory| fleet.campaigns.get(&ask.id).map(|(campaign, _)| campaign.clone())
}

question! {
    /// The devices of a campaign, by part.
    MembersOf { /** Its id. */ id: String } -> Vec<Members>;
    sql |ask, tenant, sql| {
        let text = "SELECT part, bits FROM member WHERE tenant = ?1 AND campaign = ?2
                    ORDER BY part, chunk";
        let mut all: Vec<Members> = vec![];
        for row in sql.rows(text, values![tenant, &ask.id]).await? {
            let devices = bitmap(row.blob(1))?;
            match all.last_mut() {
                Some(last) if last.part == row.number(0) => last.devices |= devices,
                _ => all.push(Members { part: row.number(0), devices }),
            }
        }
        all.retain(|members| !members.devices.is_empty());
        Ok(all)
    }
    memory |fleet, memory| {
        let members = fleet.campaigns.get(&ask.id).map(|(_, members)| members.clone());
        let mut members = members.unwrap_or_default();
        members.retain(|members| !members.devices.is_empty());
        members
    }
}

const UPDATE: &str = "SELECT campaign, device, stage, code, text, started_at, changed_at
    FROM device_update WHERE tenant = ?1";

fn update(row: &Row) -> Update {
    Update {
        campaign: row.text(0),
        device: row.number(1),
        stage: Stage::from_number(row.int(2)),
        code: row.text(3),
        text: row.text(4),
        started_at: row.int(5),
        changed_at: row.int(6),
    }
}

question! {
    /// Updates of a campaign that have left `pending`, by device.
    UpdatesOfCampaign {
        /** Its id. */ id: String,
        /** After this device. */ after: Option<u32>,
        /** At most so many. */ limit: u32,
    } -> Vec<Update>;
    sql |ask, tenant, sql| {
        let text = format!("{UPDATE} AND campaign = ?2 AND device > ?3 ORDER BY device LIMIT ?4");
        let after = ask.after.map_or(-1, i64::from);
        let rows = sql.rows(&text, values![tenant, &ask.id, after, ask.limit]).await?;
        Ok(rows.iter().map(update).collect())
    }
    memory |fleet, memory| {
        let after = ask.after.map_or(0, |after| after.saturating_add(1));
        let range = (ask.id.clone(), after)..=(ask.id.clone(), u32::MAX);
        fleet.updates.range(range).take(ask.limit as usize).map(|(_, one)| one.clone()).collect()
    }
}

question! {
    /// Updates of a device that have left `pending`, the oldest first.
    UpdatesOfDevice { /** Its number. */ device: u32 } -> Vec<Update>;
    sql |ask, tenant, sql| {
        let text = format!("{UPDATE} AND device = ?2 ORDER BY started_at, campaign");
        let rows = sql.rows(&text, values![tenant, ask.device]).await?;
        Ok(rows.iter().map(update).collect())
    }
    memory |fleet, memory| {
        let mut all: Vec<Update> =
            fleet.updates.values().filter(|one| one.device == ask.device).cloned().collect();
        all.sort_by(|a, b| (a.started_at, &a.campaign).cmp(&(b.started_at, &b.campaign)));
        all
    }
}

question! {
    /// Inventory requests: of one device, or of all that wait.
    Inventories { /** Of this device; of all that wait when there is none. */ device: Option<u32> }
        -> Vec<Inventory>;
    sql |ask, tenant, sql| {
        let head = "SELECT id, device, priority, not_before, not_after, created_at, ended
                    FROM inventory WHERE tenant = ?1";
        let rows = match ask.device {
            Some(device) => {
                let text = format!("{head} AND device = ?2 ORDER BY created_at, id");
                sql.rows(&text, values![tenant, device]).await?
            }
            None => {
                let text = format!("{head} AND ended IS NULL ORDER BY created_at, id");
                sql.rows(&text, values![tenant]).await?
            }
        };
        let inventory = |row: &Row| Inventory {
            id: row.text(0),
            device: row.number(1),
            priority: u8::try_from(row.int(2)).unwrap_or(u8::MAX),
            not_before: row.int(3),
            not_after: row.int(4),
            created_at: row.int(5),
            ended: row.maybe_int(6).map(Stage::from_number),
        };
        Ok(rows.iter().map(inventory).collect())
    }
    memory |fleet, memory| {
        let wanted = |one: &&Inventory| match ask.device {
            Some(device) => one.device == device,
            None => one.ended.is_none(),
        };
        let mut all: Vec<Inventory> = fleet.inventories.values().filter(wanted).cloned().collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }
}

question! {
    /// Lines of the audit.
    Lines {
        /** After this line. */ after: i64,
        /** At most so many. */ limit: u32,
    } -> Vec<Line>;
    sql |ask, tenant, sql| {
        let text = "SELECT number, done_at, who, action, subject, hash FROM audit
                    WHERE tenant = ?1 AND number > ?2 ORDER BY number LIMIT ?3";
        let rows = sql.rows(text, values![tenant, ask.after, ask.limit]).await?;
        let line = |row: &Row| Line {
            number: row.int(0),
            at: row.int(1),
            who: row.text(2),
            action: row.text(3),
            subject: row.text(4),
            hash: row.blob(5).try_into().unwrap_or_default(),
        };
        Ok(rows.iter().map(line).collect())
    }
    memory |fleet, memory| {
        let wanted = fleet.lines.iter().filter(|line| line.number > ask.after);
        wanted.take(ask.limit as usize).cloned().collect()
    }
}

question! {
    /// How many lines the audit has, and the hash of the last.
    AuditHead {} -> (i64, [u8; 32]);
    sql |ask, tenant, sql| {
        let text = "SELECT lines, hash FROM tenant WHERE tenant = ?1";
        let head = row(sql, text, values![tenant]).await?;
        Ok(head.map_or((0, [0; 32]), |row| (row.int(0), row.blob(1).try_into().unwrap_or_default())))
    }
    memory |fleet, memory| fleet.lines.last().map_or((0, [0; 32]), |line| (line.number, line.hash))
}

question! {
    /// What was answered to a request with this key.
    AnsweredTo { /** The key. */ key: String } -> Option<Answered>;
    sql |ask, tenant, sql| {
        let text = "SELECT name, request, status, location, body, answered_at FROM answered
                    WHERE tenant = ?1 AND name = ?2";
        let found = row(sql, text, values![tenant, &ask.key]).await?;
        Ok(found.map(|row| Answered {
            key: row.text(0),
            request: row.text(1),
            status: u16::try_from(row.int(2)).unwrap_or(500),
            location: row.maybe_text(3),
            body: row.text(4),
            at: row.int(5),
        }))
    }
    memory |fleet, memory| fleet.answered.get(&ask.key).cloned()
}

fn credential(row: &Row) -> Option<Credential> {
    Some(Credential {
        id: row.text(0),
        tenant: row.int(1),
        name: row.text(2),
        role: Role::from_word(&row.text(3), row.maybe_text(4).as_deref())?,
        created_at: row.int(5),
        not_after: row.maybe_int(6),
    })
}

const TOKEN: &str = "SELECT id, tenant, name, role, device, created_at, not_after FROM token";

question! {
    /// All tokens of the tenant, the oldest first.
    Tokens {} -> Vec<Credential>;
    sql |ask, tenant, sql| {
        let text = format!("{TOKEN} WHERE tenant = ?1 ORDER BY created_at, id");
        Ok(sql.rows(&text, values![tenant]).await?.iter().filter_map(credential).collect())
    }
    memory |fleet, memory| {
        let mine = memory.tokens.values().filter(|token| token.tenant == fleet.tenant);
        let mut all: Vec<Credential> = mine.cloned().collect();
        all.sort_by(|a, b| (a.created_at, &a.id).cmp(&(b.created_at, &b.id)));
        all
    }
}

question! {
    /// The credential behind a token, of any tenant.
    TokenByDigest { /** Its digest. */ digest: Digest } -> Option<Credential>;
    sql |ask, tenant, sql| {
        let text = format!("{TOKEN} WHERE digest = ?1");
        Ok(row(sql, &text, values![ask.digest.0.to_vec()]).await?.as_ref().and_then(credential))
    }
    memory |fleet, memory| memory.tokens.get(&ask.digest).cloned()
}

question! {
    /// All tenants.
    Tenants {} -> Vec<TenantName>;
    sql |ask, tenant, sql| {
        let rows = sql.rows("SELECT tenant, name FROM tenant ORDER BY tenant", &[]).await?;
        Ok(rows.iter().map(|row| TenantName { tenant: row.int(0), name: row.text(1) }).collect())
    }
    memory |fleet, memory| {
        let name = |one: &Fleet| TenantName { tenant: one.tenant, name: one.name.clone() };
        memory.fleets.values().map(name).collect()
    }
}

question! {
    /// Events of all tenants, in order.
    EventsAfter {
        /** After this number. */ after: i64,
        /** At most so many. */ limit: u32,
    } -> Vec<Event>;
    sql |ask, tenant, sql| {
        let text = "SELECT number, tenant, happened_at, kind, subject, data, touched FROM event
                    WHERE number > ?1 ORDER BY number LIMIT ?2";
        let rows = sql.rows(text, values![ask.after, ask.limit]).await?;
        rows.iter().map(|row| Ok(Event {
            number: row.int(0),
            tenant: row.int(1),
            at: row.int(2),
            kind: row.text(3),
            subject: row.text(4),
            data: row.text(5),
            touched: bitmap(row.blob(6))?,
        })).collect()
    }
    memory |fleet, memory| {
        let wanted = memory.events.iter().filter(|event| event.number > ask.after);
        wanted.take(ask.limit as usize).cloned().collect()
    }
}

question! {
    /// The number of the last event.
    EventHead {} -> i64;
    sql |ask, tenant, sql| {
        let none: &[Value] = &[];
        Ok(row(sql, "SELECT n FROM event_head", none).await?.map_or(0, |row| row.int(0)))
    }
    memory |fleet, memory| memory.events.last().map_or(0, |event| event.number)
}

question! {
    /// Makes the first tenant. Not a question, but nobody is there yet who could change anything.
    Found { /** Its name. */ name: String } -> ();
    sql |ask, tenant, sql| {
        let text = "INSERT INTO tenant VALUES (1, ?1, 0, 0, 0, ?2) ON CONFLICT DO NOTHING";
        sql.run(text, values![&ask.name, [0_u8; 32].to_vec()]).await.map(|_| ())
    }
    memory |fleet, memory| ()
}
