//! The figures of the planes, for the metrics page.

use std::time::{Duration, Instant};

use ::metrics::{counter, gauge};
use tandem_proxy::TrunkState;

use crate::{media::MediaHandle, metrics, shard::Handle};

/// Between two looks at the gauges.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps the gauges fresh until the loop has ended.
pub(super) async fn keep(handle: Handle, media: MediaHandle) {
    loop {
        let (Ok(figures), Ok(trunks)) = (handle.gauges().await, handle.trunks().await) else {
            return;
        };
        gauge!(metrics::CALLS_ACTIVE).set(float(figures.calls));
        gauge!("tandem_sip_transactions").set(float(figures.sip.transactions));
        gauge!("tandem_sip_dialogs").set(float(figures.sip.dialogs));
        for state in trunks {
            let name = state.trunk.name.clone();
            let now = Instant::now();
            let up = state.is_up(now);
            if let Some(status) = &state.registration {
                let registered = float(usize::from(status.is_registered(now)));
                gauge!(metrics::TRUNK_REGISTERED, "trunk" => name.clone()).set(registered);
            }
            if let Some(bindings) = state.bindings {
                gauge!(metrics::TRUNK_BINDINGS, "trunk" => name.clone()).set(float(bindings));
            }
            gauge!(metrics::TRUNK_UP, "trunk" => name.clone()).set(float(usize::from(up)));
            pings(&state);
            gauge!(metrics::TRUNK_CHANNELS, "trunk" => name).set(float(state.channels));
        }
        for (name, total) in media.totals().named() {
            counter!(format!("tandem_media_{name}_total")).absolute(total);
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Of the addresses that are asked by OPTIONS.
fn pings(state: &TrunkState) {
    for ping in state.gateways.iter().flat_map(|gateway| &gateway.pings) {
        let labels = [("trunk", state.trunk.name.clone()), ("address", ping.address.to_string())];
        gauge!(metrics::GATEWAY_UP, &labels).set(float(usize::from(ping.up)));
        if let Some(latency) = ping.latency {
            gauge!(metrics::GATEWAY_PING, &labels).set(latency.as_secs_f64());
        }
    }
}

/// Exact up to 2^53.
fn float(count: usize) -> f64 {
    count as f64
}
