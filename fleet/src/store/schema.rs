//! The tables, as steps that only go forward. Each step runs in one transaction with the number that it
//! leads to; data that is newer than this program is refused.

use super::sql::{Failure, Sql, row, values};

/// The steps: the first makes the tables of version 1, the next leads from 1 to 2, and so on. A step
/// that was released is never edited.
const STEPS: &[&[&str]] = &[&[
    "CREATE TABLE event_head (id BIGINT PRIMARY KEY, n BIGINT NOT NULL)",
    "INSERT INTO event_head VALUES (1, 0)",
    "CREATE TABLE tenant (
        tenant BIGINT PRIMARY KEY, name TEXT NOT NULL UNIQUE, next_device BIGINT NOT NULL,
        next_package BIGINT NOT NULL, lines BIGINT NOT NULL, hash BLOB NOT NULL)",
    "CREATE TABLE token (
        digest BLOB PRIMARY KEY, id TEXT NOT NULL UNIQUE, tenant BIGINT NOT NULL, name TEXT NOT NULL,
        role TEXT NOT NULL, device TEXT, created_at BIGINT NOT NULL, not_after BIGINT)",
    "CREATE INDEX token_of ON token (tenant, device)",
    "CREATE TABLE device (
        tenant BIGINT NOT NULL, number BIGINT NOT NULL, id TEXT NOT NULL, revision BIGINT NOT NULL,
        plan TEXT, seen_at BIGINT, woken_at BIGINT, about TEXT NOT NULL,
        PRIMARY KEY (tenant, number), UNIQUE (tenant, id))",
    "CREATE TABLE component (
        tenant BIGINT NOT NULL, part TEXT NOT NULL, description TEXT NOT NULL,
        PRIMARY KEY (tenant, part))",
    "CREATE TABLE fitted (
        tenant BIGINT NOT NULL, device BIGINT NOT NULL, part TEXT NOT NULL,
        PRIMARY KEY (tenant, device, part))",
    "CREATE INDEX fitted_part ON fitted (tenant, part, device)",
    "CREATE TABLE package (
        tenant BIGINT NOT NULL, number BIGINT NOT NULL, name TEXT NOT NULL, version TEXT NOT NULL,
        revision BIGINT NOT NULL, blacklisted BIGINT NOT NULL, facts TEXT NOT NULL,
        PRIMARY KEY (tenant, number), UNIQUE (tenant, name, version))",
    "CREATE TABLE installed (
        tenant BIGINT NOT NULL, device BIGINT NOT NULL, package BIGINT NOT NULL,
        PRIMARY KEY (tenant, device, package))",
    "CREATE INDEX installed_package ON installed (tenant, package, device)",
    "CREATE TABLE dependency (
        tenant BIGINT NOT NULL, package BIGINT NOT NULL, needs BIGINT NOT NULL,
        PRIMARY KEY (tenant, package, needs))",
    "CREATE TABLE fleet_filter (
        tenant BIGINT NOT NULL, label TEXT NOT NULL, expression TEXT NOT NULL,
        revision BIGINT NOT NULL, PRIMARY KEY (tenant, label))",
    "CREATE TABLE link (
        tenant BIGINT NOT NULL, package BIGINT NOT NULL, label TEXT NOT NULL,
        PRIMARY KEY (tenant, package, label))",
    "CREATE TABLE vendor (
        tenant BIGINT NOT NULL, name TEXT NOT NULL, facts TEXT NOT NULL, PRIMARY KEY (tenant, name))",
    "CREATE TABLE data_plan (
        tenant BIGINT NOT NULL, name TEXT NOT NULL, skip_oversize BIGINT NOT NULL,
        PRIMARY KEY (tenant, name))",
    "CREATE TABLE billing_cycle (
        tenant BIGINT NOT NULL, plan TEXT NOT NULL, start_at BIGINT NOT NULL, pool BIGINT NOT NULL,
        used BIGINT NOT NULL, PRIMARY KEY (tenant, plan, start_at))",
    "CREATE TABLE campaign (
        tenant BIGINT NOT NULL, id TEXT NOT NULL, priority BIGINT NOT NULL, not_before BIGINT,
        not_after BIGINT, created_at BIGINT NOT NULL, rest BIGINT NOT NULL, rest_at BIGINT,
        total BIGINT NOT NULL, in_flight BIGINT NOT NULL, completed BIGINT NOT NULL,
        failed BIGINT NOT NULL, cancelled BIGINT NOT NULL, ordered TEXT NOT NULL,
        revision BIGINT NOT NULL, PRIMARY KEY (tenant, id))",
    // The devices of a campaign, 65,536 numbers a row, so that a million are some twenty small rows.
    "CREATE TABLE member (
        tenant BIGINT NOT NULL, campaign TEXT NOT NULL, part BIGINT NOT NULL, chunk BIGINT NOT NULL,
        bits BLOB NOT NULL, PRIMARY KEY (tenant, campaign, part, chunk))",
    // A row appears when a device leaves `pending`.
    "CREATE TABLE device_update (
        tenant BIGINT NOT NULL, campaign TEXT NOT NULL, device BIGINT NOT NULL, stage BIGINT NOT NULL,
        code TEXT NOT NULL, text TEXT NOT NULL, started_at BIGINT NOT NULL,
        changed_at BIGINT NOT NULL, PRIMARY KEY (tenant, campaign, device))",
    "CREATE INDEX device_update_device ON device_update (tenant, device)",
    "CREATE TABLE inventory (
        tenant BIGINT NOT NULL, id TEXT NOT NULL, device BIGINT NOT NULL, priority BIGINT NOT NULL,
        not_before BIGINT NOT NULL, not_after BIGINT NOT NULL, created_at BIGINT NOT NULL,
        ended BIGINT, PRIMARY KEY (tenant, id))",
    "CREATE INDEX inventory_device ON inventory (tenant, device)",
    "CREATE TABLE event (
        number BIGINT PRIMARY KEY, tenant BIGINT NOT NULL, happened_at BIGINT NOT NULL,
        kind TEXT NOT NULL, subject TEXT NOT NULL, data TEXT NOT NULL, touched BLOB NOT NULL)",
    "CREATE TABLE audit (
        tenant BIGINT NOT NULL, number BIGINT NOT NULL, done_at BIGINT NOT NULL, who TEXT NOT NULL,
        action TEXT NOT NULL, subject TEXT NOT NULL, hash BLOB NOT NULL, PRIMARY KEY (tenant, number))",
    "CREATE TABLE answered (
        tenant BIGINT NOT NULL, name TEXT NOT NULL, request TEXT NOT NULL, status BIGINT NOT NULL,
        location TEXT, body TEXT NOT NULL, answered_at BIGINT NOT NULL, PRIMARY KEY (tenant, name))",
]];

