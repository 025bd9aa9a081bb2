//! Tables, their migrations, and one record in them.
use rusqlite::{Connection, Row, Transaction, named_params};
use tandem_api::{Cdr, CdrLeg, EndReason, Timestamp};

/// Each step brings the schema from the version before it (its index) to the next one. Steps that
/// were released are never changed, only followed by others.
const MIGRATIONS: &[&str] = &[
    "
    CREATE TABLE cdr (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        call TEXT NOT NULL,
        direction TEXT NOT NULL,
        trunk TEXT,
        user TEXT,
        from_received TEXT NOT NULL,
        to_received TEXT NOT NULL,
        from_sent TEXT NOT NULL,
        to_sent TEXT NOT NULL,
        invited INTEGER NOT NULL,   -- this and every other time: ms since 1970 UTC
        ringing INTEGER,
        answered INTEGER,
        ended INTEGER NOT NULL,
        post_dial_delay_ms INTEGER,
        duration_ms INTEGER NOT NULL,
        reason TEXT NOT NULL,
        sip INTEGER,
        q850 INTEGER,
        reason_text TEXT,
        ended_by TEXT NOT NULL,
        UNIQUE (call, invited)
    ) STRICT;
    CREATE INDEX cdr_invited ON cdr (invited);
    CREATE INDEX cdr_user ON cdr (user, id);
    CREATE INDEX cdr_trunk ON cdr (trunk, id);
    CREATE TABLE leg (
        cdr INTEGER NOT NULL REFERENCES cdr (id),
        leg INTEGER NOT NULL,
        kind TEXT NOT NULL,
        trunk TEXT,
        gateway TEXT,
        sip_call_id TEXT,
        started INTEGER NOT NULL,
        ringing INTEGER,
        answered INTEGER,
        ended INTEGER NOT NULL,
        sip_status INTEGER,
        q850 INTEGER,
        stats TEXT NOT NULL,        -- JSON, as in the REST API
        PRIMARY KEY (cdr, leg)
    ) STRICT, WITHOUT ROWID;
",
    "
    ALTER TABLE cdr ADD COLUMN location TEXT;
",
    "
    ALTER TABLE cdr ADD COLUMN digits TEXT;     -- JSON, as in the REST API; none: NULL
",
];

/// Sets the durability and brings the schema up to date.
pub(super) fn prepare(connection: &mut Connection) -> Result<(), String> {
    let told = |error: rusqlite::Error| error.to_string();
    // FULL syncs the log at each commit: a committed record survives a power cut, not only a crash.
    connection
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON;
             CREATE TABLE IF NOT EXISTS schema_version (version INTEGER NOT NULL) STRICT;",
        )
        .map_err(told)?;
    let transaction = connection.transaction().map_err(told)?;
    let version: i64 = transaction
        .query_row("SELECT coalesce(max(version), 0) FROM schema_version", [], |row| row.get(0))
        .map_err(told)?;
    let have = usize::try_from(version).unwrap_or(usize::MAX);
    let Some(steps) = MIGRATIONS.get(have..) else {
        return Err(format!(
            "its schema is version {version}, of a newer program; this one knows {}",
            MIGRATIONS.len()
        ));
    };
    for (step, sql) in steps.iter().enumerate() {
        transaction.execute_batch(sql).map_err(told)?;
        let version = i64::try_from(have + step + 1).unwrap_or(i64::MAX);
        transaction
            .execute("INSERT INTO schema_version (version) VALUES (?1)", [version])
            .map_err(told)?;
    }
    transaction.commit().map_err(told)
}

fn ms(at: Timestamp) -> i64 {
    i64::try_from(at.0).unwrap_or(i64::MAX)
}

/// Writes a record and its legs. A record that is there already, of a commit whose outcome was not
/// known, stays as it is.
pub(super) fn insert(transaction: &Transaction<'_>, cdr: &Cdr) -> rusqlite::Result<()> {
    let digits = (!cdr.digits.is_empty()).then(|| json(&cdr.digits)).transpose()?;
    let new = transaction
        .prepare_cached(
            "INSERT INTO cdr (call, direction, trunk, user, from_received, to_received, from_sent,
                to_sent, invited, ringing, answered, ended, post_dial_delay_ms, duration_ms,
                reason, sip, q850, location, reason_text, ended_by, digits)
             VALUES (:call, :direction, :trunk, :user, :from_received, :to_received, :from_sent,
                :to_sent, :invited, :ringing, :answered, :ended, :post_dial_delay_ms, :duration_ms,
                :reason, :sip, :q850, :location, :reason_text, :ended_by, :digits)
             ON CONFLICT (call, invited) DO NOTHING",
        )?
        .execute(named_params! {
            ":call": cdr.call,
            ":direction": cdr.direction,
            ":trunk": cdr.trunk,
            ":user": cdr.user,
            ":from_received": cdr.from_received,
            ":to_received": cdr.to_received,
            ":from_sent": cdr.from_sent,
            ":to_sent": cdr.to_sent,
            ":invited": ms(cdr.invited),
            ":ringing": cdr.ringing.map(ms),
            ":answered": cdr.answered.map(ms),
            ":ended": ms(cdr.ended),
            ":post_dial_delay_ms": cdr.post_dial_delay_ms.map(|delay| ms(Timestamp(delay))),
            ":duration_ms": ms(Timestamp(cdr.duration_ms)),
            ":reason": cdr.reason.code,
            ":sip": cdr.reason.sip,
            ":q850": cdr.reason.q850,
            ":location": cdr.reason.location,
            ":reason_text": cdr.reason.text,
            ":ended_by": cdr.reason.ended_by,
            ":digits": digits,
        })?;
    if new == 0 {
        return Ok(());
    }
    let id = transaction.last_insert_rowid();
    cdr.legs.iter().try_for_each(|leg| insert_leg(transaction, id, leg))
}

