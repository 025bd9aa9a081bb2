//! The figures of the planes, for the metrics page.

use std::{
    collections::BTreeSet,
    time::{Duration, Instant},
};

use ::metrics::{counter, gauge};
use tandem_proxy::TrunkState;

use crate::{media::MediaHandle, metrics, shard::Handle};

/// Between two looks at the gauges.
const LOOK: Duration = Duration::from_secs(2);

/// Keeps the gauges fresh until the loop has ended.
pub(super) async fn keep(handle: Handle, media: MediaHandle) {
    let mut shown = Shown::default();
    loop {
        let (Ok(figures), Ok(trunks)) = (handle.gauges().await, handle.trunks().await) else {
            return;
        };
        gauge!(metrics::CALLS_ACTIVE).set(float(figures.calls));
        gauge!("tandem_sip_transactions").set(float(figures.sip.transactions));
        gauge!("tandem_sip_dialogs").set(float(figures.sip.dialogs));
        shown.leave_out(&trunks);
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

/// Trunks, and their addresses that are asked by OPTIONS, as shown the last time.
#[derive(Default)]
struct Shown {
    trunks: BTreeSet<String>,
    addresses: BTreeSet<(String, String)>,
}

impl Shown {
    /// What a reload has removed is neither up nor busy.
    fn leave_out(&mut self, trunks: &[TrunkState]) {
        let names = trunks.iter().map(|state| state.trunk.name.clone()).collect();
        let addresses = |state: &TrunkState| {
            let pings = state.gateways.iter().flat_map(|gateway| &gateway.pings);
            pings
                .map(|ping| (state.trunk.name.clone(), ping.address.to_string()))
                .collect::<Vec<_>>()
        };
        let addresses = trunks.iter().flat_map(addresses).collect();
        let before = std::mem::replace(self, Self { trunks: names, addresses });
        for name in before.trunks.difference(&self.trunks) {
            let gauges = [
                metrics::TRUNK_UP,
                metrics::TRUNK_CHANNELS,
                metrics::TRUNK_REGISTERED,
                metrics::TRUNK_BINDINGS,
            ];
            gauges.iter().for_each(|gauge| gauge!(*gauge, "trunk" => name.clone()).set(0.0));
        }
        for (trunk, address) in before.addresses.difference(&self.addresses) {
            let labels = [("trunk", trunk.clone()), ("address", address.clone())];
            gauge!(metrics::GATEWAY_UP, &labels).set(0.0);
        }
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
