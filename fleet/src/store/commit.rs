//! A group of batches as one transaction, in the words that both databases understand.
//!
//! The transaction begins with the lock on the event number, so that of all writers on all nodes one
//! writes at a time: event numbers appear in the order of the commits and without holes, and an
//! expectation that was checked holds until the commit. Groups make that cheap.

use super::apply::apply;
use super::batch::{Batch, Committed, Noun, Refused};
use super::chain;
use super::record::Line;
use super::sql::{Failure, Sql, bits, row, values};

/// Commits what it can of a group; a refused batch changes nothing, and the others go on.
pub(super) async fn commit(
    sql: &mut dyn Sql,
    begin: &str,
    batches: &[Batch],
) -> Result<Vec<Result<Committed, Failure>>, Failure> {
    sql.run(begin, &[]).await?;
    let worked = group(sql, batches).await;
    match worked {
        Ok(answers) => sql.run("COMMIT", &[]).await.map(|_| answers),
        Err(failure) => {
            // The connection may be gone, and the transaction with it.
            let _ = sql.run("ROLLBACK", &[]).await;
            Err(failure)
        }
    }
}

async fn group(
    sql: &mut dyn Sql,
    batches: &[Batch],
) -> Result<Vec<Result<Committed, Failure>>, Failure> {
    sql.run("UPDATE event_head SET n = n", &[]).await?;
    let head = row(sql, "SELECT n FROM event_head", &[]).await?;
    let mut head = head.map_or(0, |row| row.int(0));
    let mut answers = Vec::with_capacity(batches.len());
    for batch in batches {
        sql.run("SAVEPOINT batch", &[]).await?;
        let answer = one(sql, batch, head).await;
        match answer {
            Ok(committed) => {
                head = committed.event;
                answers.push(Ok(committed));
            }
            Err(failure @ (Failure::Away(_) | Failure::Full)) => return Err(failure),
            Err(failure) => {
                sql.run("ROLLBACK TO SAVEPOINT batch", &[]).await?;
                answers.push(Err(failure));
            }
        }
        sql.run("RELEASE SAVEPOINT batch", &[]).await?;
    }
    sql.run("UPDATE event_head SET n = ?1", values![head]).await?;
    Ok(answers)
}

async fn one(sql: &mut dyn Sql, batch: &Batch, head: i64) -> Result<Committed, Failure> {
    let tenant = batch.tenant;
    if let Some(once) = &batch.once {
        let text =
            "INSERT INTO answered VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7) ON CONFLICT DO NOTHING";
        let values = values![
            tenant,
            &once.key,
            &once.request,
            i64::from(once.status),
            once.location.clone(),
            &once.body,
            once.at
        ];
        if sql.run(text, values).await? == 0 {
            return Err(Refused::Repeated.into());
        }
    }
    let mut committed = apply(sql, tenant, &batch.changes).await?;
    committed.event = head;
    for (n, event) in batch.events.iter().enumerate() {
        committed.event += 1;
        // The first event carries the devices: one look at them is enough.
        let touched = if n == 0 { bits(&committed.touched) } else { vec![] };
        let text = "INSERT INTO event VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";
        let data = event.data.to_string();
        let values =
            values![committed.event, tenant, batch.at, event.kind, &event.subject, data, touched];
        sql.run(text, values).await?;
    }
    audit(sql, batch).await?;
    Ok(committed)
}

async fn audit(sql: &mut dyn Sql, batch: &Batch) -> Result<(), Failure> {
    let text = "SELECT lines, hash FROM tenant WHERE tenant = ?1";
    let Some(head) = row(sql, text, values![batch.tenant]).await? else {
        return Err(Refused::Missing(Noun::Tenant).into());
    };
    let before = head.blob(1).try_into().unwrap_or(chain::BEGIN);
    let mut line = Line {
        number: head.int(0) + 1,
        at: batch.at,
        who: batch.who.clone(),
        action: batch.action.to_owned(),
        subject: batch.subject.clone(),
        hash: chain::BEGIN,
    };
    line.hash = chain::link(&before, &line);
    let hash = line.hash.to_vec();
    let values = values![
        batch.tenant,
        line.number,
        line.at,
        line.who,
        line.action,
        line.subject,
        hash.clone()
    ];
    sql.run("INSERT INTO audit VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)", values).await?;
    let text = "UPDATE tenant SET lines = ?1, hash = ?2 WHERE tenant = ?3";
    sql.run(text, values![line.number, hash, batch.tenant]).await?;
    Ok(())
}