fn json(value: &impl serde::Serialize) -> rusqlite::Result<String> {
    serde_json::to_string(value)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(Box::new(error)))
}

fn of_json<T: serde::de::DeserializeOwned>(text: &str) -> rusqlite::Result<T> {
    serde_json::from_str(text).map_err(|error| {
        let text = rusqlite::types::Type::Text;
        rusqlite::Error::FromSqlConversionFailure(0, text, Box::new(error))
    })
}

fn insert_leg(transaction: &Transaction<'_>, cdr: i64, leg: &CdrLeg) -> rusqlite::Result<()> {
    let stats = json(&leg.stats)?;
    transaction
        .prepare_cached(
            "INSERT INTO leg (cdr, leg, kind, trunk, gateway, sip_call_id, started, ringing,
                answered, ended, sip_status, q850, stats)
             VALUES (:cdr, :leg, :kind, :trunk, :gateway, :sip_call_id, :started, :ringing,
                :answered, :ended, :sip_status, :q850, :stats)",
        )?
        .execute(named_params! {
            ":cdr": cdr,
            ":leg": leg.leg,
            ":kind": leg.kind,
            ":trunk": leg.trunk,
            ":gateway": leg.gateway,
            ":sip_call_id": leg.sip_call_id,
            ":started": ms(leg.started),
            ":ringing": leg.ringing.map(ms),
            ":answered": leg.answered.map(ms),
            ":ended": ms(leg.ended),
            ":sip_status": leg.sip_status,
            ":q850": leg.q850,
            ":stats": stats,
        })
        .map(|_| ())
}

fn time(row: &Row<'_>, column: &str) -> rusqlite::Result<Timestamp> {
    row.get::<_, i64>(column).map(|ms| Timestamp(u64::try_from(ms).unwrap_or(0)))
}

fn time_if_any(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<Timestamp>> {
    let ms: Option<i64> = row.get(column)?;
    Ok(ms.map(|ms| Timestamp(u64::try_from(ms).unwrap_or(0))))
}

/// A record without its legs, and its number.
pub(super) fn read(row: &Row<'_>) -> rusqlite::Result<(i64, Cdr)> {
    let digits: Option<String> = row.get("digits")?;
    let cdr = Cdr {
        call: row.get("call")?,
        direction: row.get("direction")?,
        trunk: row.get("trunk")?,
        user: row.get("user")?,
        from_received: row.get("from_received")?,
        to_received: row.get("to_received")?,
        from_sent: row.get("from_sent")?,
        to_sent: row.get("to_sent")?,
        invited: time(row, "invited")?,
        ringing: time_if_any(row, "ringing")?,
        answered: time_if_any(row, "answered")?,
        ended: time(row, "ended")?,
        post_dial_delay_ms: time_if_any(row, "post_dial_delay_ms")?.map(|delay| delay.0),
        duration_ms: time(row, "duration_ms")?.0,
        reason: EndReason {
            code: row.get("reason")?,
            sip: row.get("sip")?,
            q850: row.get("q850")?,
            location: row.get("location")?,
            text: row.get("reason_text")?,
            ended_by: row.get("ended_by")?,
        },
        legs: Vec::new(),
        digits: digits.map_or(Ok(Vec::new()), |text| of_json(&text))?,
    };
    Ok((row.get("id")?, cdr))
}

/// A leg.
pub(super) fn read_leg(row: &Row<'_>) -> rusqlite::Result<CdrLeg> {
    let stats: String = row.get("stats")?;
    let stats = of_json(&stats)?;
    Ok(CdrLeg {
        leg: row.get("leg")?,
        kind: row.get("kind")?,
        trunk: row.get("trunk")?,
        gateway: row.get("gateway")?,
        sip_call_id: row.get("sip_call_id")?,
        started: time(row, "started")?,
        ringing: time_if_any(row, "ringing")?,
        answered: time_if_any(row, "answered")?,
        ended: time(row, "ended")?,
        sip_status: row.get("sip_status")?,
        q850: row.get("q850")?,
        stats,
    })
}
