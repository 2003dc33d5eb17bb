//! One suite for all stores: what SQLite and PostgreSQL answer is what the memory answers, change by
//! change, and what was refused left nothing behind.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/postgres.rs"]
mod postgres;
mod random;
mod suite;

use freshen_fleet::store::Store;

async fn sqlite() -> (Store, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    (Store::sqlite(&dir.path().join("fleet.db")).await.unwrap(), dir)
}

/// Runs each test over all three stores.
macro_rules! over_all {
    ($($name:ident)*) => { $(
        mod $name {
            use super::*;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn in_memory() {
                suite::$name(&Store::memory().await.unwrap()).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_sqlite() {
                let (store, _dir) = sqlite().await;
                suite::$name(&store).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn over_postgresql() {
                if let Some(address) = postgres::database() {
                    suite::$name(&Store::postgres(&address).await.unwrap()).await;
                }
            }
        }
    )* };
}

over_all! {
    a_device_is_added_once_and_its_end_takes_all_that_hangs_on_it
    a_refused_batch_leaves_nothing_behind
    packages_need_each_other_without_circles
    traffic_is_counted_in_the_cycle_of_its_time_and_none_is_lost
    a_campaigns_five_counts_add_up_through_every_move
    of_many_adds_of_one_id_one_is_first
    event_numbers_have_no_holes_and_the_audit_is_a_chain
    tenants_do_not_see_each_other
    revisions_keep_two_editors_apart
    texts_are_ordered_by_their_bytes
    a_key_is_answered_once
    what_a_device_reports_is_what_is_installed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sqlite_finds_everything_again_and_refuses_what_is_newer() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fleet.db");
    let store = Store::sqlite(&path).await.unwrap();
    suite::populate(&store).await;
    let before = suite::everything(&store).await;
    drop(store);
    assert_eq!(suite::everything(&Store::sqlite(&path).await.unwrap()).await, before);
    let raw = rusqlite::Connection::open(&path).unwrap();
    raw.execute_batch("UPDATE schema_version SET n = 99").unwrap();
    let refused = Store::sqlite(&path).await.unwrap_err().to_string();
    assert!(refused.contains("start a newer freshen-fleet"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_of_sqlite_has_everything_while_it_is_written_to() {
    let (store, dir) = sqlite().await;
    suite::populate(&store).await;
    let before = suite::everything(&store).await;
    let copy = dir.path().join("copy.db");
    store.copy(&copy).await.unwrap();
    assert_eq!(suite::everything(&Store::sqlite(&copy).await.unwrap()).await, before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn postgresql_that_is_killed_is_away_and_then_back_with_everything() {
    let Some(server) = postgres::Server::start() else {
        return harness::skipped(postgres::MISSING);
    };
    let store = Store::postgres(&server.database()).await.unwrap();
    suite::populate(&store).await;
    let before = suite::everything(&store).await;
    server.kill();
    let away = suite::add_device(&store, "AWAY").await.unwrap_err();
    assert!(matches!(away, freshen_fleet::store::Failure::Away(_)), "{away:?}");
    server.run();
    // By itself: nobody opens the store anew. A connection that died is noticed when it is used.
    let mut added = Err(away);
    for _ in 0..20 {
        added = suite::add_device(&store, "BACK").await;
        if added.is_ok() {
            break;
        }
    }
    added.unwrap();
    let after = suite::everything(&store).await;
    assert!(after.contains("BACK") && !after.contains("AWAY"));
    assert!(before.lines().count() < after.lines().count());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_nodes_on_one_postgresql_number_their_events_without_holes() {
    let Some(address) = postgres::database() else { return };
    let (one, two) = tokio::join!(Store::postgres(&address), Store::postgres(&address));
    suite::write_from_both(&one.unwrap(), &two.unwrap()).await;
}
