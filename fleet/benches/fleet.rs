//! What a fleet server does with a million devices, and the same work as rows in SQLite with the right
//! indexes, in one run. Nothing here goes over HTTP.
//!
//! ```text
//! cargo bench -p freshen-fleet --bench fleet
//! DEVICES=10000000 PEER=no cargo bench -p freshen-fleet --bench fleet
//! ```

#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    missing_docs,
    reason = "a benchmark reads the clock, and ends where something goes wrong"
)]

use std::hint::black_box;
use std::time::{Duration, Instant};

use freshen_fleet::index::{Change, FilterKey, Index, Live};
use freshen_fleet::plan::bundle::{Catalogue, Dependency};
use freshen_fleet::plan::campaign::{Campaign, Policy, WavePolicy};
use freshen_fleet::plan::filter::{Facts, Filter};
use freshen_fleet::plan::resolve::{self, Reinstall};
use freshen_fleet::plan::step::{Input, step};
use freshen_fleet::plan::time::Time;
use freshen_fleet::plan::wave::{self, Choice};
use freshen_fleet::plan::words::PackageId;
use roaring::RoaringBitmap;
use rusqlite::{Connection, params};

const NOW: Time = Time::from_secs(1_800_000_000);
const FILTER: &str = "(vin_matches \"[37]$\" AND has_component \"^screen-[0-4]$\") OR NOT has_package \"^map$\" \"^2\"";
const SAME_IN_SQL: &str = "SELECT count(*) FROM device d WHERE ((d.id LIKE '%3' OR d.id LIKE '%7') AND EXISTS \
    (SELECT 1 FROM has_component h WHERE h.device = d.number AND h.part BETWEEN 'screen-0' AND 'screen-4')) \
    OR NOT EXISTS (SELECT 1 FROM installed i WHERE i.device = d.number AND i.name = 'map' AND i.version LIKE '2%')";

fn main() {
    let devices: u32 = std::env::var("DEVICES").map_or(1_000_000, |text| text.parse().unwrap());
    let alone = std::env::var("PEER").is_ok_and(|text| text == "no");
    println!("{devices} devices, 8 packages, 5 components, a tag and an attribute each\n");
    let before = memory();
    let (live, took) = timed(|| build(devices));
    println!("index built in {:.2} s, {} MB", took.as_secs_f64(), (memory() - before) / 1_000_000);
    let ours = ours(live, devices);
    if alone {
        return table(&ours.rows, &[]);
    }
    let theirs = theirs(devices);
    assert_eq!(ours.matches, theirs.matches, "both find the same devices");
    assert_eq!(ours.campaign, theirs.campaign, "both order for the same devices");
    table(&ours.rows, &theirs.rows);
}

/// What a run found, and what it took.
struct Results {
    matches: u64,
    campaign: u64,
    rows: Vec<(&'static str, Duration)>,
}

fn table(ours: &[(&'static str, Duration)], theirs: &[(&'static str, Duration)]) {
    println!("\n| what | freshen-fleet | rows in SQLite | times |\n|---|---|---|---|");
    let row = |name: &str, a: Duration, b: Option<Duration>| {
        let (millis, times) = (
            |d: Duration| format!("{:.3} ms", d.as_secs_f64() * 1e3),
            |b: Duration| format!("{:.1}", b.as_secs_f64() / a.as_secs_f64()),
        );
        let (b, times) = (b.map_or("-".into(), millis), b.map_or("-".into(), times));
        println!("| {name} | {} | {b} | {times} |", millis(a));
    };
    for (name, took) in ours {
        row(name, *took, theirs.iter().find(|(known, _)| known == name).map(|(_, took)| *took));
    }
    if !theirs.is_empty() {
        let sum = |rows: &[(&str, Duration)]| rows.iter().take(5).map(|(_, took)| *took).sum();
        row("sum of the first five", sum(ours), Some(sum(theirs)));
    }
}

fn timed<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let start = Instant::now();
    let result = work();
    (result, start.elapsed())
}

/// The middle of five.
fn median<T>(mut work: impl FnMut() -> T) -> (T, Duration) {
    let mut runs: Vec<_> = (0..5).map(|_| timed(&mut work)).collect();
    runs.sort_by_key(|(_, took)| *took);
    runs.swap_remove(2)
}

/// Resident memory in bytes.
fn memory() -> usize {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap();
    statm.split(' ').nth(1).unwrap().parse::<usize>().unwrap() * 4_096
}

