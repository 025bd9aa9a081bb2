//! Reading records.
use rusqlite::{Connection, types::Value};
use tandem_api::{Cdrs, Timestamp};

use super::schema;

/// Records a page may have.
pub const MAX_LIMIT: usize = 1000;

/// Which records.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CdrQuery {
    /// Invited at or after.
    pub from: Option<Timestamp>,
    /// Invited before.
    pub to: Option<Timestamp>,
    /// Of this trunk.
    pub trunk: Option<String>,
    /// Of this user.
    pub user: Option<String>,
    /// Of this call.
    pub call: Option<String>,
    /// At most so many, 1 to [`MAX_LIMIT`].
    pub limit: usize,
    /// Those after this place of an earlier page (`next`).
    pub cursor: Option<i64>,
}

/// The newest first.
pub(super) fn find(connection: &Connection, query: &CdrQuery) -> rusqlite::Result<Cdrs> {
    let ms = |at: Timestamp| Value::Integer(i64::try_from(at.0).unwrap_or(i64::MAX));
    let text = |text: &String| Value::Text(text.clone());
    let filters = [
        ("invited >= ?", query.from.map(ms)),
        ("invited < ?", query.to.map(ms)),
        ("trunk = ?", query.trunk.as_ref().map(text)),
        ("user = ?", query.user.as_ref().map(text)),
        ("call = ?", query.call.as_ref().map(text)),
        ("id < ?", query.cursor.map(Value::Integer)),
    ];
    let mut sql = "SELECT * FROM cdr WHERE true".to_owned();
    let mut values = Vec::new();
    for (filter, value) in filters {
        if let Some(value) = value {
            sql.push_str(" AND ");
            sql.push_str(filter);
            values.push(value);
        }
    }
    sql.push_str(" ORDER BY id DESC LIMIT ?");
    let limit = query.limit.clamp(1, MAX_LIMIT);
    // One more than asked for tells whether there is another page.
    values.push(Value::Integer(i64::try_from(limit + 1).unwrap_or(i64::MAX)));

    // One transaction, so that records and legs are of one moment.
    let transaction = connection.unchecked_transaction()?;
    let mut found = transaction
        .prepare_cached(&sql)?
        .query_map(rusqlite::params_from_iter(values), schema::read)?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let more = found.len() > limit;
    found.truncate(limit);
    let next = if more { found.last().map(|(id, _)| id.to_string()) } else { None };
    let mut legs = transaction.prepare_cached("SELECT * FROM leg WHERE cdr = ?1 ORDER BY leg")?;
    let mut cdrs = Vec::with_capacity(found.len());
    for (id, mut cdr) in found {
        cdr.legs = legs.query_map([id], schema::read_leg)?.collect::<rusqlite::Result<_>>()?;
        cdrs.push(cdr);
    }
    Ok(Cdrs { cdrs, next })
}