/// Brings the tables up to this program, inside a transaction of the caller. `dialect` writes a
/// statement as the database has its types.
pub(super) async fn migrate(sql: &mut dyn Sql, dialect: fn(&str) -> String) -> Result<(), Failure> {
    sql.run("CREATE TABLE IF NOT EXISTS schema_version (id BIGINT PRIMARY KEY, n BIGINT)", &[])
        .await?;
    sql.run("INSERT INTO schema_version VALUES (1, 0) ON CONFLICT DO NOTHING", &[]).await?;
    // Takes the row's lock, so that of two that start at once the second finds the work done.
    sql.run("UPDATE schema_version SET n = n", &[]).await?;
    let found = row(sql, "SELECT n FROM schema_version", &[]).await?.map_or(0, |row| row.int(0));
    let found = usize::try_from(found).unwrap_or(usize::MAX);
    if found > STEPS.len() {
        return Err(Failure::Broken(format!(
            "its data has version {found}, and this program knows {}; start a newer freshen-fleet, \
             or restore a backup of this version",
            STEPS.len()
        )));
    }
    for statement in STEPS[found..].iter().copied().flatten() {
        sql.run(&dialect(statement), &[]).await?;
    }
    let version = i64::try_from(STEPS.len()).expect("few steps");
    sql.run("UPDATE schema_version SET n = ?1", values![version]).await?;
    Ok(())
}