/// A number that looks random and is always the same.
fn hash(a: u32, b: u32) -> u32 {
    let mut z = (u64::from(a) << 32 | u64::from(b)).wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    ((z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb) >> 33) as u32
}

const NAMES: [&str; 12] =
    ["map", "ivi", "tcu", "base", "radio", "gate", "abs", "cam", "hud", "seat", "door", "light"];

fn id(n: u32) -> String {
    format!("WVWZZZ1K{:09}", u64::from(n) * 7 % 1_000_000_007)
}

fn packages(n: u32) -> impl Iterator<Item = (&'static str, String)> {
    (0..8).map(move |slot| {
        let name = NAMES[(n as usize + slot) % NAMES.len()];
        (name, format!("{}.{}", hash(n, slot as u32) % 3, hash(n, 100 + slot as u32) % 10))
    })
}

fn components(n: u32) -> impl Iterator<Item = String> {
    (0..5).map(move |slot| match hash(n, 200 + slot) % 40 {
        screen @ 0..8 => format!("screen-{screen}"),
        other => format!("part-{other}"),
    })
}

fn facts(n: u32) -> Facts {
    let mut facts = Facts::new(id(n).parse().unwrap());
    facts.packages =
        packages(n).map(|(name, version)| PackageId::new(name, &version).unwrap()).collect();
    facts.components = components(n).map(|part| part.parse().unwrap()).collect();
    facts.tags.insert(format!("batch-{}", n % 50).parse().unwrap());
    facts.attributes.insert("site".parse().unwrap(), format!("plant {}", n % 7));
    facts.seen = Some(Time::from_secs(NOW.as_secs() - i64::from(hash(n, 300) % 2_000_000)));
    facts
}

fn build(devices: u32) -> Live {
    let mut live = Live::default();
    for n in 0..devices {
        live.apply(Change::Put(n, facts(n)), NOW);
    }
    live
}

fn catalogue() -> (Catalogue, PackageId) {
    let mut catalogue = Catalogue::default();
    for name in NAMES {
        for version in 0..30 {
            let id = PackageId::new(name, &format!("{}.{}", version / 10, version % 10)).unwrap();
            catalogue.put(id, Some(1_000_000), false);
        }
    }
    let main = PackageId::new("ivi", "3.0").unwrap();
    catalogue.put(main.clone(), Some(5_000_000), false);
    // The new ivi needs a base, that needs a gate; many old cameras need an old gate.
    let edges = [
        ("ivi", "3.0", "base", "2.1"),
        ("base", "2.1", "gate", "2.2"),
        ("cam", "0.5", "gate", "0.7"),
    ];
    for (dependent, v, needed, w) in edges {
        let (dependent, needed) =
            (PackageId::new(dependent, v).unwrap(), PackageId::new(needed, w).unwrap());
        catalogue.add_dependency(&Dependency { needed, dependent }).unwrap();
    }
    (catalogue, main)
}

fn dry_run(index: &Index) -> resolve::Resolution {
    let (catalogue, main) = catalogue();
    let installed = |package: &PackageId| index.with_package(package);
    resolve::resolve(&catalogue, &installed, index.all(), &main, Reinstall::No).unwrap()
}

fn policy() -> Policy {
    let wave = |percent| WavePolicy {
        choice: Choice::Percent(percent),
        success_percent: 95,
        ..WavePolicy::default()
    };
    Policy { waves: vec![wave(1), wave(10), WavePolicy::default()], ..Policy::default() }
}

