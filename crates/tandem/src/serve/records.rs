//! What the signalling loop tells: events to the streams, records to the disk, figures to metrics.

use std::{sync::Arc, time::Duration};

use ::metrics::{counter, gauge, histogram};
use tandem_b2bua::Cdr;
use tokio::sync::mpsc;

use crate::{
    events::Events,
    media::MediaHandle,
    metrics,
    shard::{Handle, Record},
    store::Store,
};

/// Between two looks at the gauges.
const LOOK: Duration = Duration::from_secs(2);

/// Publishes events and hands records to the store, in order, until the loop has ended.
pub(super) async fn publish(
    mut records: mpsc::Receiver<Record>,
    events: Arc<Events>,
    store: Store,
) {
    while let Some(record) = records.recv().await {
        match record {
            Record::Event(event) => {
                events.publish(&event);
            }
            Record::Ended { cdr, ended } => {
                count(&cdr);
                store.ended(&cdr, ended).await;
            }
        }
    }
}

fn count(cdr: &Cdr) {
    counter!(metrics::CALLS_ENDED, "direction" => cdr.direction, "code" => cdr.reason.code)
        .increment(1);
    if cdr.answered.is_some() {
        histogram!(metrics::CALL_DURATION).record(seconds(cdr.duration_ms));
    }
    if let Some(delay) = cdr.post_dial_delay_ms {
        histogram!(metrics::POST_DIAL_DELAY).record(seconds(delay));
    }
}

fn seconds(milliseconds: u64) -> f64 {
    Duration::from_millis(milliseconds).as_secs_f64()
}

/// Keeps the gauges fresh until the loop has ended.
pub(super) async fn gauges(handle: Handle, media: MediaHandle) {
    loop {
        let (Ok(figures), Ok(trunks)) = (handle.gauges().await, handle.trunks().await) else {
            return;
        };
        gauge!(metrics::CALLS_ACTIVE).set(float(figures.calls));
        gauge!("tandem_sip_transactions").set(float(figures.sip.transactions));
        gauge!("tandem_sip_dialogs").set(float(figures.sip.dialogs));
        for state in trunks {
            let name = state.trunk.name.clone();
            let up = state.gateways.iter().any(|gateway| gateway.up);
            gauge!(metrics::TRUNK_UP, "trunk" => name.clone()).set(float(usize::from(up)));
            gauge!(metrics::TRUNK_CHANNELS, "trunk" => name).set(float(state.channels));
        }
        for (name, total) in media.totals().named() {
            counter!(format!("tandem_media_{name}_total")).absolute(total);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Exact up to 2^53.
fn float(count: usize) -> f64 {
    count as f64
}