fn ours(mut live: Live, devices: u32) -> Results {
    let index = live.snapshot();
    let filter: Filter = FILTER.parse().unwrap();
    let (matches, counting) = median(|| index.select(&filter, NOW).len());
    println!("the filter finds {matches}");
    let (_, literal) =
        median(|| index.select(&"vin_matches \"^WVWZZZ1K0001\"".parse().unwrap(), NOW).len());
    let (_, scan) =
        median(|| index.select(&"vin_matches \"1.*9.*7$\"".parse().unwrap(), NOW).len());
    let (resolution, resolving) = median(|| {
        let resolution = dry_run(&index);
        black_box((resolution.bytes(), resolution.examples(100).len()));
        resolution
    });
    println!(
        "the dry run gives {} devices, leaves out {:?}, {} bytes",
        resolution.devices.len(),
        resolution.excluded.iter().map(|(r, d)| (r.code(), d.len())).collect::<Vec<_>>(),
        resolution.bytes()
    );

    let directory =
        std::env::temp_dir().join(format!("freshen-fleet-bench-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let database = open(&directory.join("ours.db"));
    database
        .execute_batch("CREATE TABLE chunk (campaign, wave, part, members BLOB, PRIMARY KEY (campaign, wave, part)) WITHOUT ROWID;
            CREATE TABLE campaign (id INTEGER PRIMARY KEY, state TEXT)")
        .unwrap();
    let policy = policy();
    let (campaign, creating) = timed(|| {
        let resolution = dry_run(&index);
        let choices: Vec<&Choice> = policy.waves.iter().map(|wave| &wave.choice).collect();
        let fleet = wave::Fleet { number: &|id| index.number(id), seen: &|n| index.seen(n) };
        let waves = wave::assign(&choices, &resolution.devices, &fleet, 1);
        let sizes: Vec<u64> = waves.iter().map(RoaringBitmap::len).collect();
        let campaign = step(&Campaign::new(&sizes), &Input::Start, &policy, NOW).unwrap().next;
        let transaction = database.unchecked_transaction().unwrap();
        for (n, wave) in (0_u32..).zip(&waves) {
            for part in 0..=devices >> 16 {
                let range = part << 16..=part << 16 | 0xffff;
                let chunk: RoaringBitmap = wave.range(range).collect();
                let mut bytes = vec![];
                chunk.serialize_into(&mut bytes).unwrap();
                transaction
                    .execute("INSERT INTO chunk VALUES (1, ?, ?, ?)", params![n, part, bytes])
                    .unwrap();
            }
        }
        save(&transaction, &campaign);
        transaction.commit().unwrap();
        campaign
    });
    let (_, status) = median(|| black_box(campaign.counts()));
    let (_, cancelling) = timed(|| {
        let cancelled = step(&campaign, &Input::Cancel, &policy, NOW).unwrap().next;
        let transaction = database.unchecked_transaction().unwrap();
        save(&transaction, &cancelled);
        transaction.commit().unwrap();
        assert_eq!(cancelled.counts().cancelled, resolution.devices.len());
    });
    std::fs::remove_dir_all(&directory).unwrap();

    for n in 0..1_000_u64 {
        let name = NAMES[n as usize % NAMES.len()];
        let text = format!(
            "(vin_matches \"{:02}$\" OR has_package \"^{name}$\" \"^{}\") AND NOT (tag \"batch-{}\" OR runs \"{name}\" < \"0.{}\")",
            n % 100,
            n % 3,
            n % 50,
            n % 10
        );
        live.watch(FilterKey(n), &text.parse().unwrap());
    }
    let crossings = |live: &mut Live, round: u32| {
        let mut crossed = 0;
        for n in 0..1_000 {
            let number = n * (devices / 1_000).max(1);
            let mut facts = facts(number);
            facts.packages.extend(PackageId::new(
                NAMES[n as usize % 12],
                &format!("{}.{}", n % 3, (n + round) % 10),
            ));
            crossed += live.apply(Change::Put(number, facts), NOW).len();
        }
        crossed
    };
    crossings(&mut live, 0);
    drop(index);
    let (crossed, matching) = timed(|| crossings(&mut live, 1));
    println!("1000 changed devices crossed the borders of 1000 filters {crossed} times");
    let rows = vec![
        ("count of a compound filter", counting),
        ("dry run with bundles", resolving),
        ("campaign in three waves, synced", creating),
        ("cancel, synced", cancelling),
        ("status", status),
        ("a changed device against 1000 filters", matching / 1_000),
        ("ids that begin with a literal", literal),
        ("ids that match a regular expression", scan),
    ];
    Results { matches, campaign: resolution.devices.len(), rows }
}

fn save(transaction: &Connection, campaign: &Campaign) {
    let state = serde_json::to_string(campaign).unwrap();
    transaction.execute("INSERT OR REPLACE INTO campaign VALUES (1, ?)", [state]).unwrap();
}

/// SQLite's integers have a sign; what is counted here has none.
fn number(row: &rusqlite::Row, column: usize) -> rusqlite::Result<u64> {
    row.get::<_, i64>(column).map(i64::unsigned_abs)
}

fn open(path: &std::path::Path) -> Connection {
    let database = Connection::open(path).unwrap();
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = -400000",
        )
        .unwrap();
    database
}

/// The usual design: a row for each device, each installed package, each update.
fn theirs(devices: u32) -> Results {
    let directory = std::env::temp_dir().join(format!("freshen-fleet-peer-{}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let mut database = open(&directory.join("peer.db"));
    database
        .execute_batch(
            "CREATE TABLE device (number INTEGER PRIMARY KEY, id TEXT UNIQUE);
             CREATE TABLE installed (device INTEGER, name TEXT, version TEXT, PRIMARY KEY (device, name)) WITHOUT ROWID;
             CREATE TABLE has_component (device INTEGER, part TEXT, PRIMARY KEY (device, part)) WITHOUT ROWID;
             CREATE TABLE queue (campaign INTEGER, device INTEGER, wave INTEGER, state TEXT, PRIMARY KEY (campaign, device)) WITHOUT ROWID;
             CREATE INDEX queue_state ON queue (campaign, state);",
        )
        .unwrap();
    let transaction = database.transaction().unwrap();
    for n in 0..devices {
        transaction
            .prepare_cached("INSERT INTO device VALUES (?, ?)")
            .unwrap()
            .execute(params![n, id(n)])
            .unwrap();
        for (name, version) in packages(n) {
            let mut insert =
                transaction.prepare_cached("INSERT INTO installed VALUES (?, ?, ?)").unwrap();
            insert.execute(params![n, name, version]).unwrap();
        }
        for part in components(n) {
            let mut insert = transaction
                .prepare_cached("INSERT OR IGNORE INTO has_component VALUES (?, ?)")
                .unwrap();
            insert.execute(params![n, part]).unwrap();
        }
    }
    transaction.commit().unwrap();
    database
        .execute_batch(
            "CREATE INDEX installed_where ON installed (name, version, device);
             CREATE INDEX component_where ON has_component (part, device); ANALYZE;",
        )
        .unwrap();
    let count = |sql: &str| database.query_row(sql, [], |row| number(row, 0)).unwrap();
    let (matches, counting) = median(|| count(SAME_IN_SQL));
    // Who breaks: an old camera that stays and needs the old gate that would be replaced.
    let left_out = "SELECT a.device FROM installed a JOIN installed b ON a.device = b.device \
        WHERE a.name = 'cam' AND a.version = '0.5' AND b.name = 'gate' AND b.version = '0.7'";
    let has = |name: &str, version: &str| {
        format!(
            "EXISTS (SELECT 1 FROM installed i WHERE i.device = d.number AND i.name = '{name}' AND i.version = '{version}')"
        )
    };
    let dry = format!(
        "SELECT count(*), sum(5000000 + 1000000 * (NOT {}) + 1000000 * (NOT {})) FROM device d \
         WHERE NOT {} AND d.number NOT IN ({left_out})",
        has("base", "2.1"),
        has("gate", "2.2"),
        has("ivi", "3.0")
    );
    let ((campaign, bytes), resolving) = median(|| {
        database.query_row(&dry, [], |row| Ok((number(row, 0)?, number(row, 1)?))).unwrap()
    });
    println!("rows give {matches}, {campaign} devices, {bytes} bytes");
    let create = format!(
        "INSERT INTO queue SELECT 1, d.number, CASE WHEN d.number % 100 < 1 THEN 0 WHEN d.number % 100 < 11 THEN 1 ELSE 2 END, 'pending' \
         FROM device d WHERE NOT {} AND d.number NOT IN ({left_out})",
        has("ivi", "3.0")
    );
    let (_, creating) = timed(|| database.execute(&create, []).unwrap());
    let (_, status) = median(|| {
        let mut query = database
            .prepare("SELECT state, count(*) FROM queue WHERE campaign = 1 GROUP BY state")
            .unwrap();
        let rows = query.query_map([], |row| number(row, 1)).unwrap();
        rows.map(Result::unwrap).sum::<u64>()
    });
    let (cancelled, cancelling) = timed(|| {
        database
            .execute(
                "UPDATE queue SET state = 'cancelled' WHERE campaign = 1 AND state = 'pending'",
                [],
            )
            .unwrap()
    });
    assert_eq!(cancelled as u64, campaign);
    let (_, literal) = median(|| {
        count("SELECT count(*) FROM device WHERE id >= 'WVWZZZ1K0001' AND id < 'WVWZZZ1K0002'")
    });
    std::fs::remove_dir_all(&directory).unwrap();
    let rows = vec![
        ("count of a compound filter", counting),
        ("dry run with bundles", resolving),
        ("campaign in three waves, synced", creating),
        ("cancel, synced", cancelling),
        ("status", status),
        ("ids that begin with a literal", literal),
    ];
    Results { matches, campaign, rows }
}
